/// Calls that happen in some iterations only (`Call.at`): nobody may notice that they rest.
enum Rests {
    static func check(_ program: Program) throws {
        for segment in program.segments {
            for (k, step) in segment.steps.enumerated() {
                guard case .call(let call) = step, !call.at.isEmpty else { continue }
                let place = "plan: segment \(segment.name), step \(k) (\(call.chunk))"
                try checkIterations(call, segment, place)
                try checkMade(call, segment, place)
            }
        }
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
        let own = Set(call.at)
        for name in made.intersection(freed).inOrder() {
            for other in segment.steps where other.reads.contains(name) {
                if case .call(let x) = other, !x.at.isEmpty, own.isSuperset(of: x.at) { continue }
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
