import EntractePlan

// The machine that predicts: a driver's decisions on a clock, with whole nanoseconds.
//
// One loader and one compute unit. While a load and a step overlap, both proceed at 1/gamma of their
// speed. Of two ends at the same moment the step's comes first. Every decision is entered into accounts
// of its own, which throw at the first that is wrong.

/// Mutual slow-down as a fraction, at least 1.
package struct Gamma: Equatable, Sendable {
    package let above: Int
    package let below: Int

    /// Nothing slows down.
    package static let none = Gamma(above: 1, below: 1)

    package init(above: Int, below: Int) {
        self.above = max(above, below, 1)
        self.below = max(below, 1)
    }

    /// To a thousandth.
    package init(contention: Double) {
        let thousandths = (1000 * contention).rounded(.toNearestOrEven)
        let above = thousandths.isFinite ? Int(min(max(thousandths, 1000), 0x1p20)) : 1000
        self.init(above: above, below: 1000)
    }
}

/// What happened from when to when.
package struct Interval: Equatable, Sendable {
    package enum Queue: String, Sendable { case load, compute, free }

    package let queue: Queue
    /// The unit, or the step's number.
    package let what: Int
    /// Of a load the step that it serves; of a free the one that runs or ran last.
    package let step: Int
    package let startNs: Int
    package let endNs: Int
}

/// What a driver made of a program, in the numbers of its table.
package struct Simulation: Sendable {
    package let makespanNs: Int
    /// Time in which a step ran, contention included.
    package let computeNs: Int
    package let loadingNs: Int
    package let loads: Int
    package let loadedBytes: Int
    /// Most bytes of units and of what steps need at once.
    package let peakBytes: Int
    /// By end.
    package let intervals: [Interval]

    /// Time in which no step ran.
    package var stallNs: Int { makespanNs - computeNs }
}

/// How a simulated run goes where it is not as planned.
package struct Truth {
    /// (unit or step, how many loads or steps were begun before) -> nanoseconds without contention.
    package typealias Times = (Int, Int) -> Int

    /// Nominal where nil, and a unit's first load is then cold.
    package var loadNs: Times?
    package var execNs: Times?
    package var gamma: Gamma
    /// Segment -> iterations after which its loop is over; others do all of theirs.
    package var ends: [Int: Int]

    package init(
        loadNs: Times? = nil, execNs: Times? = nil, gamma: Gamma = .none, ends: [Int: Int] = [:]
    ) {
        self.loadNs = loadNs
        self.execNs = execNs
        self.gamma = gamma
        self.ends = ends
    }
}

/// Run a driver to the end of its program.
///
/// `watch` is told of every event (nil at the beginning): the driver after it, its moment in
/// nanoseconds, and what was decided then. Throws a `Fault` where the driver decides what is wrong, or
/// stops before the end.
package func simulate<D: Driver>(
    _ driver: inout D, _ truth: Truth = Truth(),
    watch: (D, Int, Event?, [Decision]) throws -> Void = { _, _, _, _ in }
) throws -> Simulation {
    var clock = SimulatedClock(driver.table, truth)
    var event: Event?
    while true {
        let decisions = event.map { driver.react($0) } ?? driver.begin()
        for decision in decisions { try clock.carryOut(decision) }
        try watch(driver, clock.now, event, decisions)
        guard let next = try clock.advance() else {
            try clock.accounts.finish()
            return clock.result()
        }
        event = next
    }
}

/// Working state of `simulate`.
private struct SimulatedClock {
    /// Something under way: nanoseconds left, times gamma's numerator so that they stay whole.
    struct Work {
        let beganNs: Int
        var left: Int
    }

    /// Most nanoseconds of a load or a step, and of all together.
    static let mostNs = 1 << 61

    let table: Table
    let truth: Truth
    var accounts: Accounts
    var now = 0
    var load: Work?
    var step: Work?
    /// The step that the load in flight is for.
    var serves = 0
    var seen: UnitSet
    var steps = 0, loads = 0, loadedBytes = 0, computing = 0, loading = 0
    var intervals: [Interval] = []

    init(_ table: Table, _ truth: Truth) {
        self.table = table
        self.truth = truth
        accounts = Accounts(table)
        seen = UnitSet(capacity: table.units.count)
    }

    mutating func carryOut(_ decision: Decision) throws {
        try accounts.decided(decision)
        switch decision {
        case .evict(let unit):
            add(.free, unit, accounts.doing, now)
        case .start(let number):
            step = try work(truth.execNs?(number, steps) ?? table.execNs(number))
            steps += 1
        case .fetch(let unit):
            try fetch(unit)
        }
    }

    private mutating func fetch(_ unit: Int) throws {
        let u = table.units[unit]
        load = try work(truth.loadNs?(unit, loads) ?? u.loadNs + (seen.contains(unit) ? 0 : u.coldNs))
        serves = table.nextUse(table.chunkOf[unit], from: accounts.at)
        seen.insert(unit)
        loads += 1
        loadedBytes += u.sizeBytes
    }

    private func work(_ ns: Int) throws -> Work {
        let (left, over) = ns.multipliedReportingOverflow(by: truth.gamma.above)
        guard !over && ns >= 0 && left <= SimulatedClock.mostNs - now else {
            throw Fault.run("clock: a load or a step takes \(ns) ns; it counts to \(SimulatedClock.mostNs)")
        }
        return Work(beganNs: now, left: left)
    }

    /// To the next end of a load or a step; of two at once, the step's comes first. Nil when nothing is
    /// under way.
    mutating func advance() throws -> Event? {
        guard let least = [load?.left, step?.left].compactMap({ $0 }).min() else { return nil }
        let speed = load != nil && step != nil ? truth.gamma.below : truth.gamma.above
        let passed = (least + speed - 1) / speed
        guard passed <= SimulatedClock.mostNs - now else { throw Fault.run("clock: the run takes too long") }
        now += passed
        if load != nil {
            loading += passed
            load?.left -= passed * speed
        }
        if step != nil {
            computing += passed
            step?.left -= passed * speed
            if let step, step.left <= 0 { return try endStep(step) }
        }
        return try load.map { try endLoad($0) }
    }

    private mutating func endLoad(_ work: Work) throws -> Event {
        load = nil
        add(.load, try accounts.loadDone(), serves, work.beganNs)
        return .loadDone(ns: now - work.beganNs)
    }

    private mutating func endStep(_ work: Work) throws -> Event {
        step = nil
        let number = accounts.at
        let place = table.place(number), segment = table.segments[place.segment]
        let last = place.step + 1 == segment.steps.count && place.iteration + 1 < segment.count
        let over = last && truth.ends[place.segment] == place.iteration + 1
        try accounts.stepDone(over: over)
        add(.compute, number, number, work.beganNs)
        return .stepDone(ns: now - work.beganNs, over: over)
    }

    private mutating func add(_ queue: Interval.Queue, _ what: Int, _ step: Int, _ startNs: Int) {
        intervals.append(Interval(queue: queue, what: what, step: step, startNs: startNs, endNs: now))
    }

    func result() -> Simulation {
        Simulation(
            makespanNs: now, computeNs: computing, loadingNs: loading, loads: loads,
            loadedBytes: loadedBytes, peakBytes: accounts.peakBytes, intervals: intervals)
    }
}
