import EntracteMedia
import EntractePlan
import EntracteRuntime
import Foundation

/// `entracte-run run`: a plan from its inputs to files, once or for each of several prompts and seeds.
struct RunCommand: Sendable {
    private let arguments: Arguments

    init(_ words: ArraySlice<String>) throws {
        arguments = try Arguments(
            words,
            options: [
                "prompt", "prompts", "negative", "seed", "seeds", "input", "out", "scale", "record", "engine",
                "answers", "memory",
            ],
            flags: ["no-metadata"], words: ["BUILD"])
    }

    /// One run with all that it needs.
    private struct Planned: Sendable {
        let run: BatchRun
        let sinks: [FileSink]
        /// What lines about it begin with; empty where it is the only one.
        let title: String
    }

    func run() async throws -> Int32 {
        let build = try openBuild(arguments.words[0])
        let runs = try arguments.runs(build.plan)
        let made = try madeOutputs(build.plan.program, scale: arguments.whole("scale", least: 1) ?? 1)
        let planned = try await planned(build, runs, made)
        if let drawn = arguments.drawn(runs) { tell(drawn) }
        let ready = try await arguments.engine(build)
        let faults = try await interruptible {
            var faults: [String] = []
            for one in planned {
                ready.restart()
                let settled = await ready.settled().count
                let outcome = try await outcome(build, one, ready)
                try await record(build, outcome, one, ready, since: settled)
                faults += try await told(build, outcome, one, made)
            }
            return faults
        }
        guard faults.isEmpty else { throw Fault.run(faults.joined(separator: "; ")) }
        return 0
    }

    /// Files are named, and of several runs all is looked at, before anything is run. Throws `Fault`, `Misuse`.
    private func planned(_ build: OpenBuild, _ runs: [BatchRun], _ made: [Made]) async throws -> [Planned] {
        let media = MediaOutputs(codecs, text: build.textOf)
        let out = try out(media, made)
        guard runs.count > 1 else {
            return try runs.map { Planned(run: $0, sinks: try media.sinks(made, out), title: "") }
        }
        guard try arguments.one("answers") == nil else {
            throw Arguments.Misuse(message: "--answers: is of one run; give one prompt and one seed")
        }
        var planned: [Planned] = []
        for (k, run) in runs.enumerated() {
            let sinks = try media.sinks(made, out.of(run))
            try checkNew(sinks)
            // What differs is texts and numbers: files are the same in all.
            let reading: Given.Reading = k == 0 ? MediaInputs(codecs).reading : unread
            _ = try await Given(build.plan.program, run.inputs, reading: reading)
            planned.append(Planned(run: run, sinks: sinks, title: "\(k + 1)/\(runs.count) "))
        }
        return planned
    }

    /// A file alone, `NAME=FILE` for each output, or what is usual.
    private func out(_ media: MediaOutputs, _ made: [Made]) throws -> Out {
        let given = arguments.all("out")
        guard let first = given.first else { return media.usual(made) }
        let name = first.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).first ?? ""
        if given.count == 1, !first.contains("=") || name.contains("/") { return .file(first) }
        return .files(try arguments.pairs("out", "NAME=FILE"))
    }

    private func outcome(_ build: OpenBuild, _ one: Planned, _ ready: ReadyEngine) async throws -> Outcome {
        let lines = ProgressLines(one.title)
        defer { lines.end() }
        do {
            var options = runOptions(build, one.sinks, progress: lines.step) { $0.kind == .text }
            let isSaid = !arguments.has("no-metadata")
            options.given = { told in
                let comment = isSaid ? Metadata(build.plan, told, engine: ready.engine.name).text : ""
                for sink in one.sinks { try await sink.begin(comment) }
            }
            let runner = Runner(build.plan, in: build.folder, ready.engine, HostRunner())
            let outcome = try await runner.run(one.run.inputs, constants: build.constants(), options)
            try ready.finish()
            for sink in one.sinks { await sink.finish() }
            return outcome
        } catch {
            for sink in one.sinks { await sink.abandon() }
            throw error
        }
    }

    /// As said, else beside the plan, if its times are a device's: of several runs the last one.
    private func record(
        _ build: OpenBuild, _ outcome: Outcome, _ one: Planned, _ ready: ReadyEngine, since settled: Int
    ) async throws {
        let usual = ready.isDevice ? build.folder.appendingPathComponent("run.json").path : nil
        guard let place = try arguments.one("record").map({ named($0, one.run.name) }) ?? usual else { return }
        var run = outcome.record
        run.settled = Array(await ready.settled().dropFirst(settled))
        try writeWhole(run.data, to: place)
    }

    /// Files and texts on the output, a summary on the error stream; gives what could not be written.
    private func told(
        _ build: OpenBuild, _ outcome: Outcome, _ one: Planned, _ made: [Made]
    ) async throws -> [String] {
        for note in outcome.record.notes { tell("note: \(note)") }
        var faults: [String] = []
        for sink in one.sinks {
            let fault = await sink.fault
            guard fault.isEmpty else {
                faults.append(fault)
                continue
            }
            print(sink.path)
            let small = made.filter { sink.outputs.contains($0.output.name) }.compactMap { $0.smallNote(sink.path) }
            for note in small { tell("note: \(sink.path): \(note)") }
        }
        for output in build.plan.program.outputs where output.kind == .text {
            guard let tensor = outcome.outputs[output.name], tensor.dtype == .int32 else { continue }
            do {
                print(try build.textOf(output, tensor.ints.map { Int($0) }))
            } catch {
                faults.append("output \(output.name): \(error); `--out \(output.name)=FILE.npy` keeps its tokens")
            }
        }
        tell(title(one) + summary(build.plan, outcome))
        return faults
    }

    /// What is a run's own: `2/4 "a red circle", seed 3: `.
    private func title(_ one: Planned) -> String {
        guard !one.title.isEmpty else { return "" }
        let own = one.run.differing.map { name in
            switch one.run.inputs[name] {
            case .text(let text): "\"\(String(harmless(text).prefix(40)))\""
            case .whole(let whole): "\(name) \(whole)"
            default: name
            }
        }
        return "\(one.title)\(own.joined(separator: ", ")): "
    }

    /// A file of prompts may be a stranger's; a terminal's commands are not carried out.
    private func harmless(_ text: String) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.map { c in
            c.properties.generalCategory == .control || c.properties.generalCategory == .format ? "\u{FFFD}" : c
        }))
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

/// In place of a file that another run has read.
@Sendable private func unread(_ input: Input, _ path: String) async throws -> ReadFile {
    let port = input.port ?? EntractePlan.Port(name: input.name, shape: [], dtype: .fp32)
    return ReadFile(tensor: Tensor(zeros: port.shape, port.dtype), sha256: "")
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
