import EntracteMedia
import EntractePlan
import EntracteRuntime
import Foundation

/// `entracte-run measure`: loads, calls and waits for freed memory, chunk by chunk, of whole runs whose outputs
/// are dropped.
struct MeasureCommand: Sendable {
    private let arguments: Arguments

    init(_ words: ArraySlice<String>) throws {
        arguments = try Arguments(
            words, options: ["repeats", "prompt", "negative", "seed", "input", "record", "engine", "answers", "memory"],
            words: ["BUILD"])
    }

    func run() async throws -> Int32 {
        let build = try openBuild(arguments.words[0])
        let runs = try arguments.runs(build.plan)
        guard let only = runs.first, runs.count == 1 else {
            throw Arguments.Misuse(message: "one run is measured: give one prompt and one seed")
        }
        let inputs = standIns(build.plan, only.inputs)
        let repeats = try arguments.whole("repeats", least: 1) ?? 1
        let place = try arguments.one("record")
        let ready = try await arguments.engine(build)
        return try await interruptible {
            var runs: [JSON] = []
            for n in 1...repeats {
                ready.restart()
                let before = await ready.settled().count
                var record = try await record(build, inputs, ready)
                record.settled = Array(await ready.settled().dropFirst(before))
                if let place { try writeWhole(record.data, to: n == 1 ? place : numbered(place, n)) }
                runs.append(told(record))
            }
            print(all(build.plan, ready, runs).text(indent: 2))
            return 0
        }
    }

    /// What must be given and is not: what is measured does not depend on it.
    private func standIns(_ plan: Plan, _ given: [String: GivenValue]) -> [String: GivenValue] {
        var made = given
        for input in plan.program.inputs where made[input.name] == nil && input.default == nil {
            if input.kind == .text { made[input.name] = .text("a measurement") }
            if input.kind == .seed {
                made[input.name] = .whole(input.least.flatMap { Int(exactly: $0.rounded(.up)) } ?? 0)
            }
        }
        return made
    }

    private func record(
        _ build: OpenBuild, _ inputs: [String: GivenValue], _ ready: ReadyEngine
    ) async throws -> RunRecord {
        let lines = ProgressLines()
        defer { lines.end() }
        let options = runOptions(build, [], progress: lines.step) { _ in false }
        let runner = Runner(build.plan, in: build.folder, ready.engine, HostRunner())
        return try await runner.run(inputs, constants: build.constants(), options).record
    }

    /// `run.json` -> `run.2.json`.
    private func numbered(_ place: String, _ n: Int) -> String {
        place.hasSuffix(".json") ? "\(place.dropLast(5)).\(n).json" : "\(place).\(n)"
    }

    private func told(_ record: RunRecord) -> JSON {
        let chunks = record.chunks.map { chunk in
            object([
                ("chunk", .text(chunk.chunk)), ("loads", .whole(chunk.loads)), ("load_s", .number(chunk.loadSeconds)),
                ("calls", .whole(chunk.calls)), ("exec_s", .number(chunk.execSeconds)),
            ])
        }
        let settles = record.settled.map { wait in
            object([
                ("chunks", .list(wait.chunks.map { .text($0) })), ("expected_bytes", .whole(wait.expectedBytes)),
                ("returned_bytes", .whole(wait.returnedBytes)), ("seconds", .number(wait.seconds)),
                ("late", .flag(wait.isLate)),
            ])
        }
        return object([
            ("wall_s", .number(record.wallSeconds)), ("stall_s", .number(record.stallSeconds)),
            ("peak_bytes", .whole(record.peakBytes)),
            ("anonymous_peak_bytes", record.anonymousPeakBytes.map { .whole($0) } ?? .null),
            ("settle_s", .number(record.settled.reduce(0) { $0 + $1.seconds })), ("chunks", .list(chunks)),
            ("settles", .list(settles)),
        ])
    }

    private func all(_ plan: Plan, _ ready: ReadyEngine, _ runs: [JSON]) -> JSON {
        object([
            ("plan", .text(plan.sha256)), ("pipeline", .text(plan.pipeline)), ("target", .text(plan.target.name)),
            ("engine", .text(ready.name)), ("forecast_s", .number(plan.forecast.makespanSeconds)),
            ("claimed_peak_bytes", .whole(plan.forecast.peakBytes)), ("device", device()), ("runs", .list(runs)),
        ])
    }
}
