/// How large a plan may be: what is larger would only keep whoever reads it busy.
enum Size {
    /// Steps of all iterations.
    static let mostSteps = 15_000
    /// Steps as they are written, one iteration of each loop; and chunks, files and kept sets.
    static let mostWritten = 1_000
    static let mostTensors = 4_000
    /// Page loads of a run that loads every page for every call.
    static let mostPageLoads = 40_000
    static let mostPages = 1 << 16
    static let mostCalls = 1_000_000

    static func check(_ plan: Plan) throws {
        try check(plan.program)
        for (what, there) in [
            ("chunks", plan.chunks.count), ("facts", plan.facts.count), ("packages", plan.packages.count),
            ("files", plan.files.count), ("kept sets", plan.schedule.kept.count),
        ] {
            try atMost(what, there, mostWritten, "larger chunks")
        }
        try atMost("loads", plan.schedule.loads.count, 2 * mostWritten, "larger chunks")
        try atMost("bars", plan.forecast.bars.count, 16 * mostWritten, "larger chunks")
    }

    private static func check(_ program: Program) throws {
        var (written, steps, calls) = (0, 0, 0)
        for segment in program.segments {
            written += segment.steps.count
            steps = plus(steps, times(segment.count, segment.steps.count))
            for case .call(let call) in segment.steps {
                calls = plus(calls, times(call.at.isEmpty ? segment.count : call.at.count, call.repeat))
            }
        }
        try atMost("steps of one iteration", written, mostWritten, "larger chunks")
        try atMost("segments", program.segments.count, mostWritten, "fewer loops")
        try atMost("tensors", program.tensors.count, mostTensors, "larger chunks")
        try atMost("steps", steps, mostSteps, "fewer iterations")
        try atMost("calls", calls, mostCalls, "larger slices of maps")
    }

    /// Of the page loads of a run that keeps nothing.
    static func checkPages(_ plan: Plan) throws {
        let pageBytes = plan.target.pageBytes
        guard plan.schedule.driver == "online", pageBytes > 0 else { return }
        var pages: [String: Int] = [:]
        for fact in plan.facts {
            let (whole, rest) = fact.weightBytes.quotientAndRemainder(dividingBy: pageBytes)
            pages[fact.id] = max(1, rest == 0 ? whole : whole + 1)
        }
        let all = pages.values.reduce(0, plus)
        guard all <= mostPages else {
            throw Fault.plan(
                "target.page_bytes=\(pageBytes) makes \(all) pages, more than \(mostPages); give larger "
                    + "ones, or 0 for "
                    + "whole packages")
        }
        var loads = 0
        for segment in plan.program.segments {
            for case .call(let call) in segment.steps {
                loads = plus(loads, times(segment.count, pages[call.chunk] ?? 0))
            }
        }
        try atMost("page loads", loads, mostPageLoads, "a larger `target.page_bytes`")
    }

    private static func atMost(_ what: String, _ there: Int, _ most: Int, _ remedy: String) throws {
        guard there > most else { return }
        throw Fault.plan("plan: \(there) \(what), at most \(most) are possible; compile with \(remedy)")
    }
}
