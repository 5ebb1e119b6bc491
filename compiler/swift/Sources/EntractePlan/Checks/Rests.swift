/// Calls that happen in some iterations only (`at`, or `restsBy`): nobody may notice that they rest.
enum Rests {
    static func check(_ program: Program) throws {
        for segment in program.segments {
            for (k, step) in segment.steps.enumerated() {
                guard case .call(let call) = step, !(call.at.isEmpty && call.restsBy.isEmpty) else { continue }
                let place = "plan: segment \(segment.name), step \(k) (\(call.chunk))"
                if !call.at.isEmpty { try checkIterations(call, segment, place) }
                if !call.restsBy.isEmpty {
                    try checkAsked(program, call, segment.steps[..<k], place)
                    try checkMadeOnce(call.restsBy, segment, place)
                }
                try checkMade(call, segment, place)
            }
        }
    }

    /// What says whether it rests is a number for each of its slices, which each of its iterations makes
    /// before it.
    private static func checkAsked(
        _ program: Program, _ call: Call, _ before: ArraySlice<Step>, _ place: String
    ) throws {
        let rests = "\(place) rests by \(call.restsBy)"
        let decl = program.tensors.first { $0.name == call.restsBy }
        let count = decl.map { $0.port.shape.reduce(1, times) }
        guard let decl, count == call.repeat, decl.slots == 1, decl.streamed == 0 else {
            let number = call.repeat == 1 ? "one number" : "\(call.repeat) numbers"
            throw Fault.plan("\(rests), which is not \(number)")
        }
        if call.outputs.contains(where: { $0.windows.contains { $0.stride < $0.size && $0.count > 1 } }) {
            throw Fault.plan("\(rests), and makes slices that overlap")
        }
        let makers = before.filter { $0.outputs.contains { $0.tensor == call.restsBy } }
        if makers.isEmpty { throw Fault.plan("\(rests), which no step before it makes") }
        for case .call(let maker) in makers where !maker.restsBy.isEmpty || !isWithin(call, maker) {
            throw Fault.plan("\(rests), which is made in some iterations only")
        }
    }

    private static func checkMadeOnce(_ name: String, _ segment: Segment, _ place: String) throws {
        if segment.steps.flatMap(\.outputs).filter({ $0.tensor == name }).count > 1 {
            throw Fault.plan("\(place) rests by \(name), which is made twice in an iteration")
        }
        if segment.state.contains(where: { $0.name == name }) {
            throw Fault.plan("\(place) rests by \(name), which is a state of the loop")
        }
    }

    /// Whether a step rests wherever a call does.
    private static func rests(_ other: Step, with call: Call) -> Bool {
        guard case .call(let x) = other else { return false }
        if !call.restsBy.isEmpty && x.restsBy != call.restsBy { return false }
        return isWithin(x, call)
    }

    /// Whether the iterations of one are among those of the other.
    private static func isWithin(_ one: Call, _ other: Call) -> Bool {
        other.at.isEmpty || (!one.at.isEmpty && Set(other.at).isSuperset(of: one.at))
    }

    private static func checkIterations(_ call: Call, _ segment: Segment, _ place: String) throws {
        if call.at[0] != 0 {
            throw Fault.plan("\(place) rests in the first iteration; what it makes is not there then")
        }
        if zip(call.at, call.at.dropFirst()).contains(where: { $1 <= $0 }) {
            let at = call.at.map(String.init).joined(separator: ", ")
            throw Fault.plan("\(place) is called at [\(at)], which does not rise")
        }
        let last = call.at[call.at.count - 1]
        if last >= segment.count {
            throw Fault.plan("\(place) is called at \(last), of \(segment.count) iterations")
        }
    }

    private static func checkMade(_ call: Call, _ segment: Segment, _ place: String) throws {
        let made = Set(call.outputs.map(\.tensor))
        for state in segment.state where made.contains(state.next) {
            throw Fault.plan("\(place) rests, and makes \(state.next), which state \(state.name) takes")
        }
        if let until = segment.until, made.contains(until) {
            throw Fault.plan("\(place) rests, and makes \(until), by which the loop may end")
        }
        let freed = Set(segment.steps.flatMap(\.frees))
        for name in made.intersection(freed).inOrder() {
            for other in segment.steps where other.reads.contains(name) {
                if rests(other, with: call) { continue }
                throw Fault.plan(
                    "\(place) makes \(name), which a step of the loop frees, and \(other.label) reads it "
                        + "where this "
                        + "one rests")
            }
        }
    }
}

extension Step {
    /// Its chunk, or the host stage.
    var label: String { chunk ?? stage }
}
