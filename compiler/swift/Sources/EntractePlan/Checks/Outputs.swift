/// What leaves before the end had its turn.
///
/// An output is its parts in order, joined along an axis. A part is complete when the step that makes it
/// ends, in a loop when the loop does. It goes to the writer when it is complete and all parts before it
/// have gone; a streamed one goes piece by piece, so all parts before it are complete before its first
/// piece is made. Only then may it be freed.
struct Outputs {
    /// Segment, and the step at whose end it is; the number of its steps: at the segment's own end.
    private typealias Moment = (segment: Int, step: Int)

    private let program: Program
    private let decls: [String: TensorDecl]

    init(_ program: Program) {
        self.program = program
        decls = Dictionary(program.tensors.map { ($0.name, $0) }) { first, _ in first }
    }

    func check() throws {
        try Names.once("plan: two outputs are called", program.outputs.map(\.name))
        for output in program.outputs { try checkParts(output) }
        let complete = try completions()
        let wanted = Set(program.outputs.flatMap(\.values))
        for (value, at) in frees() where wanted.contains(value) {
            for output in program.outputs where output.values.contains(value) {
                try checkTurn(output, value, complete, at, "freed")
            }
        }
        for decl in program.tensors where decl.streamed != 0 { try checkStreamed(decl, complete) }
    }

    private func checkParts(_ output: Output) throws {
        let place = "plan: output \(output.name)"
        guard let first = output.values.first else { throw Fault.plan("\(place) has no parts") }
        try Names.once("\(place): two parts are", output.values)
        for value in output.values {
            guard let shape = decls[value]?.port.shape else {
                throw Fault.plan("\(place): \(value) is not declared")
            }
            if output.axis >= shape.count {
                throw Fault.plan("\(place): \(value) has \(shape.count) axes, and none \(output.axis)")
            }
        }
        let own = decls[first]?.port.shape ?? []
        for value in output.values {
            let shape = decls[value]?.port.shape ?? []
            if beside(output.axis, shape) == beside(output.axis, own) { continue }
            throw Fault.plan(
                "\(place): \(first) and \(value) are \(words(own)) and \(words(shape)), which differ "
                    + "beside axis "
                    + "\(output.axis)")
        }
    }

    private func beside(_ axis: Int, _ shape: [Int]) -> [Int] {
        shape.enumerated().map { $0.offset == axis ? 0 : $0.element }
    }

    // MARK: when a part is complete

    /// Of every part of an output. What is made in two places has no moment of its own.
    private func completions() throws -> [String: Moment] {
        let wanted = Set(program.outputs.flatMap(\.values))
        var found: [String: Moment] = [:]
        func add(_ name: String, _ moment: Moment) throws {
            guard wanted.contains(name) else { return }
            if found[name] != nil {
                throw Fault.plan("plan: \(name) is part of an output, and made in two places")
            }
            found[name] = moment
        }
        for name in program.inputs.map(\.name) + program.constants.map(\.name) { try add(name, (-1, 0)) }
        for (s, segment) in program.segments.enumerated() {
            let end = (s, segment.steps.count)
            for state in segment.state { try add(state.name, end) }
            for (k, step) in segment.steps.enumerated() {
                for binding in step.outputs { try add(binding.tensor, segment.isLoop ? end : (s, k)) }
            }
        }
        return found
    }

    /// Of whole tensors, and when.
    private func frees() -> [(String, Moment)] {
        let streamed = Set(program.tensors.filter { $0.streamed != 0 }.map(\.name))
        var found: [(String, Moment)] = []
        for (s, segment) in program.segments.enumerated() {
            for (k, step) in segment.steps.enumerated() {
                for name in step.frees where !streamed.contains(name) { found.append((name, (s, k))) }
            }
            for name in segment.frees { found.append((name, (s, segment.steps.count))) }
        }
        return found
    }

    /// All up to this part are complete at that moment.
    private func checkTurn(
        _ output: Output, _ value: String, _ complete: [String: Moment], _ at: Moment, _ what: String
    ) throws {
        let own = output.values.firstIndex(of: value) ?? 0
        for part in output.values[...own] {
            if let moment = complete[part], moment <= at { continue }
            throw Fault.plan(
                "plan: \(value) is \(what) in segment \(at.segment) before its turn in output "
                    + "\(output.name): \(part) "
                    + "is not complete there")
        }
    }

    // MARK: pieces that leave

    private func checkStreamed(_ decl: TensorDecl, _ complete: [String: Moment]) throws {
        let name = decl.name
        if decl.slots != 1 {
            throw Fault.plan("plan: \(name) is streamed, and yet in \(decl.slots) slots")
        }
        let owners = program.outputs.filter { $0.values.contains(name) }
        if Set(owners.map(\.axis)).count != 1 {
            throw Fault.plan(
                "plan: \(name) is streamed, and must be part of outputs that are joined along one axis")
        }
        for (s, segment) in program.segments.enumerated() { try checkUnread(s, segment, name) }
        let at = try maker(name)
        if !program.segments[at.segment].steps[at.step].frees.contains(name) {
            throw Fault.plan(
                "plan: step \(at.segment).\(at.step) makes \(name) piece by piece, and does not free it")
        }
        // Before its first piece is made: at the end of the step before, or of the segment before.
        for owner in owners {
            let own = owner.values.firstIndex(of: name) ?? 0
            for part in owner.values[..<own] {
                let before = (at.segment, at.step - 1)
                try checkTurn(owner, part, complete, before, "followed by pieces of \(name)")
            }
        }
    }

    private func checkUnread(_ s: Int, _ segment: Segment, _ name: String) throws {
        let isCarried = segment.state.contains { [$0.name, $0.first, $0.next].contains(name) }
        if isCarried || segment.until == name {
            throw Fault.plan("plan: loop \(segment.name) carries \(name), which is streamed")
        }
        for (k, step) in segment.steps.enumerated() where step.reads.contains(name) {
            throw Fault.plan("plan: step \(s).\(k) reads \(name), which is streamed: no step reads it")
        }
    }

    private func maker(_ name: String) throws -> Moment {
        var makers: [Moment] = []
        for (s, segment) in program.segments.enumerated() {
            for (k, step) in segment.steps.enumerated()
            where step.outputs.contains(where: { $0.tensor == name }) {
                makers.append((s, k))
            }
        }
        guard let only = makers.first, makers.count == 1 else {
            throw Fault.plan("plan: \(name) is streamed, and made by \(makers.count) steps, not by one")
        }
        return only
    }
}
