/// Whatever is looked up by a name is there once.
///
/// Names that Unicode calls canonically equivalent are one name here: Swift's texts are compared so.
enum Names {
    static func check(_ plan: Plan) throws {
        try check(plan.program)
        try once("plan.chunks: two chunks are called", plan.chunks.lazy.map(\.id))
        try once("plan.facts: the facts of two chunks are called", plan.facts.lazy.map(\.id))
        try once("plan.packages: two packages are for chunk", plan.packages.lazy.map(\.chunk))
        try once("plan.packages: two packages are at", plan.packagePaths)
        try once("plan.files: two files are called", plan.files.lazy.map(\.path))
        let both = Set(plan.packagePaths).intersection(plan.files.map(\.path))
        if let path = both.inOrder().first {
            throw Fault.plan("plan.files: \(words(path)) is a package as well")
        }
        for (i, chunk) in plan.chunks.enumerated() { try check(chunk, "plan.chunks[\(i)] (\(chunk.id))") }
        for fact in plan.facts {
            try once("plan.facts: \(fact.id) has two times of", fact.execBy.lazy.map(\.name))
        }
        try once("plan.target.efficiency: two shares are of", plan.target.efficiency.lazy.map(\.name))
        try once("plan.forecast.stage_s: two times are of", plan.forecast.stageSeconds.lazy.map(\.name))
        try once("plan.forecast.stalls: two times are of", plan.forecast.stalls.lazy.map(\.name))
    }

    private static func check(_ chunk: Chunk, _ place: @autoclosure () -> String) throws {
        try once("\(place()): two inputs are called", chunk.inputs.lazy.map(\.name))
        try once("\(place()): two outputs are called", chunk.outputs.lazy.map(\.name))
        if !chunk.variants.isEmpty {
            try once("\(place()): two functions are called", ["main"] + chunk.variants.map(\.name))
        }
        for v in chunk.variants {
            try once("\(place()).\(v.name): two inputs are called", v.inputs.lazy.map(\.name))
            try once("\(place()).\(v.name): two outputs are called", v.outputs.lazy.map(\.name))
        }
        try once("\(place()): work is told twice of", chunk.work.lazy.map(\.kind))
    }

    /// One tensor, input, constant, segment and state for each name.
    static func check(_ program: Program) throws {
        try once("plan: two tensors are called", program.tensors.lazy.map(\.name))
        try once("plan: two segments are called", program.segments.lazy.map(\.name))
        let given = program.inputs.map(\.name) + program.constants.map(\.name)
        try once("plan: two inputs or constants are called", given)
        for s in program.segments {
            try once("plan: loop \(s.name): two states are called", s.state.lazy.map(\.name))
        }
    }

    /// Refuse the first name that comes again.
    static func once(_ what: @autoclosure () -> String, _ names: some Collection<String>) throws {
        if names.count < 2 { return }
        if names.count <= 8 {
            try few(what, Array(names))
            return
        }
        var seen: Set<String> = []
        seen.reserveCapacity(names.count)
        for name in names where !seen.insert(name).inserted { throw twice(what(), name) }
    }

    private static func few(_ what: () -> String, _ names: [String]) throws {
        for i in 1 ..< names.count {
            for j in 0 ..< i where names[j] == names[i] { throw twice(what(), names[i]) }
        }
    }

    private static func twice(_ what: String, _ name: String) -> Fault {
        .plan("\(what) \(words(name)); every name is used once")
    }
}
