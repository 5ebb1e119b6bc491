import EntracteMedia
import EntractePlan
import EntracteRuntime
import Foundation

/// `entracte-run run`: a plan from its inputs to files.
struct RunCommand: Sendable {
    private let arguments: Arguments

    init(_ words: ArraySlice<String>) throws {
        arguments = try Arguments(
            words, options: ["prompt", "seed", "input", "out", "record", "engine", "answers", "memory"],
            words: ["BUILD"])
    }

    func run() async throws -> Int32 {
        let build = try openBuild(arguments.words[0])
        let inputs = try arguments.inputs(build.plan)
        let made = try madeOutputs(build.plan.program)
        let media = MediaOutputs(codecs, text: build.textOf)
        let sinks = try media.sinks(made, out(media, made))
        let ready = try await arguments.engine(build)
        let record = try recordPlace(build, ready)
        return try await interruptible {
            let outcome = try await outcome(build, inputs, sinks, ready)
            return try await told(build, outcome, sinks, record, ready)
        }
    }

    /// A file alone, `NAME=FILE` for each output, or what is usual.
    private func out(_ media: MediaOutputs, _ made: [Made]) throws -> Out {
        let given = arguments.all("out")
        guard let first = given.first else { return media.usual(made) }
        let name = first.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).first ?? ""
        if given.count == 1, !first.contains("=") || name.contains("/") { return .file(first) }
        return .files(try arguments.pairs("out", "NAME=FILE"))
    }

    /// Where the run is recorded: as said, else beside the plan, if its times are a device's.
    private func recordPlace(_ build: OpenBuild, _ ready: ReadyEngine) throws -> String? {
        guard let given = try arguments.one("record") else {
            return ready.isDevice ? build.folder.appendingPathComponent("run.json").path : nil
        }
        return given
    }

    private func outcome(
        _ build: OpenBuild, _ inputs: [String: GivenValue], _ sinks: [FileSink], _ ready: ReadyEngine
    ) async throws -> Outcome {
        let lines = ProgressLines()
        defer { lines.end() }
        do {
            for sink in sinks { try await sink.begin() }
            let options = runOptions(build, sinks, progress: lines.step) { $0.kind == .text }
            let runner = Runner(build.plan, in: build.folder, ready.engine, HostRunner())
            let outcome = try await runner.run(inputs, constants: build.constants(), options)
            try ready.finish()
            for sink in sinks { await sink.finish() }
            return outcome
        } catch {
            for sink in sinks { await sink.abandon() }
            throw error
        }
    }

    /// Files and texts on the output, a summary on the error stream.
    private func told(
        _ build: OpenBuild, _ outcome: Outcome, _ sinks: [FileSink], _ record: String?, _ ready: ReadyEngine
    ) async throws -> Int32 {
        if let record {
            var run = outcome.record
            run.settled = await ready.settled()
            try writeWhole(run.data, to: record)
        }
        for note in outcome.record.notes { tell("note: \(note)") }
        var faults: [String] = []
        for sink in sinks {
            let fault = await sink.fault
            if fault.isEmpty { print(sink.path) } else { faults.append(fault) }
        }
        for output in build.plan.program.outputs where output.kind == .text {
            guard let tensor = outcome.outputs[output.name], tensor.dtype == .int32 else { continue }
            do {
                print(try build.textOf(output, tensor.ints.map { Int($0) }))
            } catch {
                faults.append("output \(output.name): \(error); `--out \(output.name)=FILE.npy` keeps its tokens")
            }
        }
        tell(summary(build.plan, outcome))
        guard faults.isEmpty else { throw Fault.run(faults.joined(separator: "; ")) }
        return 0
    }

    private func summary(_ plan: Plan, _ outcome: Outcome) -> String {
        let run = outcome.record, loads = run.chunks.reduce(0) { $0 + $1.loads }
        let seconds = String(format: "%.3g", run.wallSeconds)
        let process = run.anonymousPeakBytes.map { ", the process took \(Sizes.told($0)) more" } ?? ""
        let alarm = outcome.alarm == nil ? "" : "; this is more than is claimed: please report it"
        return "\(plan.program.stepCount) steps in \(seconds) s, \(loads) loads of \(Sizes.told(run.loadedBytes)); held at "
            + "most \(Sizes.told(run.peakBytes)) of the \(Sizes.told(plan.forecast.peakBytes)) that are claimed"
            + process + alarm
    }
}

/// Who takes part in a run. `keeps`: of outputs without a sink.
func runOptions(
    _ build: OpenBuild, _ sinks: [FileSink], progress: @escaping @Sendable (String, Int, Int) -> Void,
    keeps: @escaping @Sendable (Output) -> Bool
) -> RunOptions {
    var options = RunOptions()
    options.progress = progress
    options.reading = MediaInputs(codecs).reading
    options.loading = { package in try build.check(package) }
    for output in build.plan.program.outputs {
        options.sinks[output.name] = sinks.lazy.compactMap { $0.sink(of: output.name) }.first
    }
    options.keeps = keeps
    options.probe = ProcessMemory()
    return options
}
