/// A plan's numbers about one chunk agree, wherever they stand: chunk, package, facts, files.
///
/// What ties packages to the files on disk is `Package.checkBytes`.
enum Agreement {
    static func check(_ plan: Plan) throws {
        try Paths.checkSides(plan)
        guard Set(plan.chunks.map(\.id)) == Set(plan.facts.map(\.id)) else {
            throw Fault.plan("plan: its chunks and the facts about chunks have different names")
        }
        for chunk in plan.chunks { try check(chunk) }
        try checkOthers(plan)
        try checkPackages(plan)
        try SharedGraphs.check(plan)
        try checkCompared(plan)
        try checkFacts(plan)
    }

    // MARK: chunks

    /// Of Core ML, by the names it has there; empty: the target's.
    static let computeUnits = ["cpuAndGPU", "cpuAndNeuralEngine", "cpuOnly", "all"]

    private static func check(_ chunk: Chunk) throws {
        if !chunk.computeUnit.isEmpty, !computeUnits.contains(chunk.computeUnit) {
            throw Fault.plan(
                "plan: chunk \(chunk.id): compute unit \(words(chunk.computeUnit)) is not one of "
                    + "\(computeUnits.joined(separator: ", ")), nor empty for the target's")
        }
        try checkWork(chunk, chunk.work, chunk.flops, chunk.movedBytes)
        for v in chunk.variants { try checkWork(chunk, v.work, v.flops, v.movedBytes) }
        for v in chunk.variants {
            if v.graph.isEmpty, !v.inputs.isEmpty || !v.outputs.isEmpty {
                throw Fault.plan(
                    "plan: chunk \(chunk.id): function \(v.name) is of its own stage, and yet has ports of "
                        + "its own")
            }
            if v.graph == chunk.graph {
                throw Fault.plan(
                    "plan: chunk \(chunk.id): function \(v.name) is said to be of another graph, which is "
                        + "its own, "
                        + v.graph)
            }
        }
    }

    /// Work by class is all of the work.
    private static func checkWork(_ chunk: Chunk, _ work: [Work], _ flops: Int, _ movedBytes: Int) throws {
        if work.isEmpty { return }
        let sums = [
            ("flops", flops, work.reduce(0) { plus($0, $1.flops) }),
            ("moved_bytes", movedBytes, work.reduce(0) { plus($0, $1.movedBytes) }),
        ]
        for (field, whole, parts) in sums where whole != parts {
            throw Fault.plan("plan: chunk \(chunk.id) has \(field) \(whole), its work by class \(parts)")
        }
    }

    /// A function with ports of its own is of another stage, by whose name it goes, and whose graph has
    /// no chunks of its own.
    private static func checkOthers(_ plan: Plan) throws {
        let graphs = Set(plan.chunks.map(\.graph))
        for chunk in plan.chunks {
            for v in chunk.variants
            where graphs.contains(v.graph) || (!v.graph.isEmpty && stage(v.graph) != v.name) {
                throw Fault.plan(
                    "plan: function \(v.name) of chunk \(chunk.id) is said to be of \(v.graph), which has "
                        + "chunks of "
                        + "its own, or is another stage's")
            }
        }
    }

    private static func stage(_ graph: String) -> Substring {
        graph.prefix { $0 != "." }
    }

    // MARK: packages

    private static func checkPackages(_ plan: Plan) throws {
        if !plan.built, !plan.packages.isEmpty {
            throw Fault.plan("plan: says it is a dry run, but names packages")
        }
        let chunks = Dictionary(plan.chunks.map { ($0.id, $0) }) { first, _ in first }
        if plan.built, Set(plan.packages.map(\.chunk)) != Set(chunks.keys) {
            throw Fault.plan("plan: says it is built, but not every chunk has its package")
        }
        for package in plan.packages {
            if let chunk = chunks[package.chunk] { try check(package, chunk) }
        }
        try checkStages(plan, chunks)
    }

    /// Precision and compression are one for a stage.
    private static func checkStages(_ plan: Plan, _ chunks: [String: Chunk]) throws {
        var how: [Substring: Package] = [:]
        for package in plan.packages {
            guard let chunk = chunks[package.chunk] else { continue }
            let other = how[stage(chunk.graph)] ?? package
            how[stage(chunk.graph)] = other
            for (field, theirs, own) in [
                ("precision", other.precision, package.precision),
                ("compression", other.compression, package.compression),
            ] where theirs != own {
                throw Fault.plan(
                    "plan: packages \(other.path) and \(package.path) are of one stage, but their \(field) "
                        + "is "
                        + "\(words(theirs)) and \(words(own))")
            }
        }
    }

    private static func check(_ package: Package, _ chunk: Chunk) throws {
        let place = "plan: package \(package.path)"
        if package.inputs != chunk.inputs || package.outputs != chunk.outputs {
            throw Fault.plan("\(place) has other ports than its chunk")
        }
        let theirs = chunk.variants.filter { !$0.graph.isEmpty }
            .map { FunctionPorts(function: $0.name, inputs: $0.inputs, outputs: $0.outputs) }
        if package.ownPorts != theirs {
            throw Fault.plan("\(place) has other ports than its chunk in the functions of other stages")
        }
        let functions = ["main"] + chunk.variants.map(\.name)
        if package.functions != functions {
            throw Fault.plan(
                "\(place) has the functions \(package.functions.joined(separator: ", ")), its chunk "
                    + functions.joined(separator: ", "))
        }
        if !Paths.isSHA256(package.digest) {
            throw Fault.plan("\(place) has no SHA-256 but \(words(package.digest))")
        }
        if package.arrays == nil, package.weightBytes > package.fileBytes {
            throw Fault.plan(
                "\(place): \(package.weightBytes) bytes of weights in \(package.fileBytes) bytes of files")
        }
        try checkHow("precision", package.precision, precisions, place)
        try checkHow("compression", package.compression, compressions, place)
    }

    private static func checkHow(
        _ field: String, _ given: String, _ names: [(String, Double)], _ place: String
    ) throws {
        if names.contains(where: { $0.0 == given }) { return }
        let known = names.map(\.0).joined(separator: ", ")
        throw Fault.plan("\(place): \(field) \(words(given)) is not one of \(known)")
    }

    /// Names, and the PSNR in dB that packages stored so must reach against their source
    /// (`compiler/entracte/declare/scheme.py`).
    private static let precisions = [("fp16", 40.0), ("fp32", 70.0)]
    private static let compressions = [
        ("none", 0.0), ("int8", 30.0), ("palette8", 30.0), ("palette6", 25.0), ("palette4", 15.0),
        ("int4_block32", 15.0),
    ]

    // MARK: comparisons

    /// What was compared is all packages or none, and none is below the floor of what it is.
    private static func checkCompared(_ plan: Plan) throws {
        guard plan.verify == "on" || plan.verify == "off" else {
            throw Fault.plan("plan.verify: \(words(plan.verify)) is not one of on, off")
        }
        try Names.once("plan.compared: two comparisons are of chunk", plan.compared.lazy.map(\.chunk))
        let how = Dictionary(plan.packages.map { ($0.chunk, $0) }) { first, _ in first }
        let compared = Set(plan.compared.map(\.chunk))
        let isOn = plan.verify == "on"
        guard compared == (isOn ? Set(how.keys) : []) else {
            let given = compared.isEmpty ? "none" : compared.inOrder().joined(separator: ", ")
            throw Fault.plan(
                "plan.compared: with verify=\(plan.verify) it has one entry for "
                    + "\(isOn ? "each package" : "none"), not "
                    + "for \(given)")
        }
        for entry in plan.compared {
            if let fault = fault(of: entry, how) {
                throw Fault.plan("plan.compared: chunk \(entry.chunk): \(fault)")
            }
        }
    }

    private static func fault(of entry: Compared, _ how: [String: Package]) -> String? {
        guard let package = how[entry.chunk] else { return "it is no package" }
        let floor = floorDb(package)
        if how[entry.of] == nil { return "what ran was \(words(entry.of)), which is no chunk" }
        if entry.floorDb != floor {
            return "its floor is \(words(entry.floorDb)) dB, what it is stored as has \(words(floor)) dB"
        }
        if entry.share > 1 { return "\(words(entry.share)) of its operations ran" }
        guard let db = entry.db else {
            return entry.why.isEmpty ? "it did not run, and nothing says why" : nil
        }
        if db < floor {
            return "\(words(db)) dB are below its floor of \(words(floor)) dB: no compile keeps that"
        }
        guard entry.inputs == "recorded" || entry.inputs == "drawn" else {
            return "inputs \(words(entry.inputs)) are none of recorded, drawn"
        }
        return nil
    }

    private static func floorDb(_ package: Package) -> Double {
        let names = package.compression == "none" ? precisions : compressions
        let how = package.compression == "none" ? package.precision : package.compression
        return names.first { $0.0 == how }?.1 ?? 0
    }

    // MARK: facts

    /// Facts are what the packages (of a dry run: the chunks) and the target give, and no other.
    private static func checkFacts(_ plan: Plan) throws {
        let packages = Dictionary(plan.packages.map { ($0.chunk, $0) }) { first, _ in first }
        let found = Dictionary(plan.facts.map { ($0.id, $0) }) { first, _ in first }
        let cost = CostModel(plan.target)
        for chunk in plan.chunks {
            guard let own = found[chunk.id] else { continue }
            let wanted = try cost.facts(chunk, plan.built ? packages[chunk.id] : nil)
            guard let (field, one, other) = difference(own, wanted) else { continue }
            let source = plan.built ? "its package and the target give" : "tracing gives"
            throw Fault.plan("plan: the facts of chunk \(chunk.id) say \(field) \(one), \(source) \(other)")
        }
    }

    private static func difference(_ a: ChunkFacts, _ b: ChunkFacts) -> (String, String, String)? {
        if a.weightBytes != b.weightBytes { return ("weight_bytes", "\(a.weightBytes)", "\(b.weightBytes)") }
        if a.activationBytes != b.activationBytes {
            return ("activation_bytes", "\(a.activationBytes)", "\(b.activationBytes)")
        }
        for (field, one, other) in [
            ("load_s", a.loadSeconds, b.loadSeconds), ("exec_s", a.execSeconds, b.execSeconds),
            ("cold_s", a.coldSeconds, b.coldSeconds),
        ] where !isNear(one, other) {
            return (field, words(one), words(other))
        }
        let isSame = a.execBy.count == b.execBy.count
            && zip(a.execBy, b.execBy).allSatisfy { $0.name == $1.name && isNear($0.value, $1.value) }
        return isSame ? nil : ("exec_by", pairWords(a.execBy), pairWords(b.execBy))
    }

    /// Equal, but for the last digits: another language may round them in another way.
    private static func isNear(_ a: Double, _ b: Double) -> Bool {
        a == b || abs(a - b) <= 1e-9 * max(abs(a), abs(b))
    }

    private static func pairWords(_ pairs: [NamedNumber]) -> String {
        tupleWords(pairs.map { "(\(words($0.name)), \(words($0.value)))" })
    }
}

/// Nominal times of a chunk on a target: `compiler/entracte/cost.py`, operation for operation.
struct CostModel {
    private let target: Target
    private let efficiency: [String: Double]

    init(_ target: Target) {
        self.target = target
        efficiency = Dictionary(target.efficiency.map { ($0.name, $0.value) }) { _, last in last }
    }

    /// Of a package's bytes where there is one, else of the chunk's. Raises `Fault` where a speed is 0.
    func facts(_ chunk: Chunk, _ package: Package?) throws -> ChunkFacts {
        let weightBytes = package?.weightBytes ?? chunk.weightBytes
        let traced = chunk.variants.reduce(chunk.activationBytes) { max($0, $1.activationBytes) }
        // Weights that are inputs count once more, as copies that a runtime may make of its inputs.
        let isShared = !chunk.shares.isEmpty
        let copies = isShared ? 2 * Double(weightBytes) / target.memoryBandwidth : 0
        let (load, cold) = loadSeconds(chunk, Double(weightBytes))
        return ChunkFacts(
            id: chunk.id, weightBytes: weightBytes,
            activationBytes: max(
                package?.activationBytes ?? 0, isShared ? plus(traced, chunk.weightBytes) : traced),
            loadSeconds: load,
            execSeconds: try exec(chunk.work, chunk.flops, chunk.movedBytes) + copies,
            coldSeconds: cold,
            execBy: try chunk.variants.map {
                NamedNumber(name: $0.name, value: try exec($0.work, $0.flops, $0.movedBytes))
            })
    }

    /// Of a load, and how many more its first one takes. Arrays are read, and no more; the graph that they
    /// are inputs of is loaded once, with the first chunk that it serves.
    private func loadSeconds(_ chunk: Chunk, _ weightBytes: Double) -> (Double, Double) {
        if chunk.shares.isEmpty {
            return (target.loadOverheadSeconds + weightBytes / target.loadBandwidth, cold(weightBytes))
        }
        let graph = chunk.shares == chunk.id ? target.loadOverheadSeconds : 0
        return (weightBytes / target.loadBandwidth, graph)
    }

    private func cold(_ weightBytes: Double) -> Double {
        guard let bandwidth = target.coldBandwidth else { return 0 }
        return max(0, weightBytes / bandwidth - weightBytes / target.loadBandwidth)
    }

    private func exec(_ work: [Work], _ flops: Int, _ movedBytes: Int) throws -> Double {
        let parts = work.isEmpty ? [Work(kind: "matmul", flops: flops, movedBytes: movedBytes)] : work
        var sum = 0.0
        for part in parts { sum += try seconds(part) }
        return target.callOverheadSeconds + sum
    }

    private func seconds(_ work: Work) throws -> Double {
        let flops = target.computeFlops * (efficiency[work.kind] ?? 1)
        guard flops != 0 else {
            throw Fault.plan("plan: a speed of its target is 0; no time follows from it")
        }
        return max(Double(work.flops) / flops, Double(work.movedBytes) / target.memoryBandwidth)
    }
}
