/// The proof of a schedule, from the plan alone: every call has its chunk and its inputs; nothing is used
/// after it is freed; nothing is loaded twice at once or left loaded; no deadlock between loader and
/// computer; and, for any durations whatever, memory never exceeds the budget.
///
/// A copy takes memory from the start of its load, which is after its gate step ended, to the end of the
/// step that frees it. While step t runs, the copies that can be there are those with gate < t <= free; so
/// their sum, with what the step itself needs, bounds the memory (`compiler/entracte/check/proof.py`).
struct Proof {
    private struct Copy {
        let chunk: Int
        let gate: Int
        let use: Int
        let free: Int
    }

    private let plan: Plan
    private let program: Program
    private let life: Life
    private let facts: [ChunkFacts]
    private let ids: [String: Int]
    /// Of each step of the timeline the number of the chunk that it calls; below 0: a host step.
    private let called: [Int]

    /// The most bytes that the plan can hold over all timings, and the step that can need them. Raises
    /// `Fault` where the schedule is not safe.
    static func peak(_ plan: Plan) throws -> (bytes: Int, step: String) {
        let proof = try Proof(plan)
        let held = try proof.life.heldBytes()
        let copies = proof.copies()
        try proof.check(copies)
        let needs = proof.needs(held)
        var (at, peak) = try proof.gatesPeak(needs, copies)
        if plan.schedule.driver == "online" {
            let (online, most) = try proof.onlinePeak(needs)
            if most >= peak { (at, peak) = (online, most) }
        }
        return (peak, proof.life.timeline.isEmpty ? "nothing" : proof.life.name(proof.life.timeline[at]))
    }

    private init(_ plan: Plan) throws {
        self.plan = plan
        program = plan.program
        life = try Life(plan.program)
        facts = plan.facts
        let ids = Dictionary(plan.facts.enumerated().map { ($0.element.id, $0.offset) }) { first, _ in first }
        self.ids = ids
        let program = plan.program
        called = life.timeline.map { at in
            program.segments[at.segment].steps[at.step].chunk.flatMap { ids[$0] } ?? -1
        }
        let weights = facts.reduce(0) { plus($0, $1.weightBytes) }
        let most = facts.reduce(0) { max($0, $1.activationBytes) }
        // Copies of two iterations of each chunk at most, and all tensors: their sums fit into 64 bits.
        guard times(weights, 4) < Int.max / 4, most < Int.max / 4 else {
            throw Fault.plan("plan: its chunks are larger than any memory")
        }
    }

    // MARK: copies of chunks

    private func copies() -> [Copy] {
        var starts: [Int] = []
        var at = 0
        for segment in program.segments {
            starts.append(at)
            at += min(segment.count, Life.iterations) * segment.steps.count
        }
        let last = program.segments.map { min($0.count, Life.iterations) - 1 }
        func place(_ segment: Int, _ iteration: Int, _ step: Int) -> Int {
            starts[segment] + iteration * program.segments[segment].steps.count + step
        }
        var copies: [Copy] = []
        let loads = Dictionary(grouping: plan.schedule.loads) { $0.segment }
        for s in program.segments.indices {
            for i in 0 ... last[s] {
                let kind = i == 0 ? "first" : "each"
                for load in loads[s] ?? [] where load.iterations == kind {
                    var gate = -1
                    if let g = load.gate {
                        let when = g.moment == .same ? i : g.moment == .previous ? i - 1 : last[g.segment]
                        gate = place(g.segment, when, g.step)
                    }
                    let end = load.freeMoment == .same ? i : last[s]
                    copies.append(
                        Copy(
                            chunk: ids[load.chunk] ?? 0, gate: gate, use: place(s, i, load.step),
                            free: place(s, end, load.freeStep)))
                }
            }
        }
        return copies
    }

    private func check(_ copies: [Copy]) throws {
        for copy in copies where !(copy.gate < copy.use && copy.use <= copy.free) {
            throw Fault.plan(
                "plan: the load of \(id(copy)) for \(name(copy.use)) is not between its gate and its free")
        }
        // The loader takes loads in order; load k waits for its gate step, which must not wait for load k
        // or a later one. Going backwards, the earliest step that any later load serves.
        var earliest = life.timeline.count
        for copy in copies.reversed() {
            earliest = min(earliest, copy.use)
            if copy.gate >= earliest {
                throw Fault.plan(
                    "plan: deadlock: the load of \(id(copy)) waits for \(name(copy.gate)), which waits for "
                        + "this load or "
                        + "one behind it")
            }
        }
        try checkPresence(copies)
    }

    private func id(_ copy: Copy) -> String { facts[copy.chunk].id }

    private func name(_ n: Int) -> String { life.name(life.timeline[n]) }

    private func checkPresence(_ copies: [Copy]) throws {
        var own = [[Copy]](repeating: [], count: facts.count)
        for copy in copies {
            if let other = own[copy.chunk].last, copy.gate < other.free {
                throw Fault.plan("plan: \(id(copy)) is loaded again while a copy may still be there")
            }
            own[copy.chunk].append(copy)
        }
        var served = [[Int]](repeating: [], count: facts.count)
        for (n, chunk) in called.enumerated() where chunk >= 0 {
            served[chunk].append(n)
            // Copies of a chunk do not overlap: the only one that may serve this call.
            let k = behind(own[chunk]) { $0.use <= n }
            if k == 0 || own[chunk][k - 1].free < n {
                throw Fault.plan("plan: \(name(n)) runs without its chunk being loaded")
            }
        }
        for copy in copies {
            let calls = served[copy.chunk]
            let first = behind(calls) { $0 < copy.use }
            let last = behind(calls) { $0 <= copy.free } - 1
            if first > last || calls[first] != copy.use || calls[last] != copy.free {
                throw Fault.plan("plan: \(id(copy)) is kept loaded beyond its calls")
            }
        }
    }

    /// How many items at the front of a sorted list are before a place.
    private func behind<T>(_ items: [T], _ isBefore: (T) -> Bool) -> Int {
        var (low, high) = (0, items.count)
        while low < high {
            let middle = (low + high) / 2
            if isBefore(items[middle]) { low = middle + 1 } else { high = middle }
        }
        return low
    }

    // MARK: peaks

    /// Bytes of each step without chunks: tensors alive, and the activations of its call.
    private func needs(_ held: [Int]) -> [Int] {
        zip(held, called).map { plus($0, $1 < 0 ? 0 : facts[$1].activationBytes) }
    }

    /// The first of the steps beside which the most bytes can be.
    private func gatesPeak(_ needs: [Int], _ copies: [Copy]) throws -> (at: Int, bytes: Int) {
        if life.timeline.isEmpty { return (0, 0) }
        // What comes to be there at a step, and what is gone at it: their running sum is there.
        var more = [Int](repeating: 0, count: life.timeline.count + 1)
        for copy in copies {
            more[copy.gate + 1] += facts[copy.chunk].weightBytes
            more[copy.free + 1] -= facts[copy.chunk].weightBytes
        }
        var (at, peak, there) = (0, -1, 0)
        for (n, need) in needs.enumerated() {
            there += more[n]
            if plus(need, there) > peak { (at, peak) = (n, plus(need, there)) }
        }
        let budget = plan.schedule.budgetBytes
        if peak > budget {
            throw Fault.plan("plan: \(name(at)) can need \(peak) bytes, the budget is \(budget) bytes")
        }
        return (at, peak)
    }

    /// What the online rule can ever hold: while a step runs, at most the budget, and at most what it needs
    /// with all chunks that it or a later step calls, and those of loops before it that may end early.
    private func onlinePeak(_ needs: [Int]) throws -> (at: Int, bytes: Int) {
        let budget = plan.schedule.budgetBytes
        let ended = endedBefore()
        var later = [Bool](repeating: false, count: facts.count)
        var (segment, there, at, total) = (-1, 0, 0, 0)
        for n in life.timeline.indices.reversed() {
            let (own, need) = (called[n], needs[n])
            if own >= 0, plus(need, facts[own].weightBytes) > budget {
                throw Fault.plan(
                    "plan: \(name(n)) needs \(plus(need, facts[own].weightBytes)) bytes alone, the budget "
                        + "is \(budget) "
                        + "bytes")
            }
            if life.timeline[n].segment != segment {
                segment = life.timeline[n].segment
                if own >= 0 { later[own] = true }
                there = facts.indices.reduce(0) {
                    later[$1] || ended[segment].contains($1) ? $0 + facts[$1].weightBytes : $0
                }
            } else if own >= 0, !later[own] {
                later[own] = true
                if !ended[segment].contains(own) { there += facts[own].weightBytes }
            }
            let most = min(budget, plus(need, there))
            if most >= total { (at, total) = (n, most) }
        }
        return (at, total)
    }

    /// For each segment the chunks of loops before it that may end early.
    private func endedBefore() -> [Set<Int>] {
        var before: Set<Int> = []
        return program.segments.map { segment in
            let found = before
            if segment.until != nil {
                before.formUnion(segment.steps.compactMap { $0.chunk.flatMap { ids[$0] } })
            }
            return found
        }
    }
}
