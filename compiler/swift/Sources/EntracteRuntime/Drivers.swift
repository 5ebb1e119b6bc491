import EntractePlan

/// What is to be scheduled: a program, what its chunks need and take, and the memory for it.
public struct Workload: Sendable {
    public let program: Program
    /// Of every chunk that the program calls, by name.
    public let facts: [String: ChunkFacts]
    /// What chunks, activations and tensors may take together.
    public let budgetBytes: Int
    /// What is loaded at once of a chunk's weights; 0: packages load whole.
    public let pageBytes: Int

    public init(program: Program, facts: [ChunkFacts], budgetBytes: Int, pageBytes: Int = 0) {
        self.program = program
        self.facts = Dictionary(facts.map { ($0.id, $0) }, uniquingKeysWith: { $1 })
        self.budgetBytes = budgetBytes
        self.pageBytes = pageBytes
    }

    /// What a plan was made for, under the budget that it was scheduled for; whole packages.
    public init(_ plan: Plan) {
        self.init(program: plan.program, facts: plan.facts, budgetBytes: plan.schedule.budgetBytes)
    }

    fileprivate func facts(of chunk: String) throws -> ChunkFacts {
        guard let own = facts[chunk] else { throw Fault.plan("plan: facts lacks chunk \(chunk)") }
        return own
    }
}

/// The drivers that there are, by the name that `Schedule.driver` says.
public enum DriverKind: String, Sendable, CaseIterable {
    case gates, online

    /// What a runner follows.
    public var title: String { self == .gates ? "the plan's gates" : "the online rule" }

    /// Throws a `Fault` for a driver that there is not.
    public init(_ schedule: Schedule) throws {
        guard let kind = DriverKind(rawValue: schedule.driver) else {
            let names = DriverKind.allCases.map(\.rawValue).sorted().joined(separator: ", ")
            throw Fault.plan("plan: the driver '\(schedule.driver)' is not one of \(names)")
        }
        self = kind
    }
}

/// What decides the loads of this schedule, at its beginning. Throws a `Fault` of kind plan for a
/// schedule that its driver cannot carry out.
package func makeDriver(_ workload: Workload, _ schedule: Schedule) throws -> any Driver {
    switch try DriverKind(schedule) {
    case .gates:
        return try Gates(try makeTable(workload), workload.program, schedule)
    case .online:
        let pages = try pageCounts(Array(workload.facts.values), workload.pageBytes)
        return try OnlineRule(try makeTable(workload, pages: pages, kept: schedule.kept))
    }
}

/// The table of a program. Units are in order of first call, then of page.
///
/// `pages`: chunk -> into how many pages it is split; 1 where it is not named. `kept`: chunks that stay
/// loaded over their loop, e.g. a plan's `schedule.kept`. Throws a `Fault` of kind plan.
package func makeTable(_ workload: Workload, pages: [String: Int] = [:], kept: [Kept] = []) throws -> Table {
    let alive = try workload.program.lifetimes()
    var order: [ChunkFacts] = []
    var known: Set<String> = []
    let segments = try zip(workload.program.segments, alive).map { segment, bytes in
        let steps = try zip(segment.steps, bytes).map { step, alive in
            guard case .call(let call) = step else { return hostStep(alive) }
            let facts = try workload.facts(of: call.chunk)
            if known.insert(call.chunk).inserted { order.append(facts) }
            return try callStep(call, facts, alive)
        }
        return TableSegment(count: segment.count, steps: steps)
    }
    let units = try order.flatMap { try split($0, pages[$0.id] ?? 1) }
    return try Table(units: units, segments: segments, budgetBytes: workload.budgetBytes, kept: kept)
}

private func hostStep(_ alive: AliveBytes) -> TableStep {
    TableStep(chunk: nil, needBytes: alive.during, execNs: 0, leftBytes: alive.after, endBytes: alive.atEnd)
}

private func callStep(_ call: Call, _ facts: ChunkFacts, _ alive: AliveBytes) throws -> TableStep {
    let ns = { (function: String) in
        try TableCheck.multiply(call.repeat, nanoseconds(facts.exec(of: function), of: facts))
    }
    let (need, over) = alive.during.addingReportingOverflow(facts.activationBytes)
    guard !over else { throw Fault.plan("plan: facts of \(facts.id): activation_bytes is too large") }
    return TableStep(
        chunk: call.chunk, needBytes: need, execNs: try ns(call.function),
        switch: try call.switch.map { TimeSwitch(ns: try ns($0.function), below: $0.below) },
        leftBytes: alive.after, endBytes: alive.atEnd, at: call.at,
        idleBytes: call.at.isEmpty ? 0 : alive.during)
}

/// Nearest whole nanosecond, halves to even.
private func nanoseconds(_ seconds: Double, of facts: ChunkFacts) throws -> Int {
    let ns = (seconds * 1e9).rounded(.toNearestOrEven)
    guard ns.isFinite && ns >= 0 && ns <= Double(TableCheck.mostNs) else {
        throw Fault.plan("plan: facts of \(facts.id): \(seconds) s is no time that can be counted")
    }
    return Int(ns)
}

// MARK: pages

/// Large pages end at multiples of this: what memory comes in at once is not cut in two.
private let cutBytes = 1 << 21
/// Of a plan: the rule looks at all of them after each event.
private let mostPages = 1 << 16
/// Of a target's pages: no system gives less memory back.
private let leastPageBytes = 4096

/// Pages of at most `pageBytes`; one for the whole package where that is 0. Throws a `Fault` of kind plan
/// where they are too small or too many.
public func pageCounts(_ facts: [ChunkFacts], _ pageBytes: Int) throws -> [String: Int] {
    if pageBytes == 0 { return [:] }
    guard pageBytes >= leastPageBytes else {
        throw Fault.plan(
            "target.page_bytes is \(pageBytes); give at least \(leastPageBytes), or 0 for whole packages")
    }
    var pages: [String: Int] = [:]
    var total = 0
    for f in facts {
        guard (0...TableCheck.mostBytes).contains(f.weightBytes) else {
            throw Fault.plan("plan: facts of \(f.id): weight_bytes is \(f.weightBytes)")
        }
        let count = max(1, (f.weightBytes - 1 + pageBytes) / pageBytes)
        pages[f.id] = count
        total = total.addingReportingOverflow(count).partialValue
    }
    guard (0...mostPages).contains(total) else {
        throw Fault.plan(
            "target.page_bytes=\(pageBytes) makes \(total) pages, more than \(mostPages); give larger ones, "
                + "or 0 for whole packages")
    }
    return pages
}

/// Equal pages; what does not divide goes to the first ones, one byte or nanosecond each. Pages of twice
/// `cutBytes` or more are cut at multiples of it, the next ones above the equal cuts.
func split(_ facts: ChunkFacts, _ n: Int) throws -> [Table.Unit] {
    let size = facts.weightBytes
    guard n >= 1 && n <= mostPages && (0...(1 << 46)).contains(size) || n == 1 else {
        throw Fault.plan("plan: facts of \(facts.id): \(size) bytes are not cut into \(n) pages")
    }
    let load = try nanoseconds(facts.loadSeconds, of: facts)
    let cold = try nanoseconds(facts.coldSeconds, of: facts)
    let cut = { (j: Int) in
        if size / n < 2 * cutBytes || j == n { return size / n * j + min(j, size % n) }
        return (size * j + n * cutBytes - 1) / (n * cutBytes) * cutBytes
    }
    let share = { (ns: Int, j: Int) in ns / n + (j < ns % n ? 1 : 0) }
    return (0..<n).map { j in
        Table.Unit(
            chunk: facts.id, page: j, sizeBytes: cut(j + 1) - cut(j), loadNs: share(load, j),
            coldNs: share(cold, j))
    }
}
