/// What a program and its schedule name is there: chunks, steps, gates.
struct References {
    private let program: Program
    private let schedule: Schedule
    private let chunks: Set<String>

    init(_ plan: Plan) {
        program = plan.program
        schedule = plan.schedule
        chunks = Set(plan.facts.map(\.id))
    }

    func check() throws {
        let states = States(program)
        for segment in program.segments {
            try check(segment)
            for case .call(let call) in segment.steps { try check(call) }
            try states.check(segment)
            try states.checkUntil(segment)
        }
        let pieces = Pieces(program)
        try pieces.checkGiven()
        try Edges.check(program)
        try pieces.check()
        try Outputs(program).check()
        try Rests.check(program)
        let ending = program.segments.indices.filter { program.segments[$0].until != nil }
        for load in schedule.loads {
            try check(load)
            try checkLaterGates(load, ending)
        }
    }

    private func check(_ segment: Segment) throws {
        if segment.steps.isEmpty { throw Fault.plan("plan: segment \(segment.name) is empty") }
        var most = 1
        for case .call(let call) in segment.steps { most = max(most, call.repeat) }
        if times(segment.count, most) > Size.mostCalls {
            throw Fault.plan(
                "plan: segment \(segment.name) makes more than \(Size.mostCalls) calls of a chunk")
        }
    }

    private func check(_ call: Call) throws {
        if !chunks.contains(call.chunk) {
            throw Fault.plan("plan: a call of \(words(call.chunk)) which is no chunk of the plan")
        }
        let ends = [0] + call.switch.map(\.below)
        if zip(ends, ends.dropFirst()).contains(where: { $1 <= $0 }) {
            let given = ends.dropFirst().map(String.init).joined(separator: ", ")
            throw Fault.plan("plan: the call of \(call.chunk) switches functions at [\(given)]")
        }
    }

    // MARK: loads

    /// Only the last step of a loop that may end early is sure to end, and it ends everything.
    private func checkLaterGates(_ load: Load, _ ending: [Int]) throws {
        for s in ending where s < load.segment {
            let segment = program.segments[s]
            let end = Gate(segment: s, step: segment.steps.count - 1, moment: .last)
            let isLater = load.gate.map { $0.segment > s } ?? false
            if isLater || load.gate == end { continue }
            throw Fault.plan(
                "plan: the load of \(load.chunk) for a later segment does not wait for the end of loop "
                    + "\(segment.name), which may come early")
        }
    }

    private func check(_ load: Load) throws {
        let place = "plan: the load of \(words(load.chunk))"
        if !chunks.contains(load.chunk) { throw Fault.plan("\(place) is of no chunk of the plan") }
        if load.iterations != "first", load.iterations != "each" {
            throw Fault.plan("\(place) happens in \(words(load.iterations)), not in `first` or `each`")
        }
        try checkStep(load.segment, load.step, "\(place) is for")
        try checkStep(load.segment, load.freeStep, "\(place) is freed after")
        if load.freeMoment == .previous {
            throw Fault.plan("\(place) is freed in the iteration 'previous', not same or last")
        }
        if let gate = load.gate { try check(gate, load, "\(place) waits for") }
    }

    /// A gate is in the load's own iteration or the one before, or ends an earlier segment.
    private func check(_ gate: Gate, _ load: Load, _ place: String) throws {
        try checkStep(gate.segment, gate.step, place)
        if gate.moment == .last {
            if gate.segment >= load.segment {
                throw Fault.plan("\(place) the end of segment \(gate.segment), which is no earlier one")
            }
            return
        }
        if gate.segment != load.segment {
            throw Fault.plan(
                "\(place) the \(gate.moment) iteration of segment \(gate.segment), not of its own")
        }
        if gate.moment == .previous, load.iterations == "first" {
            throw Fault.plan("\(place) the iteration before the first")
        }
    }

    private func checkStep(_ segment: Int, _ step: Int, _ place: String) throws {
        guard program.segments.indices.contains(segment),
            program.segments[segment].steps.indices.contains(step)
        else { throw Fault.plan("\(place) step \(segment).\(step), which is not there") }
    }

    // MARK: what the runner follows

    /// The driver is one that runners know, and what is kept are chunks of the plan.
    func checkDriver() throws {
        guard schedule.driver == "gates" || schedule.driver == "online" else {
            throw Fault.plan("plan: the driver \(words(schedule.driver)) is not one of gates, online")
        }
        try checkKept("schedule.resident keeps", schedule.resident)
        var before = -1.0
        for kept in schedule.kept {
            guard before < kept.slower else {
                throw Fault.plan("plan: what the online rule keeps is not sorted by `slower`")
            }
            before = kept.slower
            try checkKept("the online rule keeps", kept.chunks)
        }
    }

    private func checkKept(_ what: String, _ names: [String]) throws {
        if let stray = names.filter({ !chunks.contains($0) }).inOrder().first {
            throw Fault.plan("plan: \(what) \(words(stray)), which is no chunk")
        }
        try Names.once("plan: \(what) two chunks called", names)
    }
}
