import EntractePlan

// What a table works out of its segments and units when it is made.

/// Iterations of a segment that take the same nominal times.
struct TablePiece: Sendable {
    let first: Int
    /// Of the whole program before iteration `first`.
    let beforeNs: Int
    /// Of the first k steps of one iteration.
    let prefixNs: [Int]
    /// Of one iteration.
    let iterationNs: Int
}

/// A segment in numbers.
struct TableRow: Sendable {
    let number: Int
    let base: Int
    let length: Int
    let count: Int
    /// By step: the chunk's number, -1 of a host step.
    let chunk: [Int]
    let need: [Int]
    let idle: [Int]
    /// By step: the iterations in which it is called, rising; empty: all.
    let at: [[Int]]
    let mostNeedBytes: Int
    let meanLoadNs: Int
    let pieces: [TablePiece]

    func isCalled(_ step: Int, _ iteration: Int) -> Bool {
        let at = at[step]
        return at.isEmpty || at.firstAtLeast(iteration).map { at[$0] == iteration } ?? false
    }

    func piece(of iteration: Int) -> TablePiece {
        var low = 0, high = pieces.count
        while low < high {
            let middle = (low + high) / 2
            if pieces[middle].first <= iteration { low = middle + 1 } else { high = middle }
        }
        return pieces[low - 1]
    }

    /// Of the steps [first, stop), counted from the segment's begin.
    func mostNeed(_ first: Int, _ stop: Int) -> Int {
        if stop - first >= length { return mostNeedBytes }
        var (k, most) = (first % length, 0)
        for _ in first..<stop {
            most = max(most, need[k])
            k = k + 1 == length ? 0 : k + 1
        }
        return most
    }

    static func rows(
        _ segments: [TableSegment], _ units: [Table.Unit], _ numbers: ChunkNumbers, _ bases: [Int]
    ) throws -> ([TableRow], Int) {
        var rows: [TableRow] = []
        var total = 0
        for (s, segment) in segments.enumerated() {
            let chunk = try segment.steps.map { try numbers.number(of: $0.chunk) }
            let pieces = try self.pieces(segment, &total)
            let called = Set(chunk.filter { $0 >= 0 })
            let loads = called.reduce(0) { $0 + numbers.unitsOf[$1].reduce(0) { $0 + units[$1].loadNs } }
            rows.append(
                TableRow(
                    number: s, base: bases[s], length: segment.steps.count, count: segment.count,
                    chunk: chunk, need: segment.steps.map(\.needBytes),
                    idle: segment.steps.map(\.idleBytes), at: segment.steps.map(\.at),
                    mostNeedBytes: segment.steps.reduce(0) { max($0, $1.needBytes) },
                    meanLoadNs: called.isEmpty ? 0 : loads / called.count, pieces: pieces))
        }
        return (rows, total)
    }

    /// The iterations, cut where a function switches, or a call begins or ends to rest.
    private static func pieces(_ segment: TableSegment, _ total: inout Int) throws -> [TablePiece] {
        let firsts = cuts(segment)
        try TableCheck.pieces(firsts.count, segment.steps.count)
        var pieces: [TablePiece] = []
        for (k, first) in firsts.enumerated() {
            let stop = k + 1 < firsts.count ? firsts[k + 1] : segment.count
            var prefix = [0]
            prefix.reserveCapacity(segment.steps.count + 1)
            var sum = 0
            for step in segment.steps {
                sum = try TableCheck.add(sum, step.isCalled(first) ? step.exec(at: first) : 0)
                prefix.append(sum)
            }
            pieces.append(TablePiece(first: first, beforeNs: total, prefixNs: prefix, iterationNs: sum))
            total = try TableCheck.add(total, TableCheck.multiply(stop - first, sum))
        }
        return pieces
    }

    private static func cuts(_ segment: TableSegment) -> [Int] {
        var cuts: Set<Int> = [0]
        for step in segment.steps {
            cuts.formUnion(step.switch.map(\.below))
            let at = step.at
            for (k, i) in at.enumerated() {
                if k == 0 || at[k - 1] != i - 1 { cuts.insert(i) }
                if k + 1 == at.count || at[k + 1] != i + 1 { cuts.insert(i + 1) }
            }
        }
        return cuts.filter { $0 >= 0 && $0 < segment.count }.sorted()
    }
}

/// A segment that calls a chunk, and at which of its steps, in which iterations (empty: all).
struct ChunkHome: Sendable {
    let base: Int
    let length: Int
    let count: Int
    private(set) var steps: [(step: Int, at: [Int])]

    func nextUse(from n: Int) -> Int? {
        let (iteration, step) = max(0, n - base).quotientAndRemainder(dividingBy: length)
        var found: Int?
        for (k, at) in steps {
            var i = k >= step ? iteration : iteration + 1
            if !at.isEmpty { i = at.firstAtLeast(i).map { at[$0] } ?? count }
            if i >= count { continue }
            let use = base + i * length + k
            found = found.map { min($0, use) } ?? use
        }
        return found
    }

    /// By chunk's number, in the order of the segments.
    static func homes(_ rows: [TableRow], chunks: Int) -> [[ChunkHome]] {
        var homes = [[ChunkHome]](repeating: [], count: chunks)
        var last = [Int](repeating: -1, count: chunks)
        for row in rows {
            for (k, chunk) in row.chunk.enumerated() where chunk >= 0 {
                if last[chunk] == row.number {
                    homes[chunk][homes[chunk].count - 1].steps.append((k, row.at[k]))
                } else {
                    last[chunk] = row.number
                    let steps = [(step: k, at: row.at[k])]
                    homes[chunk].append(
                        ChunkHome(base: row.base, length: row.length, count: row.count, steps: steps))
                }
            }
        }
        return homes
    }
}

/// Chunks by the number of their first unit.
struct ChunkNumbers {
    private(set) var names: [String] = []
    private(set) var numbers: [String: Int] = [:]
    private(set) var chunkOf: [Int] = []
    private(set) var unitsOf: [Range<Int>] = []

    init(_ units: [Table.Unit]) throws {
        for (u, unit) in units.enumerated() {
            if let number = numbers[unit.chunk] {
                guard number == names.count - 1 else {
                    throw Fault.plan("table: the units of chunk \(unit.chunk) do not stand together")
                }
                unitsOf[number] = unitsOf[number].lowerBound..<(u + 1)
            } else {
                numbers[unit.chunk] = names.count
                names.append(unit.chunk)
                unitsOf.append(u..<(u + 1))
            }
            chunkOf.append(names.count - 1)
        }
    }

    /// -1 of a host step.
    func number(of chunk: String?) throws -> Int {
        guard let chunk else { return -1 }
        guard let number = numbers[chunk] else {
            throw Fault.plan("table: a step calls chunk \(chunk), which has no units")
        }
        return number
    }
}
