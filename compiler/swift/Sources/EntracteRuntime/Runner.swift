import EntractePlan
import Foundation

/// What a run made, and the record of the run.
public struct Outcome: Sendable {
    /// Of those outputs that were kept in memory, by name. They are there beside what the plan claims,
    /// which ends where a writer takes a piece.
    public let outputs: [String: Tensor]
    public let record: RunRecord
    /// Bytes that were observed above those that the plan proves; nil where it kept to them.
    public let alarm: Alarm?
}

/// What a run took above what is proven.
public struct Alarm: Equatable, Sendable {
    public let claimedBytes: Int
    public let observedBytes: Int
}

/// Who takes part in a run, beside the plan.
public struct RunOptions: Sendable {
    /// (stage, steps done, steps in all), after each step.
    public var progress: @Sendable (_ stage: String, _ done: Int, _ all: Int) -> Void = { _, _, _ in }
    /// Told of each package before it is loaded: its digest is checked, say. What it throws ends the run.
    public var loading: Loader.Loading = { _ in }
    /// Reads the files that inputs name.
    public var reading: Given.Reading = { input, path in
        throw Fault.run("input '\(input.name)': \(path): nothing here reads files")
    }
    /// Told of all inputs as a record names them, once they are read and before anything is loaded. What it
    /// throws ends the run.
    public var given: @Sendable ([NamedTold]) async throws -> Void = { _ in }
    /// What takes outputs, by name; others are kept in memory where `keeps` says so, else dropped.
    public var sinks: [String: any Sink] = [:]
    public var keeps: @Sendable (Output) -> Bool = { _ in true }
    public var probe: (any FootprintProbe)?
    public var pause = Pause()
    public var watcher: RunWatcher?
    /// [name, version] for the record, beside the runner's own.
    public var versions: [NamedText] = []

    public init() {}
}

/// Runs the plan of a build folder on an engine.
public struct Runner: Sendable {
    public let plan: Plan
    public let folder: URL
    private let engine: any Engine
    private let hostSteps: any HostSteps

    public init(_ plan: Plan, in folder: URL, _ engine: any Engine, _ hostSteps: any HostSteps) {
        self.plan = plan
        self.folder = folder
        self.engine = engine
        self.hostSteps = hostSteps
    }

    /// Execute the plan.
    ///
    /// `inputs` are values for the plan's inputs; those left out take their defaults. `constants` are the
    /// plan's, by name: they are asked for once, so that nobody else holds them when the program frees them.
    /// Throws `Fault` for what a user can meet, `CancellationError` where the task is cancelled (at a step's
    /// end), and whatever engine, sinks or host steps throw.
    public func run(
        _ inputs: [String: GivenValue], constants: @autoclosure @Sendable () throws -> [String: Tensor],
        _ options: RunOptions = RunOptions()
    ) async throws -> Outcome {
        let date = RunRecord.now()
        let kept = keptOutputs(options)
        let driver = try makeDriver(Workload(plan), plan.schedule)
        let units = driver.table.units.map { (chunk: $0.chunk, sizeBytes: $0.sizeBytes) }
        let journal = Journal(plan, units: units, probe: options.probe)
        let sinks = options.sinks.merging(kept.mapValues { $0 as any Sink }) { own, _ in own }
        let (interpreter, told) = try await interpreter(inputs, constants, sinks, journal, options)
        let loader = try Loader(engine, plan, in: folder, table: driver.table, loading: options.loading)
        let listener = Listening(journal: journal, plan: plan, progress: options.progress)
        try await Machine(driver, loader, interpreter, listener, pause: options.pause).run()
        return try await outcome(kept, interpreter, journal, told, date, options)
    }

    private func keptOutputs(_ options: RunOptions) -> [String: KeptOutput] {
        let own = plan.program.outputs.filter { options.sinks[$0.name] == nil && options.keeps($0) }
        return Dictionary(own.map { ($0.name, KeptOutput($0)) }, uniquingKeysWith: { first, _ in first })
    }

    /// What is given is the interpreter's alone from here on, so that what the program frees is free.
    private func interpreter(
        _ inputs: [String: GivenValue], _ constants: @Sendable () throws -> [String: Tensor],
        _ sinks: [String: any Sink], _ journal: Journal, _ options: RunOptions
    ) async throws -> (Interpreter, [NamedTold]) {
        let given = try await Given(plan.program, inputs, reading: options.reading)
        try await options.given(given.told)
        let constants = try constants()
        for port in plan.program.constants where constants[port.name]?.shape != port.shape {
            throw Fault.run(
                "\(folder.path): \(PlanFormat.constants) lacks \(port.name), \(port.dtype) of \(port.shape)")
        }
        let made = try Interpreter(
            plan.program, folder: folder, given: given.values, constants: constants, sinks: sinks,
            hostSteps: hostSteps, journal: journal, watcher: options.watcher)
        return (made, given.told)
    }

    private func outcome(
        _ kept: [String: KeptOutput], _ interpreter: Interpreter, _ journal: Journal, _ told: [NamedTold],
        _ date: String, _ options: RunOptions
    ) async throws -> Outcome {
        var outputs: [String: Tensor] = [:]
        for (name, sink) in kept { outputs[name] = try await sink.value() }
        journal.wrote(await interpreter.counts, keptBytes: outputs.values.reduce(0) { $0 + $1.bytes.count })
        var record = journal.run(device: engine.name)
        record.plan = plan.sha256
        record.inputs = told
        record.date = date
        record.versions = RunRecord.versions() + options.versions
        let claimed = plan.forecast.peakBytes
        let over = Alarm(claimedBytes: claimed, observedBytes: record.peakBytes)
        return Outcome(outputs: outputs, record: record, alarm: record.peakBytes > claimed ? over : nil)
    }
}

/// The journal, and whoever is told of progress.
private struct Listening: MachineListener {
    let journal: Journal
    let stages: [(base: Int, names: [String])]
    let all: Int
    let progress: @Sendable (String, Int, Int) -> Void

    init(journal: Journal, plan: Plan, progress: @escaping @Sendable (String, Int, Int) -> Void) {
        self.journal = journal
        self.progress = progress
        all = plan.program.stepCount
        var base = 0
        stages = plan.program.segments.map { segment in
            defer { base += segment.count * segment.steps.count }
            return (base, segment.steps.map(\.stage))
        }
    }

    func loaded(unit: Int, for step: Int, startNs: Int, endNs: Int) {
        journal.loaded(unit: unit, for: step, startNs: startNs, endNs: endNs)
    }

    func freed(unit: Int, doing step: Int, atNs: Int) { journal.freed(unit: unit, doing: step, atNs: atNs) }

    func waited(ns: Int) { journal.waited(ns: ns) }

    func stepped(_ number: Int, startNs: Int, endNs: Int) {
        journal.stepped(number, startNs: startNs, endNs: endNs)
        guard let own = stages.last(where: { $0.base <= number }), !own.names.isEmpty else { return }
        progress(own.names[(number - own.base) % own.names.count], number + 1, all)
    }
}
