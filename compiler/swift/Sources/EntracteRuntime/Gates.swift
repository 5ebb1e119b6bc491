import EntractePlan

/// A plan's gates as a driver: every load in its order, each when its gate step has ended.
///
/// Copies are dropped when the step that frees them ends. Gates are the proof that a plan fits, and what
/// a runner without the online rule can follow. Chunks are loaded whole.
package struct Gates: Driver {
    package let table: Table
    private let unitOf: [String: Int]
    private var loads: Placements
    private var next: Placement?
    private var at = 0, ended = -1
    private var running = false
    private var there: UnitSet
    private var flying: Int?
    /// A loop ended early while a load was in flight: it is finished first.
    private var draining = false
    /// Step -> units whose copies go when it ends.
    private var freedAt: [Int: [Int]] = [:]

    /// `table` has one unit for each chunk. Throws a `Fault` of kind plan where it has not, or for loads
    /// of chunks and steps that there are not.
    package init(_ table: Table, _ program: Program, _ schedule: Schedule) throws {
        guard table.units.count == table.chunks.count else {
            throw Fault.plan("gates: chunks are loaded whole, not in pages")
        }
        unitOf = Dictionary(uniqueKeysWithValues: table.chunks.enumerated().map { ($0.element, $0.offset) })
        for load in schedule.loads where unitOf[load.chunk] == nil {
            throw Fault.plan("plan: schedule.loads: no step calls \(load.chunk)")
        }
        self.table = table
        there = UnitSet(capacity: table.units.count)
        loads = try Placements(program, schedule)
        next = loads.next()
    }

    package mutating func begin() -> [Decision] { decide() }

    package mutating func react(_ event: Event) -> [Decision] {
        switch event {
        case .loadDone:
            return landed() + decide()
        case .stepDone(_, let over, _):
            guard running else { return [] }
            running = false
            return (over ? endEarly() : endStep()) + decide()
        }
    }

    private mutating func landed() -> [Decision] {
        guard let unit = flying else { return [] }
        flying = nil
        if !draining {
            there.insert(unit)
            return []
        }
        (draining, ended) = (false, at - 1)
        return [.evict(unit)]
    }

    private mutating func endStep() -> [Decision] {
        (ended, at) = (at, at + 1)
        let freed = freedAt.removeValue(forKey: ended) ?? []
        for unit in freed { there.remove(unit) }
        return freed.map { .evict($0) }
    }

    /// None of the loop's copies and loads is left before any later gate opens.
    private mutating func endEarly() -> [Decision] {
        at = table.after(at, over: true)
        while let load = next, load.use < at { next = loads.next() }
        let left = there.sorted
        there.removeAll()
        freedAt.removeAll()
        draining = flying != nil
        if !draining { ended = at - 1 }
        return left.map { .evict($0) }
    }

    private mutating func decide() -> [Decision] {
        if draining { return [] }
        var decisions: [Decision] = []
        if !running && at < table.end {
            let chunk = table.chunk(at)
            if chunk.map(there.contains) ?? true {
                running = true
                decisions.append(.start(at))
            }
        }
        if let load = next, flying == nil, load.gate <= ended, let unit = unitOf[load.chunk] {
            flying = unit
            freedAt[load.free, default: []].append(unit)
            next = loads.next()
            decisions.append(.fetch(unit))
        }
        return decisions
    }
}
