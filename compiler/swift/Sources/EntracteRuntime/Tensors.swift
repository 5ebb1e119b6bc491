import EntractePlan

/// What stands under a name: the tensor itself, or several side by side.
enum Held {
    case nothing
    case tensor(Tensor)
    /// nil: not made yet.
    case slots([Tensor?])
    case text(String)
    case seed(Int)
}

/// The tensors of a run: read and written by bindings, freed when the program says so.
///
/// What is made in pieces is allocated whole when the first piece comes, and each piece is written in its
/// place: nothing is there twice. Pieces that overlap are summed there (`Blend.swift`). What a step gives
/// to writers is returned, so that whoever awaits them frees nothing before.
struct Tensors {
    let wiring: Wiring
    private var values: [Held]
    private(set) var delivery: Delivery
    /// Bytes of all declared tensors that are there, slots that are not made yet included.
    private(set) var bytes = 0

    init(_ wiring: Wiring) {
        self.wiring = wiring
        values = wiring.names.map { _ in .nothing }
        delivery = Delivery(wiring)
    }

    // MARK: - given

    /// The program's inputs and constants, by name. Throws `Fault` for one that is not what is declared.
    mutating func give(_ given: [String: HostValue], _ constants: [String: Tensor]) throws -> [Due] {
        var names: [Int] = []
        for (name, value) in given {
            guard let number = wiring.numbers[name] else { continue }
            names.append(number)
            switch value {
            case .text(let text): set(number, .text(text))
            case .seed(let seed): set(number, .seed(seed))
            case .tensor(let tensor): try give(number, tensor)
            }
        }
        for (name, tensor) in constants {
            guard let number = wiring.numbers[name] else { continue }
            names.append(number)
            try give(number, tensor)
        }
        return try completed(names.filter { wiring.decls[$0] != nil })
    }

    private mutating func give(_ number: Int, _ tensor: Tensor) throws {
        if let port = wiring.decls[number]?.port, port.shape != tensor.shape {
            throw Fault.run("\(port.name): the plan has it of \(port.shape), given is \(tensor.shape)")
        }
        // A constant may be stored in more bytes than it is declared with.
        set(number, .tensor(try cast(number, tensor)))
    }

    // MARK: - the table

    /// Whether a name stands for something now.
    func isThere(_ number: Int) -> Bool {
        if case .nothing = values[number] { return false }
        return true
    }

    /// What stands under a name now.
    func value(_ number: Int) -> Held { values[number] }

    private mutating func set(_ number: Int, _ value: Held) {
        if !isThere(number) { bytes += wiring.sizes[number] }
        values[number] = value
    }

    /// Drop what stands under a name, if anything does. Gives whether it did.
    @discardableResult
    mutating func drop(_ number: Int) -> Bool {
        guard isThere(number) else { return false }
        bytes -= wiring.sizes[number]
        values[number] = .nothing
        return true
    }

    /// One tensor. Throws `Fault` where it is not there.
    func tensor(_ number: Int) throws -> Tensor {
        if case .tensor(let tensor) = values[number] { return tensor }
        throw Fault.plan("plan: \(wiring.names[number]) is read and not there; compile again")
    }

    /// Bytes of all tensors while a step runs, its outputs included.
    func heldBytes(_ step: WiredStep) -> Int {
        step.outputs.reduce(bytes) { $0 + (isThere($1.tensor) ? 0 : wiring.sizes[$1.tensor]) }
    }

    // MARK: - steps

    /// What a binding reads of its tensor, in one slice of a call.
    mutating func read(_ binding: WiredBinding, slice: Int, iteration: Int) throws -> Tensor {
        if binding.by == .whole { return try tensor(binding.tensor) }
        let k = binding.piece(slice: slice, iteration: iteration)
        if binding.windows.isEmpty { return try slot(binding.tensor, k) }
        let whole = try tensor(binding.tensor)
        return try box(binding, k, in: whole).read(whole)
    }

    private func box(_ binding: WiredBinding, _ k: Int, in whole: Tensor) throws -> Box {
        try Box(
            of: whole.shape, at: begins(binding.windows, k), sizes: binding.shape,
            wiring.names[binding.tensor])
    }

    /// Zeros where a loop ended before it made it.
    private mutating func slot(_ number: Int, _ k: Int) throws -> Tensor {
        guard case .slots(var slots) = values[number], slots.indices.contains(k),
            let port = wiring.decls[number]?.port
        else { throw Fault.plan("plan: piece \(k) of \(wiring.names[number]) is not there; compile again") }
        if let there = slots[k] { return there }
        let made = Tensor(zeros: port.shape, port.dtype)
        slots[k] = made
        values[number] = .slots(slots)
        return made
    }

    /// What a host step reads, by port.
    func hostInputs(_ step: WiredStep) throws -> [String: HostValue] {
        var found: [String: HostValue] = [:]
        for read in step.reads {
            switch values[read.value] {
            case .text(let text): found[read.port] = .text(text)
            case .seed(let seed): found[read.port] = .seed(seed)
            default: found[read.port] = .tensor(try tensor(read.value))
            }
        }
        return found
    }

    /// What one slice of a call made, or (slice 0) what a host step did. Throws `Fault` where it is not of
    /// the shape and type that it is declared to be.
    mutating func put(
        _ binding: WiredBinding, _ made: Tensor, slice: Int, iteration: Int, stands: Bool = false
    ) throws -> [Due] {
        guard let decl = wiring.decls[binding.tensor] else { return [] }
        let k = binding.piece(slice: slice, iteration: iteration)
        guard made.shape == binding.shape, made.dtype == decl.port.dtype || binding.isBlended else {
            throw misfit(binding, made)
        }
        // A map inside a loop makes it anew; what slices that rest made last stands.
        if k == 0, !stands { drop(binding.tensor) }
        if decl.streamed > 0 {
            let due = try delivery.piece(binding.tensor, decl.name, made)
            set(binding.tensor, .tensor(made))
            return due
        }
        if binding.by == .whole {
            set(binding.tensor, .tensor(made))
        } else if binding.windows.isEmpty {
            try putSlot(binding.tensor, decl, k, made)
        } else {
            try putPiece(binding, decl, k, made)
        }
        return []
    }

    private mutating func putSlot(_ number: Int, _ decl: TensorDecl, _ k: Int, _ made: Tensor) throws {
        var slots = [Tensor?](repeating: nil, count: decl.slots)
        if case .slots(let there) = values[number] { slots = there }
        guard slots.indices.contains(k) else {
            throw Fault.plan("plan: \(decl.name) has \(slots.count) pieces and none \(k); compile again")
        }
        slots[k] = made
        set(number, .slots(slots))
    }

    private mutating func putPiece(
        _ binding: WiredBinding, _ decl: TensorDecl, _ k: Int, _ made: Tensor
    ) throws {
        if !isThere(binding.tensor) {
            // Zeros until pieces come.
            let dtype = binding.isBlended ? .fp32 : decl.port.dtype
            set(binding.tensor, .tensor(Tensor(zeros: decl.port.shape, dtype)))
        }
        let whole = try tensor(binding.tensor)
        guard whole.dtype == (binding.isBlended ? .fp32 : made.dtype) else { throw misfit(binding, made) }
        if binding.isBlended {
            try addWeighted(made, binding.windows, k, to: whole, decl.name)
        } else {
            try box(binding, k, in: whole).write(made, into: whole)
        }
    }

    private func misfit(_ binding: WiredBinding, _ made: Tensor) -> Fault {
        let dtype = wiring.decls[binding.tensor]?.port.dtype ?? .fp32
        return .run(
            "\(binding.feature) of \(wiring.names[binding.tensor]) came as \(made.dtype.rawValue) "
                + "\(made.shape), the plan has \(dtype.rawValue) \(binding.shape)")
    }

    /// A step is done: what is complete with it, for the writers. Its frees come after they took it.
    mutating func ended(_ step: WiredStep, _ segment: WiredSegment) throws -> [Due] {
        try round(step, .map)
        return segment.segment.isLoop ? [] : try completed(step.outputs.map(\.tensor))
    }

    /// Sums of pieces that overlap are of the tensor's own type in the end.
    private mutating func round(_ step: WiredStep, _ by: By) throws {
        for b in step.outputs where b.isBlended && b.by == by {
            if case .tensor(let sum) = values[b.tensor] { set(b.tensor, .tensor(try cast(b.tensor, sum))) }
        }
    }

    private mutating func completed(_ names: [Int], cut: [(part: Int, end: Begin)] = []) throws -> [Due] {
        let values = values, wiring = wiring
        return try delivery.completed(names, cut: cut) { part in
            if case .tensor(let tensor) = values[part] { return tensor }
            throw Fault.plan("plan: \(wiring.names[part]) is an output and not there; compile again")
        }
    }

    // MARK: - loops

    /// State begins with its first values, each in its own type.
    mutating func enter(_ segment: WiredSegment) throws {
        for one in segment.state { set(one.name, .tensor(try cast(one.name, try tensor(one.first)))) }
        for first in segment.firstsTaken { drop(first) }
    }

    private func cast(_ number: Int, _ value: Tensor) throws -> Tensor {
        guard let dtype = wiring.decls[number]?.port.dtype else { return value }
        return try value.cast(to: dtype, wiring.names[number])
    }

    /// Whether the iteration that was done says that it is the last.
    mutating func isOver(_ segment: WiredSegment) throws -> Bool {
        guard let until = segment.until else { return false }
        let said = try tensor(until)
        if !segment.untilIsNext { drop(until) }
        return said.isFirstNotZero
    }

    /// After an iteration: old states go, then each takes its next value, which is its alone from then on.
    mutating func moveState(_ segment: WiredSegment) throws {
        for one in segment.state { drop(one.name) }
        for one in segment.state { set(one.name, .tensor(try cast(one.name, try tensor(one.next)))) }
        for one in segment.state { drop(one.next) }
    }

    /// After `done` iterations of a loop: what it collected, its states, and what its last iteration made and
    /// nobody dropped, for the writers.
    mutating func left(_ segment: WiredSegment, done: Int) throws -> [Due] {
        guard segment.segment.isLoop else { return [] }
        for step in segment.steps { try round(step, .iteration) }
        var made: [Int] = [], last: [Int] = []
        var ends: [(part: Int, end: Begin)] = []
        for b in segment.steps.flatMap(\.outputs) {
            guard b.by == .iteration else {
                if isThere(b.tensor) { last.append(b.tensor) }
                continue
            }
            made.append(b.tensor)
            if b.windows.count == 1, let window = b.windows.first {
                ends.append((b.tensor, Begin(axis: window.axis, at: window.begin(done - 1) + window.size)))
            }
        }
        return try completed(made + segment.state.map(\.name) + last, cut: ends)
    }
}

extension Tensor {
    /// Its value in another type; itself where it has that. Between fp16 and fp32.
    func cast(to wanted: DType, _ name: String) throws -> Tensor {
        if wanted == dtype { return self }
        let made = Tensor(zeros: shape, wanted)
        switch (dtype, wanted) {
        case (.fp16, .fp32):
            Half.floats(UnsafeBufferPointer(halves), into: made.floats)
        case (.fp32, .fp16):
            Half.bits(UnsafeBufferPointer(floats), into: made.halves)
        default:
            throw Fault.plan(
                "plan: \(name) is \(wanted.rawValue) and is given \(dtype.rawValue); compile again")
        }
        return made
    }

    /// Of one element that says whether a loop is over: a NaN is not zero.
    var isFirstNotZero: Bool { count > 0 && isNotZero(0) }

    /// Of an element that there is.
    func isNotZero(_ k: Int) -> Bool {
        switch dtype {
        case .fp16: halves[k] & 0x7FFF != 0
        case .fp32: floats[k] != 0
        case .int32: ints[k] != 0
        }
    }
}
