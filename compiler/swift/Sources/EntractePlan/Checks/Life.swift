/// Every tensor is made before it is read and dropped once.
///
/// A loop is followed for its first iterations, which stand for all: five cover every kind of neighbour.
/// One that may end early is followed to its end after each of them; all ends must leave the same tensors.
struct Life {
    static let iterations = 5

    /// A step as it runs.
    struct At {
        let segment: Int
        let iteration: Int
        let step: Int
    }

    /// The steps in order, of each loop the first iterations.
    let timeline: [At]
    private let program: Program
    private let names: [String]
    private let ids: [String: Int]
    private let declared: Int
    private let sizes: [Int]
    private let steps: [[Numbered]]

    /// A step's tensors by their numbers.
    private struct Numbered {
        let reads: [Int]
        let outputs: [Int]
        let frees: [Int]
    }

    /// Declared tensors have the numbers below `declared`, other names those behind. Raises `Fault` where
    /// all tensors together are larger than any memory.
    init(_ program: Program) throws {
        self.program = program
        var timeline: [At] = []
        for (s, segment) in program.segments.enumerated() {
            for i in 0 ..< min(segment.count, Self.iterations) {
                for k in segment.steps.indices { timeline.append(At(segment: s, iteration: i, step: k)) }
            }
        }
        self.timeline = timeline
        var numbering = Numbering(program.tensors.map(\.name))
        declared = program.tensors.count
        steps = program.segments.map { segment in
            segment.steps.map { step in
                Numbered(
                    reads: numbering.numbers(step.reads),
                    outputs: numbering.numbers(step.outputs.map(\.tensor)),
                    frees: numbering.numbers(step.frees))
            }
        }
        for segment in program.segments {
            _ = numbering.numbers(segment.state.flatMap { [$0.name, $0.first, $0.next] } + segment.frees)
            _ = numbering.numbers(segment.until.map { [$0] } ?? [])
        }
        _ = numbering.numbers(program.inputs.map(\.name) + program.constants.map(\.name))
        _ = numbering.numbers(program.outputs.flatMap(\.values))
        names = numbering.names
        ids = numbering.ids
        sizes = program.tensors.map { times(times($0.port.elements, $0.port.dtype.widthBytes), $0.slots) }
        if sizes.reduce(0, plus) == .max { throw Fault.plan("plan: its tensors are larger than any memory") }
    }

    private struct Numbering {
        var names: [String]
        var ids: [String: Int]

        init(_ names: [String]) {
            self.names = names
            ids = Dictionary(names.enumerated().map { ($0.element, $0.offset) }) { first, _ in first }
        }

        mutating func numbers(_ texts: [String]) -> [Int] {
            texts.map { text in
                if let id = ids[text] { return id }
                ids[text] = names.count
                names.append(text)
                return names.count - 1
            }
        }
    }

    /// Which are alive, and the bytes of those that are declared.
    private struct Alive {
        var flags: [Bool]
        var heldBytes = 0
        let sizes: [Int]

        mutating func add(_ id: Int) {
            if flags[id] { return }
            flags[id] = true
            if id < sizes.count { heldBytes += sizes[id] }
        }

        mutating func discard(_ id: Int) {
            guard flags[id] else { return }
            flags[id] = false
            if id < sizes.count { heldBytes -= sizes[id] }
        }
    }

    private func id(_ name: String) -> Int { ids[name] ?? 0 }

    /// The least of the names of some numbers, as messages sort them.
    private func first(_ numbers: some Sequence<Int>) -> String? {
        numbers.map { names[$0] }.inOrder().first
    }

    /// Follow every tensor's life; the bytes of those alive during each step of the timeline.
    func heldBytes() throws -> [Int] {
        let given = program.inputs.map { id($0.name) }
        let constants = program.constants.map { id($0.name) }
        var alive = Alive(flags: Array(repeating: false, count: names.count), sizes: sizes)
        for tensor in given.filter({ $0 < declared }) + constants { alive.add(tensor) }
        let untyped = Set(given.filter { $0 >= declared })
        let taken = program.segments.map(self.taken)
        var held: [Int] = []
        held.reserveCapacity(timeline.count)
        var end: [Bool]?
        for (n, at) in timeline.enumerated() {
            let segment = program.segments[at.segment]
            if at.step == 0 {
                if at.iteration == 0 { end = nil }
                try enter(segment, at.iteration, &alive)
                for tensor in taken[at.segment] { alive.discard(tensor) }
            }
            try begin(at, &alive, untyped)
            held.append(alive.heldBytes)
            try finish(at, &alive)
            if at.step + 1 == segment.steps.count { try endIteration(segment, at, &alive, &end) }
            if n + 1 == timeline.count || timeline[n + 1].segment != at.segment { try leave(segment, &alive) }
        }
        try checkEnd(alive, given, constants)
        return held
    }

    private func checkEnd(_ alive: Alive, _ given: [Int], _ constants: [Int]) throws {
        var gone: Set<Int> = []
        for (segment, numbered) in zip(program.segments, steps) {
            gone.formUnion(segment.frees.map(id))
            for step in numbered { gone.formUnion(step.frees) }
        }
        let outputs = Set(program.outputs.flatMap(\.values).map(id)).subtracting(gone)
        if let lost = first(outputs.filter { !alive.flags[$0] }) {
            throw Fault.plan("plan: the output \(lost) is not there at the end")
        }
        let stays = outputs.union(given).union(constants)
        if let left = first(alive.flags.indices.filter { alive.flags[$0] && !stays.contains($0) }) {
            throw Fault.plan("plan: tensor \(left) is never freed")
        }
    }

    // MARK: a step

    private func begin(_ at: At, _ alive: inout Alive, _ untyped: Set<Int>) throws {
        let step = steps[at.segment][at.step]
        if step.reads.contains(where: { !alive.flags[$0] && !untyped.contains($0) }) {
            let lost = first(step.reads.filter { !alive.flags[$0] && !untyped.contains($0) }) ?? ""
            throw Fault.plan("plan: \(name(at)) reads \(lost), which is not there any more or yet")
        }
        for tensor in step.outputs {
            guard tensor < declared else {
                throw Fault.plan("plan: \(name(at)) writes \(names[tensor]), which is not declared")
            }
            alive.add(tensor)
        }
    }

    private func finish(_ at: At, _ alive: inout Alive) throws {
        let step = steps[at.segment][at.step]
        try Names.once("plan: \(name(at)) frees twice", step.frees.map { names[$0] })
        if step.frees.contains(where: { !alive.flags[$0] }) {
            let stray = first(step.frees.filter { !alive.flags[$0] }) ?? ""
            throw Fault.plan("plan: \(name(at)) frees \(stray), which is not there")
        }
        for tensor in step.frees { alive.discard(tensor) }
    }

    /// How errors name a step: segment, iteration, step, and the chunk or host stage.
    func name(_ at: At) -> String {
        let label = program.segments[at.segment].steps[at.step].label
        return "step \(at.segment).\(at.iteration).\(at.step) (\(label))"
    }

    // MARK: an iteration, a segment

    private func enter(_ segment: Segment, _ iteration: Int, _ alive: inout Alive) throws {
        for state in segment.state {
            let source = iteration == 0 ? state.first : state.next
            guard alive.flags[id(source)] else {
                throw Fault.plan(
                    "plan: loop \(segment.name): state \(state.name) takes \(source), which is not there")
            }
            alive.add(id(state.name))
            if iteration > 0 { alive.discard(id(state.next)) }
        }
    }

    /// Drop what says whether the loop goes on; ending here leaves what other ends leave.
    private func endIteration(
        _ segment: Segment, _ at: At, _ alive: inout Alive, _ end: inout [Bool]?
    ) throws {
        guard let until = segment.until else { return }
        guard alive.flags[id(until)] else {
            throw Fault.plan("plan: loop \(segment.name): nothing made \(until), by which it may end")
        }
        if !segment.state.contains(where: { $0.next == until }) { alive.discard(id(until)) }
        var left = alive
        try leave(segment, &left)
        let before = end ?? left.flags
        end = before
        if let other = first(left.flags.indices.filter { left.flags[$0] != before[$0] }) {
            throw Fault.plan(
                "plan: loop \(segment.name) may end after iteration \(at.iteration), where \(other) is not "
                    + "as after "
                    + "the first")
        }
    }

    private func leave(_ segment: Segment, _ alive: inout Alive) throws {
        for state in segment.state {
            guard alive.flags[id(state.next)] else {
                throw Fault.plan(
                    "plan: loop \(segment.name): nothing made \(state.next), the next \(state.name)")
            }
            alive.discard(id(state.next))
            // A step may have dropped what it was; what it is now is there until the loop drops it.
            alive.add(id(state.name))
        }
        for name in segment.frees { alive.discard(id(name)) }
    }

    /// First values that go when a map's states have taken them: the segment drops them, no step of it
    /// reads them, no output has them, and every state that takes them has their type.
    private func taken(_ segment: Segment) -> [Int] {
        guard segment.sliced else { return [] }
        var used = Set(program.outputs.flatMap(\.values))
        for step in segment.steps { used.formUnion(step.reads) }
        for state in segment.state where dtype(state.name) != dtype(state.first) { used.insert(state.first) }
        let firsts = Set(segment.state.map(\.first))
        return segment.frees.filter { firsts.contains($0) && !used.contains($0) }.map(id)
    }

    private func dtype(_ name: String) -> DType? {
        let k = id(name)
        return k < declared ? program.tensors[k].port.dtype : nil
    }
}
