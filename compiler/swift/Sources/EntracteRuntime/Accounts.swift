import EntractePlan

/// What is in memory by a driver's decisions alone, in bytes; the first wrong decision is a `Fault`.
///
/// Kept by every machine, apart from whatever the driver itself remembers. Throws at the first decision
/// that breaks the budget, runs a step without its chunk, loads what is there, or drops what is not
/// there, on the way or in use. (It tests the driver, not the program.)
package struct Accounts: Sendable {
    private let table: Table
    /// Units that are loaded.
    package private(set) var there: UnitSet
    /// The unit whose load is in flight.
    package private(set) var flying: Int?
    /// The step that runs.
    package private(set) var running: Int?
    /// What runs next; the table's `end` when all steps are done.
    package private(set) var nextStep = 0
    /// Most bytes of units and of what steps need at once.
    package private(set) var peakBytes = 0
    private var lastStep = 0
    private var unitsBytes = 0
    private var leftBytes = 0

    package init(_ table: Table) {
        self.table = table
        there = UnitSet(capacity: table.units.count)
    }

    /// The step that runs or comes next.
    package var at: Int { running ?? nextStep }

    /// The step that runs or ran last; the first one before that.
    package var doing: Int { running ?? lastStep }

    /// Enter one decision.
    package mutating func decided(_ decision: Decision) throws {
        switch decision {
        case .evict(let unit): try evict(unit)
        case .start(let step): try start(step)
        case .fetch(let unit): try fetch(unit)
        }
        try weigh()
    }

    /// The load in flight ended; gives its unit.
    @discardableResult
    package mutating func loadDone() throws -> Int {
        guard let unit = flying else { throw wrong("a load ended that was not begun") }
        flying = nil
        there.insert(unit)
        return unit
    }

    /// The running step ended, and its loop too if `over`; gives its number.
    @discardableResult
    package mutating func stepDone(over: Bool) throws -> Int {
        guard let step = running else { throw wrong("a step ended that was not begun") }
        running = nil
        lastStep = step
        nextStep = table.after(step, over: over)
        let done = table.step(step)
        leftBytes = nextStep == table.segmentEnd(step) ? done.endBytes : done.leftBytes
        try weigh()
        return step
    }

    /// All is done: no step is left, and nothing is left in memory.
    package func finish() throws {
        if nextStep != table.end { throw wrong("deadlock before step \(nextStep)") }
        let left = there.sorted + (flying.map { [$0] } ?? [])
        if !left.isEmpty { throw wrong("left in memory: units \(left)") }
    }

    private mutating func evict(_ unit: Int) throws {
        if unit == flying { throw wrong("unit \(unit) is evicted in flight") }
        if !there.contains(unit) { throw wrong("unit \(unit) is evicted but not there") }
        if let running, unitsOf(running).contains(unit) { throw wrong("unit \(unit) is evicted in use") }
        there.remove(unit)
        unitsBytes -= table.units[unit].sizeBytes
    }

    private mutating func start(_ step: Int) throws {
        if running != nil || step != nextStep || step >= table.end {
            throw wrong("step \(step) is out of order")
        }
        if !there.contains(all: unitsOf(step)) {
            throw wrong("step \(step) starts without \(table.step(step).chunk ?? "host")")
        }
        running = step
    }

    private mutating func fetch(_ unit: Int) throws {
        if flying != nil { throw wrong("two loads at once") }
        if there.contains(unit) { throw wrong("unit \(unit) is loaded twice") }
        guard table.units.indices.contains(unit) else { throw wrong("there is no unit \(unit)") }
        flying = unit
        unitsBytes += table.units[unit].sizeBytes
    }

    private func unitsOf(_ step: Int) -> Range<Int> {
        table.chunk(step).map { table.unitsOf[$0] } ?? 0..<0
    }

    /// Between steps the tensors are those that the last one left.
    private mutating func weigh() throws {
        let held = unitsBytes + (running.map { table.needBytes($0) } ?? leftBytes)
        peakBytes = max(peakBytes, held)
        if held > table.budgetBytes {
            throw wrong("\(held) bytes in memory at step \(at), the budget is \(table.budgetBytes) bytes")
        }
    }

    private func wrong(_ what: String) -> Fault { Fault.run("driver: \(what)") }
}
