import EntractePlan

/// A binding with its tensor's number and what its pieces are.
struct WiredBinding: Sendable {
    let feature: String
    let tensor: Int
    let by: By
    let windows: [Window]
    /// Whether pieces overlap: they are summed in fp32.
    let isBlended: Bool
    /// Of one piece: what is read or written at once.
    let shape: [Int]

    /// Which piece it is of, in one slice of a call.
    func piece(slice: Int, iteration: Int) -> Int { by == .iteration ? iteration : slice }
}

/// A step with its tensors by number.
struct WiredStep: Sendable {
    let step: Step
    let inputs: [WiredBinding]
    let outputs: [WiredBinding]
    /// (port, number) of a host step.
    let reads: [(port: String, value: Int)]
    let frees: [Int]
    /// What says whether its call rests.
    let restsBy: Int?
}

struct WiredState: Sendable {
    let name: Int
    let first: Int
    let next: Int
}

/// A segment with its tensors by number.
struct WiredSegment: Sendable {
    let segment: Segment
    let base: Int
    let steps: [WiredStep]
    let state: [WiredState]
    let frees: [Int]
    let until: Int?
    /// Whether `until` is what a state takes next: it is not dropped when it was read.
    let untilIsNext: Bool
    /// First values that are gone once the states have taken them.
    let firstsTaken: [Int]
}

/// A program with every name looked up once, so that a step is done by numbers.
struct Wiring: Sendable {
    let names: [String]
    /// By number; nil of a text or a seed, which are no tensors.
    let decls: [TensorDecl?]
    let sizes: [Int]
    let segments: [WiredSegment]
    let outputs: [Output]
    /// Of each output its parts, by number.
    let parts: [[Int]]
    let numbers: [String: Int]
    /// Steps of all iterations.
    let end: Int

    /// Throws `Fault` where a name is declared nowhere.
    init(_ program: Program) throws {
        let book = NameBook(program)
        var base = 0
        var segments: [WiredSegment] = []
        for segment in program.segments {
            segments.append(try book.wired(segment, base, program))
            base += segment.count * segment.steps.count
        }
        self.segments = segments
        end = base
        outputs = program.outputs
        parts = try program.outputs.map { try $0.values.map { try book.number($0) } }
        names = book.names
        decls = book.decls
        sizes = book.decls.map { $0?.sizeBytes ?? 0 }
        numbers = book.numbers
    }
}

/// Names of tensors and of plain inputs, numbered.
private struct NameBook {
    var names: [String] = []
    var decls: [TensorDecl?] = []
    var numbers: [String: Int] = [:]

    init(_ program: Program) {
        for decl in program.tensors { add(decl.name, decl) }
        for input in program.inputs where numbers[input.name] == nil { add(input.name, nil) }
        // A constant that no step reads may have no tensor.
        for port in program.constants where numbers[port.name] == nil { add(port.name, nil) }
    }

    mutating func add(_ name: String, _ decl: TensorDecl?) {
        guard numbers[name] == nil else { return }
        numbers[name] = names.count
        names.append(name)
        decls.append(decl)
    }

    func number(_ name: String) throws -> Int {
        guard let found = numbers[name] else {
            throw Fault.plan("plan: \(name) is not declared; compile again")
        }
        return found
    }

    func wired(_ segment: Segment, _ base: Int, _ program: Program) throws -> WiredSegment {
        let state = try segment.state.map {
            WiredState(name: try number($0.name), first: try number($0.first), next: try number($0.next))
        }
        let until = try segment.until.map { try number($0) }
        return WiredSegment(
            segment: segment, base: base,
            steps: try segment.steps.map { try wired($0) },
            state: state,
            frees: try segment.frees.map { try number($0) },
            until: until,
            untilIsNext: state.contains { $0.next == until },
            firstsTaken: try taken(segment, program))
    }

    func wired(_ step: Step) throws -> WiredStep {
        let frees = try step.frees.map { try number($0) }
        let outputs = try step.outputs.map { try wired($0) }
        switch step {
        case .call(let call):
            return WiredStep(
                step: step, inputs: try call.inputs.map { try wired($0) }, outputs: outputs, reads: [],
                frees: frees, restsBy: call.restsBy.isEmpty ? nil : try number(call.restsBy))
        case .host(let host):
            let reads = try host.inputs.map { (port: $0.port, value: try number($0.value)) }
            return WiredStep(
                step: step, inputs: [], outputs: outputs, reads: reads, frees: frees, restsBy: nil)
        }
    }

    func wired(_ binding: Binding) throws -> WiredBinding {
        let tensor = try number(binding.tensor)
        guard let port = decls[tensor]?.port else {
            throw Fault.plan("plan: \(binding.tensor) is no tensor; compile again")
        }
        var shape = port.shape
        for window in binding.windows {
            guard shape.indices.contains(window.axis), window.size >= 0 else {
                throw Fault.plan("plan: a window of \(binding.tensor) lies outside of it; compile again")
            }
            shape[window.axis] = window.size
        }
        return WiredBinding(
            feature: binding.feature, tensor: tensor, by: binding.by, windows: binding.windows,
            isBlended: isBlended(binding.windows), shape: shape)
    }

    /// First values of a map's states that are gone once the states have taken them: nothing else reads
    /// them, and they are of the states' types, so that nothing was copied.
    func taken(_ segment: Segment, _ program: Program) throws -> [Int] {
        guard segment.sliced else { return [] }
        var stay = Set(program.outputs.flatMap(\.values)).union(segment.steps.flatMap(\.reads))
        for one in segment.state {
            let own = decls[try number(one.name)]?.port.dtype
            if decls[try number(one.first)]?.port.dtype != own { stay.insert(one.first) }
        }
        let frees = Set(segment.frees)
        var found: [Int] = []
        for one in segment.state where frees.contains(one.first) && !stay.contains(one.first) {
            let first = try number(one.first)
            if !found.contains(first) { found.append(first) }
        }
        return found
    }
}
