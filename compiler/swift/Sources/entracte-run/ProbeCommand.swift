import EntractePlan
import EntracteRuntime
import Foundation

/// `entracte-run probe`: whether a plan can run here, as JSON.
struct ProbeCommand {
    private let arguments: Arguments

    init(_ words: ArraySlice<String>) throws {
        arguments = try Arguments(words, options: ["memory"], words: ["BUILD"])
    }

    func run() throws -> Int32 {
        let folder = URL(fileURLWithPath: arguments.words[0])
        let plan = try Plan.read(folder: folder, rows: HostTable.rows)
        let faults = fileFaults(plan, folder)
        let reading = try arguments.memoryReading()
        let refusal = reading.refusal(of: plan)
        let waiting = waiting(plan)
        let fits: JSON = reading.limitBytes == nil ? .null : .flag(refusal == nil)
        let isReady = faults.isEmpty && refusal == nil && waiting?.isEmpty != false
        let json = object([
            ("plan", .text(plan.sha256)), ("pipeline", .text(plan.pipeline)), ("target", .text(plan.target.name)),
            ("ready", .flag(isReady)), ("fits", fits), ("refusal", refusal.map { .text($0.message) } ?? .null),
            ("bytes", bytes(plan, reading)), ("faults", .list(faults.map { .text($0) })),
            ("estimated_s", .number(plan.forecast.makespanSeconds)),
            ("earliest_s", plan.forecast.earliestSeconds.map { .number($0) } ?? .null),
            ("steps", .whole(plan.program.stepCount)), ("packages", .whole(plan.packages.count)),
            ("to_install", waiting.map { .list($0.map { .text($0) }) } ?? .null), ("device", device()),
        ])
        print(json.text(indent: 2))
        return 0
    }

    private func bytes(_ plan: Plan, _ reading: MemoryReading) -> JSON {
        func maybe(_ value: Int?) -> JSON { value.map { .whole($0) } ?? .null }
        return object([
            ("claimed_peak", .whole(plan.forecast.peakBytes)), ("base_footprint", .whole(plan.target.baseFootprintBytes)),
            ("limit", maybe(reading.limitBytes)), ("footprint", maybe(reading.footprintBytes)),
            ("available", maybe(reading.availableBytes)), ("working_set", maybe(reading.workingSetBytes)),
            ("files", .whole(plan.packageBytes)),
        ])
    }

    /// What is missing or changed, a line each; all of it, not the first.
    private func fileFaults(_ plan: Plan, _ folder: URL) -> [String] {
        var found: [String] = []
        let digests = FileDigests()
        do {
            try plan.checkFiles(in: folder, rows: HostTable.rows, digests: digests)
        } catch { found.append("\(error)") }
        for package in plan.packages {
            do { try package.checkBytes(in: folder, digests: digests) } catch { found.append("\(error)") }
        }
        return found
    }

    /// Chunks whose packages are not ready; nil where nothing runs Core ML.
    private func waiting(_ plan: Plan) -> [String]? {
        #if canImport(CoreML)
            return try? notInstalled(plan)
        #else
            return nil
        #endif
    }
}

func object(_ members: [(String, JSON)]) -> JSON { .object(members.map { JSON.Member($0.0, $0.1) }) }

/// What this runs on.
func device() -> JSON {
    #if canImport(CoreML)
        let engine = JSON.text("coreml")
    #else
        let engine = JSON.null
    #endif
    let system = ProcessInfo.processInfo
    return object([
        ("model", .text(deviceModel())), ("system", .text(system.operatingSystemVersionString)), ("engine", engine),
        ("memory", .whole(Int(clamping: system.physicalMemory))), ("cores", .whole(system.processorCount)),
    ])
}
