/// A plan's promise: what the plan's own numbers refute is refused.
///
/// Nothing is predicted here. Computing takes at least the sum of the calls alone, and at most that under
/// full contention; each chunk is loaded at least once, by gates as often as the loads say. Sums are what
/// they are sums of, and bars lie where their steps are.
struct Promise {
    private let plan: Plan
    private let facts: [String: ChunkFacts]
    /// Steps that call a chunk, in all iterations.
    private var calls = 0
    /// Of all calls, alone.
    private var callsSeconds = 0.0
    /// The same where every loop that may ends after its first iteration.
    private var shortestSeconds = 0.0
    /// The same where calls that may rest by a tensor happen in the first iteration only.
    private var restingSeconds = 0.0
    private var mayRest = false
    private var loads = 0
    private var loadsSeconds = 0.0
    private var loadedBytes = 0
    /// Whether loads are these, or at least these.
    private let isExact: Bool
    /// Times are whole nanoseconds: what rounding may add up to.
    private var slack = 0.0

    init(_ plan: Plan) {
        self.plan = plan
        facts = Dictionary(plan.facts.map { ($0.id, $0) }) { first, _ in first }
        let byGates = plan.schedule.driver == "gates"
        isExact = byGates && !Self.maySwitch(plan)
        var slices = 0
        var called: Set<String> = []
        for segment in plan.program.segments {
            for case .call(let call) in segment.steps {
                let often = call.at.isEmpty ? segment.count : call.at.count
                calls = plus(calls, often)
                slices = plus(slices, times(often, call.repeat))
                callsSeconds += seconds(call, segment.count)
                shortestSeconds += seconds(call, segment.until == nil ? segment.count : 1)
                restingSeconds += seconds(call, call.restsBy.isEmpty ? segment.count : 1)
                mayRest = mayRest || !call.restsBy.isEmpty
                called.insert(call.chunk)
            }
        }
        let often = byGates ? loadsByGates() : Dictionary(called.map { ($0, 1) }) { one, _ in one }
        for f in plan.facts {
            guard let often = often[f.id] else { continue }
            loads = plus(loads, often)
            loadsSeconds += Double(often) * f.loadSeconds + f.coldSeconds
            loadedBytes = plus(loadedBytes, times(often, f.weightBytes))
        }
        let whole = Double(slices) + 2 * Double(loads) + Double(plan.program.stepCount)
        slack = 1e-9 * (whole + plan.forecast.makespanSeconds + 1)
    }

    func check(_ peakStep: String) throws {
        let f = plan.forecast
        if f.peakStep != peakStep {
            throw Fault.plan(
                "plan: claims its peak at \(words(f.peakStep)), the checker finds it at \(words(peakStep))")
        }
        guard ["compute", "load", "volume", "window"].contains(f.lowerBound) else {
            throw Fault.plan(
                "plan: the bound \(words(f.lowerBound)) is not one of compute, load, volume, window")
        }
        try checkTimes(f, plan.target.contention + 0.001)
        try checkLoads(f)
        try checkStages(f)
        try checkEarly(f)
        try checkResting(f)
        for (i, bar) in f.bars.enumerated() {
            func place() -> String { "plan.forecast.bars[\(i)] (\(bar.queue) of \(bar.label))" }
            try check(bar, place)
            try checkStep(bar, place)
            if bar.startSeconds <= bar.endSeconds, bar.endSeconds <= f.makespanSeconds + slack { continue }
            throw Fault.plan(
                "\(place()): from \(words(bar.startSeconds)) to \(words(bar.endSeconds)) s, the run takes "
                    + "\(words(f.makespanSeconds)) s")
        }
        let end = f.bars.filter { $0.queue == "compute" }.map(\.endSeconds).max() ?? 0
        if calls > 0 { try checkNear("the end of the last call", end, "", f.makespanSeconds) }
    }

    // MARK: sums

    /// Seconds of a step in so many iterations, alone, those in which it rests left out.
    private func seconds(_ call: Call, _ iterations: Int) -> Double {
        guard let f = facts[call.chunk] else { return 0 }
        if !call.at.isEmpty {
            let each = call.at.filter { $0 < iterations }.map { f.exec(of: call.function(at: $0)) }
            return Double(call.repeat) * each.reduce(0, +)
        }
        var (total, done) = (0.0, 0)
        for s in call.switch + [Switch(function: call.function, below: iterations)] {
            let until = min(s.below, iterations)
            total += Double(times(max(0, until - done), call.repeat)) * f.exec(of: s.function)
            done = until
        }
        return total
    }

    /// Whether a loaded copy may be loaded again for another function.
    private static func maySwitch(_ plan: Plan) -> Bool {
        guard plan.target.reloadOnSwitch else { return false }
        var used: [String: Set<String>] = [:]
        for segment in plan.program.segments {
            for case .call(let call) in segment.steps {
                used[call.chunk, default: []].formUnion([call.function] + call.switch.map(\.function))
            }
        }
        return used.values.contains { $0.count > 1 }
    }

    private func loadsByGates() -> [String: Int] {
        var often: [String: Int] = [:]
        for load in plan.schedule.loads {
            let segment = plan.program.segments[load.segment]
            let n = load.iterations == "first" ? 1 : served(load, segment)
            often[load.chunk] = plus(often[load.chunk] ?? 0, n)
        }
        return often.filter { $0.value > 0 }
    }

    /// Iterations after the first in which a load serves a call.
    private func served(_ load: Load, _ segment: Segment) -> Int {
        guard load.step <= load.freeStep else { return segment.count - 1 }
        var iterations: Set<Int> = []
        for step in segment.steps[load.step ... load.freeStep] {
            guard case .call(let call) = step, call.chunk == load.chunk else { continue }
            if call.at.isEmpty { return segment.count - 1 }
            iterations.formUnion(call.at)
        }
        return iterations.subtracting([0]).count
    }

    // MARK: checks

    private func checkNear(_ what: String, _ given: Double, _ of: String, _ proper: Double) throws {
        if abs(given - proper) <= slack { return }
        throw Fault.plan(
            "plan: claims \(what) of \(words(given)) s, its own numbers\(of) make it \(words(proper)) s")
    }

    private func checkSum(_ what: String, _ parts: [NamedNumber], _ proper: Double) throws {
        let sum = parts.reduce(0) { $0 + $1.value }
        if parts.isEmpty, abs(proper) > slack {
            // Python's sum of nothing is a whole number.
            throw Fault.plan("plan: claims \(what) of 0 s, its own numbers make it \(words(proper)) s")
        }
        try checkNear(what, sum, "", proper)
    }

    private func checkWithin(_ what: String, _ given: Double, _ least: Double, _ most: Double) throws {
        if least - slack <= given, given <= most + slack { return }
        let rest = most == .infinity ? " or more" : most > least ? " to \(words(most)) s" : ""
        throw Fault.plan(
            "plan: claims \(words(given)) s of \(what), by its own numbers it is \(words(least)) s\(rest)")
    }

    private func checkTimes(_ f: Forecast, _ contention: Double) throws {
        try checkWithin("computing", f.computeSeconds, callsSeconds, contention * callsSeconds)
        let most = isExact ? contention * loadsSeconds : f.makespanSeconds
        try checkWithin("loading", f.loadingSeconds, loadsSeconds, max(most, loadsSeconds))
        let waiting = f.makespanSeconds - f.computeSeconds
        try checkNear("stalls", f.stallSeconds, " (makespan less computing)", waiting)
        try checkSum("stalls by cause", f.stalls, f.stallSeconds)
        let causes = ["start", "straight", "first", "steady", "switch"]
        if let stray = f.stalls.map(\.name).filter({ !causes.contains($0) }).inOrder().first {
            let known = causes.joined(separator: ", ")
            throw Fault.plan("plan: the stall \(words(stray)) is not one of \(known)")
        }
        try checkWithin("a run", f.makespanSeconds, max(f.computeSeconds, f.loadingSeconds), .infinity)
        if f.lowerBoundSeconds > f.makespanSeconds + slack {
            throw Fault.plan(
                "plan: claims a run of \(words(f.makespanSeconds)) s, and that none is below "
                    + "\(words(f.lowerBoundSeconds)) s")
        }
    }

    private func checkLoads(_ f: Forecast) throws {
        for (what, given, proper) in [("loads", f.loads, loads), ("bytes loaded", f.loadedBytes, loadedBytes)]
        where given < proper || (isExact && given > proper) {
            throw Fault.plan(
                "plan: claims \(given) \(what), its own numbers make it "
                    + "\(proper)\(isExact ? "" : " or more")")
        }
    }

    private func checkStages(_ f: Forecast) throws {
        let names = Set(plan.program.segments.flatMap { $0.steps.map(\.stage) })
        if let stray = f.stageSeconds.map(\.name).filter({ !names.contains($0) }).inOrder().first {
            throw Fault.plan("plan: claims seconds of stage \(words(stray)), which no step is of")
        }
        try checkSum("all stages", f.stageSeconds, f.computeSeconds)
    }

    private func checkEarly(_ f: Forecast) throws {
        let may = plan.program.segments.contains { $0.until != nil }
        if may != (f.earliestSeconds != nil) {
            let told = f.earliestSeconds.map { "\(words($0)) s" } ?? "not told"
            throw Fault.plan(
                "plan: \(may ? "a loop" : "no loop") may end early, and the earliest end is \(told)")
        }
        guard let earliest = f.earliestSeconds else { return }
        // A load in flight when a loop ends is finished first.
        let rest = plan.facts.reduce(0) { $0 + $1.loadSeconds + $1.coldSeconds } * plan.target.contention
        try checkWithin("a run that ends early", earliest, shortestSeconds, f.makespanSeconds + rest)
    }

    private func checkResting(_ f: Forecast) throws {
        if mayRest != (f.restingSeconds != nil) {
            let told = f.restingSeconds.map { "\(words($0)) s" } ?? "not told"
            throw Fault.plan(
                "plan: \(mayRest ? "calls" : "no calls") may rest by a tensor, and the run in which they do "
                    + "is \(told)")
        }
        guard let resting = f.restingSeconds else { return }
        // A load may be waited for in full that a call hid.
        let most = f.makespanSeconds + max(f.loadingSeconds, loadsSeconds)
        try checkWithin("a run in which calls rest", resting, restingSeconds, most)
    }

    private func check(_ bar: Bar, _ place: () -> String) throws {
        guard ["load", "compute", "free"].contains(bar.queue) else {
            throw Fault.plan("\(place()): the queue is not one of load, compute, free")
        }
        guard let weightBytes = facts[bar.label]?.weightBytes else {
            throw Fault.plan("\(place()): there is no such chunk")
        }
        let most = bar.queue == "compute" ? 0 : weightBytes
        if bar.sizeBytes > most {
            throw Fault.plan("\(place()): \(bar.sizeBytes) bytes, at most \(most) are possible")
        }
    }

    private func checkStep(_ bar: Bar, _ place: () -> String) throws {
        let segments = plan.program.segments
        guard bar.segment < segments.count, bar.iteration < segments[bar.segment].count,
            bar.step < segments[bar.segment].steps.count
        else {
            throw Fault.plan(
                "\(place()): there is no iteration \(bar.iteration), step \(bar.step) of segment "
                    + "\(bar.segment)")
        }
        guard bar.queue == "compute" else { return }
        guard case .call(let call) = segments[bar.segment].steps[bar.step], call.chunk == bar.label else {
            throw Fault.plan("\(place()): step \(bar.segment).\(bar.step) does not call it")
        }
        if !call.isCalled(bar.iteration) {
            throw Fault.plan("\(place()): it rests in iteration \(bar.iteration)")
        }
    }
}
