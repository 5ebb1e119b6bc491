import EntractePlan

/// A piece on its way to the writer of an output.
struct Due {
    /// The output's place among the program's.
    let output: Int
    let value: Tensor
    /// (axis, end) of what a loop made that ended early: no more than that is given.
    let cut: Begin?
}

/// Outputs on their way: each part goes to its writer when it is complete, in the order of parts.
struct Delivery {
    private let outputs: [Output]
    private let parts: [[Int]]
    /// How many parts of an output its writer has taken.
    private var turn: [Int]
    private var complete: Set<Int> = []
    private var cut: [Int: Begin] = [:]
    private var streamed: Set<Int> = []
    private let isPart: Set<Int>
    /// Pieces that each output's writer took.
    private(set) var counts: [Int]

    init(_ wiring: Wiring) {
        outputs = wiring.outputs
        parts = wiring.parts
        turn = [Int](repeating: 0, count: wiring.outputs.count)
        counts = turn
        isPart = Set(wiring.parts.joined())
    }

    /// The next piece of a part that is streamed. Throws `Fault` before its turn.
    mutating func piece(_ part: Int, _ name: String, _ value: Tensor) throws -> [Due] {
        streamed.insert(part)
        var due: [Due] = []
        for (n, own) in parts.enumerated() where own.contains(part) {
            guard turn[n] < own.count, own[turn[n]] == part else {
                throw Fault.plan(
                    "plan: \(name) of the output \(outputs[n].name) is made before it is its turn")
            }
            counts[n] += 1
            due.append(Due(output: n, value: value, cut: nil))
        }
        return due
    }

    /// These are whole now. Gives what goes to writers: of those whose turn it is.
    ///
    /// `cut` is (axis, end) of parts of which no more was made, where their loop ended early; `value` gives a
    /// part that is there.
    mutating func completed(
        _ names: some Sequence<Int>, cut: [(part: Int, end: Begin)] = [], _ value: (Int) throws -> Tensor
    ) rethrows -> [Due] {
        var isNew = false
        for name in names where isPart.contains(name) && complete.insert(name).inserted { isNew = true }
        for one in cut { self.cut[one.part] = one.end }
        return isNew ? try taken(value) : []
    }

    private mutating func taken(_ value: (Int) throws -> Tensor) rethrows -> [Due] {
        var due: [Due] = []
        for n in parts.indices {
            while turn[n] < parts[n].count, complete.contains(parts[n][turn[n]]) {
                let part = parts[n][turn[n]]
                turn[n] += 1
                if streamed.contains(part) { continue }
                counts[n] += 1
                due.append(Due(output: n, value: try value(part), cut: cut[part]))
            }
        }
        return due
    }
}

extension Output {
    /// Of a value what a loop made that ended early, where that is along the output's axis.
    func made(_ value: Tensor, _ cut: Begin?) throws -> Tensor {
        guard let cut, !value.shape.isEmpty else { return value }
        let rank = value.shape.count
        let along = ((axis % rank) + rank) % rank
        guard cut.axis == along, cut.at >= 0, cut.at < value.shape[along] else { return value }
        var sizes = value.shape
        sizes[along] = cut.at
        return try Box(of: value.shape, at: [], sizes: sizes, name).read(value)
    }
}
