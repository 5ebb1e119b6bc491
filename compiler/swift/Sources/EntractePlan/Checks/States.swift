/// What loops carry, collect and end by.
struct States {
    private let decls: [String: TensorDecl]

    init(_ program: Program) {
        decls = Dictionary(program.tensors.map { ($0.name, $0) }) { first, _ in first }
    }

    /// A loop's state has the shape of what it starts as and goes on as, and its type, or all are floats;
    /// what the loop drops at its end are tensors, and what it collects is left alone.
    func check(_ segment: Segment) throws {
        try checkCollected(segment)
        let loop = "plan: loop \(segment.name)"
        try Names.once("\(loop): two states take what is called", segment.state.map(\.next))
        try Names.once("plan: segment \(segment.name) frees twice", segment.frees)
        if let stray = segment.frees.filter({ decls[$0] == nil }).inOrder().first {
            throw Fault.plan("plan: segment \(segment.name) frees \(stray), which is not declared")
        }
        let names = Set(segment.state.map(\.name))
        for state in segment.state {
            if names.contains(state.next) {
                throw Fault.plan(
                    "\(loop): state \(state.name) goes on as \(state.next), which is itself a state; a "
                        + "step must make "
                        + "what a state takes")
            }
            try checkAlike(state, loop)
        }
    }

    private func checkAlike(_ state: Carried, _ loop: String) throws {
        for name in [state.name, state.first, state.next] where decls[name] == nil {
            throw Fault.plan("\(loop) carries \(name), which is not declared")
        }
        let three = [state.name, state.first, state.next].compactMap { decls[$0] }
        let types = Set(three.map(\.port.dtype))
        let isAlike = three.allSatisfy { $0.port.shape == three[0].port.shape && $0.slots == three[0].slots }
            && (types.count == 1 || !types.contains(.int32))
        if isAlike || three.count < 3 { return }
        throw Fault.plan(
            "\(loop): state \(state.name) is \(compared(three[0])), starts as \(compared(three[1])) and "
                + "goes on as \(compared(three[2]))")
    }

    /// As Python prints the three that are compared.
    private func compared(_ decl: TensorDecl) -> String {
        let name = decl.port.dtype.rawValue
        let dtype = "<DType.\(name.uppercased()): '\(name)'>"
        return "(\(words(decl.port.shape)), \(dtype), \(decl.slots))"
    }

    /// What is collected is whole only when the loop is over.
    private func checkCollected(_ segment: Segment) throws {
        let carried = Set(segment.state.flatMap { [$0.name, $0.first, $0.next] })
        for step in segment.steps {
            for binding in step.outputs
            where binding.by == .iteration && (decls[binding.tensor]?.streamed ?? 0) == 0 {
                let name = binding.tensor
                let place = "plan: loop \(segment.name) collects \(name)"
                if carried.contains(name) || segment.until == name {
                    throw Fault.plan("\(place), which is a state of it, or ends it")
                }
                for other in segment.steps where other.reads.contains(name) || other.frees.contains(name) {
                    let verb = other.frees.contains(name) ? "frees" : "reads"
                    throw Fault.plan("\(place), which a step of it \(verb)")
                }
            }
        }
    }

    /// What ends a loop early is one number, which a step of it makes.
    func checkUntil(_ segment: Segment) throws {
        guard let until = segment.until else { return }
        let size = decls[until].map { times($0.port.elements, $0.slots) }
        guard size == 1 else {
            throw Fault.plan("plan: loop \(segment.name) may end by \(until), which is not one number")
        }
        if !segment.steps.contains(where: { $0.outputs.contains { $0.tensor == until } }) {
            throw Fault.plan(
                "plan: loop \(segment.name): no step of it makes \(until), by which it may end")
        }
    }
}
