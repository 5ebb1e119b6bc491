// What the online rule keeps beside its ledger, so that an event costs microseconds: it follows from it.

/// What of each chunk is in memory, in sums.
struct Presence: Sendable {
    private let table: Table
    /// By chunk: its resident units.
    private(set) var units: [Int]
    /// By chunk: nominal time of the next loads of its other units.
    private(set) var missingNs: [Int]

    init(_ table: Table) {
        self.table = table
        units = [Int](repeating: 0, count: table.chunks.count)
        missingNs = table.unitsOf.map { units in
            units.reduce(0) { $0 + table.units[$1].loadNs + table.units[$1].coldNs }
        }
    }

    func isWhole(_ chunk: Int) -> Bool { units[chunk] == table.unitsOf[chunk].count }

    /// Nominal time of the unit's next load.
    func loadNs(_ unit: Int, seen: Bool) -> Int {
        table.units[unit].loadNs + (seen ? 0 : table.units[unit].coldNs)
    }

    /// `ns`: its load's nominal time, the cold part included if it was cold.
    mutating func came(_ unit: Int, ns: Int) {
        units[table.chunkOf[unit]] += 1
        missingNs[table.chunkOf[unit]] -= ns
    }

    mutating func went(_ unit: Int) {
        units[table.chunkOf[unit]] -= 1
        missingNs[table.chunkOf[unit]] += table.units[unit].loadNs
    }
}

/// The next use of every chunk from a step on, by rising use, then by number.
struct UseOrder: Sendable {
    struct Use: Sendable {
        /// The step; the table's `end` for never.
        let use: Int
        let chunk: Int
        /// Nominal time of all steps before the use.
        let beforeNs: Int
    }

    private let table: Table
    private(set) var order: [Use] = []
    private var at = -1

    init(_ table: Table) { self.table = table }

    /// From the step before, only the chunk that it calls changes its place.
    mutating func move(to n: Int) {
        if n == at { return }
        defer { at = n }
        if at < 0 || n != at + 1 {
            order = table.chunks.indices.map { use(of: $0, from: n) }.sorted(by: UseOrder.isBefore)
            return
        }
        guard let chunk = table.chunk(at) else { return }
        guard let place = order.firstIndex(where: { $0.chunk == chunk }) else { return }
        order.remove(at: place)
        let next = use(of: chunk, from: n)
        order.insert(next, at: placeOf(next))
    }

    private func use(of chunk: Int, from n: Int) -> Use {
        let use = table.nextUse(chunk, from: n)
        return Use(use: use, chunk: chunk, beforeNs: table.nominalBefore(use))
    }

    private func placeOf(_ use: Use) -> Int {
        var low = 0, high = order.count
        while low < high {
            let middle = (low + high) / 2
            if UseOrder.isBefore(order[middle], use) { low = middle + 1 } else { high = middle }
        }
        return low
    }

    private static func isBefore(_ a: Use, _ b: Use) -> Bool {
        a.use == b.use ? a.chunk < b.chunk : a.use < b.use
    }
}
