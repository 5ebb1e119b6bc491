import EntractePlan

/// All that the rule remembers.
package struct Ledger: Equatable, Sendable {
    /// The step that runs or comes next; the table's `end` when all are done.
    package internal(set) var at = 0
    package internal(set) var running = false
    /// Units in memory.
    package internal(set) var resident: UnitSet
    package internal(set) var loading: Int?
    /// Units that were loaded at least once: their next load is not cold.
    package internal(set) var seen: UnitSet
    /// Observed over nominal times of steps, in 1/4096.
    package internal(set) var execScale = OnlineRule.one
    package internal(set) var loadScale = OnlineRule.one
    /// Of `resident` and `loading`.
    package internal(set) var heldBytes = 0

    init(units: Int) {
        resident = UnitSet(capacity: units)
        seen = UnitSet(capacity: units)
    }
}

/// The online rule: which unit to load or evict, and when a step may start.
///
/// Just-in-time Belady: load what is needed next, evict what is needed last, and start a load only when
/// waiting for the end of the running step would make some load late. No clock is read. Specified, with
/// the proof that it keeps the budget and never deadlocks for any timing, in docs/online-rule.md;
/// tests/vectors/online.json holds its test vectors. All numbers are whole.
package struct OnlineRule: Driver {
    /// The scale 1: scales are fixed-point numbers with 12 binary digits after the point.
    package static let one = 4096
    /// What one observation may say at most.
    static let smallest = one / 64, largest = one * 64
    /// Most nominal time of a program (4.9 hours): times a scale it fits into 64 bits.
    static let maxNs = 1 << 44

    package let table: Table
    package private(set) var ledger: Ledger
    private var uses: UseOrder
    private var there: Presence

    /// Throws a `Fault` of kind plan for a program that is beyond it (`check`).
    package init(_ table: Table) throws {
        try OnlineRule.check(table)
        self.table = table
        ledger = Ledger(units: table.units.count)
        uses = UseOrder(table)
        there = Presence(table)
    }

    /// The rule's preconditions. Throws a `Fault` where a step alone exceeds the budget (no rule could
    /// run it), or times are beyond the rule's numbers.
    package static func check(_ table: Table) throws {
        let loadsNs = table.units.reduce(0) { $0 + $1.loadNs + $1.coldNs }
        guard max(table.totalNs, loadsNs) <= maxNs else {
            throw Fault.plan("online rule: nominal times exceed \(maxNs) ns")
        }
        for row in table.rows {
            for (k, chunk) in row.chunk.enumerated() {
                let needs = (chunk >= 0 ? table.chunkBytes[chunk] : 0) + row.need[k]
                guard needs <= table.budgetBytes else {
                    let name = chunk >= 0 ? table.chunks[chunk] : "host"
                    throw Fault.plan(
                        "online rule: step \(row.number).\(k) (\(name)) needs \(needs) bytes alone, the "
                            + "budget is \(table.budgetBytes) bytes")
                }
            }
        }
    }

    package mutating func begin() -> [Decision] { decide() }

    package mutating func react(_ event: Event) -> [Decision] {
        note(event)
        return decide()
    }

    // MARK: events

    private mutating func note(_ event: Event) {
        switch event {
        case .loadDone(let ns):
            guard let unit = ledger.loading else { return }
            let nominal = there.loadNs(unit, seen: ledger.seen.contains(unit))
            ledger.loadScale = OnlineRule.learned(ledger.loadScale, ns, nominal)
            there.came(unit, ns: nominal)
            ledger.resident.insert(unit)
            ledger.seen.insert(unit)
            ledger.loading = nil
        case .stepDone(let ns, let over, let rested):
            guard ledger.running else { return }
            if !rested {
                ledger.execScale = OnlineRule.learned(ledger.execScale, ns, table.execNs(ledger.at))
            }
            ledger.at = table.after(ledger.at, over: over)
            ledger.running = false
        }
    }

    /// The scale after one more observation, which counts one fifth. Whole numbers only.
    static func learned(_ scale: Int, _ observedNs: Int, _ nominalNs: Int) -> Int {
        if nominalNs == 0 { return scale }
        let (scaled, over) = observedNs.multipliedReportingOverflow(by: one)
        // Beyond 64 bits: nominal times are at most 2^44, so it is the largest.
        let seen = over ? (observedNs < 0 ? smallest : largest) : scaled / nominalNs
        return (4 * scale + min(max(seen, smallest), largest)) / 5
    }

    // MARK: decisions

    /// Drop what is never used again; start the next step; start a load.
    private mutating func decide() -> [Decision] {
        uses.move(to: ledger.at)
        var decisions: [Decision] = []
        dropDead(&decisions)
        start(&decisions)
        fetch(&decisions)
        return decisions
    }

    private mutating func dropDead(_ decisions: inout [Decision]) {
        var dead: [Int] = []
        for use in uses.order.reversed() {
            if use.use != table.end { break }
            if there.units[use.chunk] == 0 { continue }
            dead += table.unitsOf[use.chunk].filter(ledger.resident.contains)
        }
        if !dead.isEmpty { evict(dead.sorted(), &decisions) }
    }

    private mutating func evict(_ units: [Int], _ decisions: inout [Decision]) {
        for unit in units {
            ledger.resident.remove(unit)
            ledger.heldBytes -= table.units[unit].sizeBytes
            there.went(unit)
            decisions.append(.evict(unit))
        }
    }

    /// Start the step that comes next if its chunk is there and memory allows.
    private mutating func start(_ decisions: inout [Decision]) {
        if ledger.running || ledger.at == table.end { return }
        if let chunk = table.chunk(ledger.at), !there.isWhole(chunk) { return }
        // Impossible only after an early end: a load in flight takes the room, and will end.
        guard let victims = victims(table.needBytes(ledger.at), limit: ledger.at) else { return }
        evict(victims, &decisions)
        ledger.running = true
        decisions.append(.start(ledger.at))
    }

    /// Start the load of the first missing unit if it is due and memory allows.
    private mutating func fetch(_ decisions: inout [Decision]) {
        if ledger.loading != nil { return }
        guard let place = uses.order.firstIndex(where: { !there.isWhole($0.chunk) }) else { return }
        let first = uses.order[place]
        if first.use == table.end { return }
        if ledger.running && !isDue(from: place) { return }
        guard let unit = table.unitsOf[first.chunk].first(where: { !ledger.resident.contains($0) }) else {
            return
        }
        let size = table.units[unit].sizeBytes
        let room = size + table.mostNeed(ledger.at, first.use)
        guard let victims = victims(room, limit: first.use) else { return }
        evict(victims, &decisions)
        ledger.loading = unit
        ledger.heldBytes += size
        decisions.append(.fetch(unit))
    }

    /// Would some pending load be late if loading began only when the running step ends?
    ///
    /// Of the units of one chunk, all with the same use, the last one is late first.
    private func isDue(from place: Int) -> Bool {
        let margin = table.marginNs(uses.order[place].use)
        let beginNs = table.nominalBefore(ledger.at + 1)
        var loadNs = 0
        for use in uses.order[place...] where !there.isWhole(use.chunk) {
            if use.use == table.end { return false }
            loadNs += there.missingNs[use.chunk]
            let untilNs = (use.beforeNs - beginNs) * ledger.execScale / OnlineRule.one
            if untilNs <= (loadNs + margin) * ledger.loadScale / OnlineRule.one { return true }
        }
        return false
    }

    /// Units to evict so that `room` bytes are free: all of them used only after step `limit`, and not of
    /// chunks that are kept in the loop of step `at`. Nil where that is impossible. Furthest next use
    /// first, then the higher number.
    private func victims(_ room: Int, limit: Int) -> [Int]? {
        var short = ledger.heldBytes + room - table.budgetBytes
        if short <= 0 { return [] }
        var chosen = byLastUse(limit: limit, &short)
        if short > 0 { return nil }
        // Sizes differ: the last one chosen may have made earlier ones unnecessary.
        for k in chosen.indices.reversed() {
            let size = table.units[chosen[k]].sizeBytes
            if short + size > 0 { continue }
            chosen.remove(at: k)
            short += size
        }
        return chosen
    }

    /// Units that may be evicted, the furthest next use first, until nothing is short.
    private func byLastUse(limit: Int, _ short: inout Int) -> [Int] {
        let stop = table.segmentEnd(ledger.at)
        let level = table.level(ledger.loadScale * OnlineRule.one / ledger.execScale)
        var chosen: [Int] = []
        for use in uses.order.reversed() {
            if use.use <= limit { break }
            if there.units[use.chunk] == 0 { continue }
            if use.use < stop, let level, table.keeps[level][use.chunk] { continue }
            for unit in table.unitsOf[use.chunk].reversed() where ledger.resident.contains(unit) {
                chosen.append(unit)
                short -= table.units[unit].sizeBytes
                if short <= 0 { return chosen }
            }
        }
        return chosen
    }
}
