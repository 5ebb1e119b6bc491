import EntracteCoreML
import EntracteMedia
import EntractePlan
import EntracteRuntime
import Foundation
import Observation

/// The build in this app: opened, installed on this device, and run with what is given.
@MainActor
@Observable
final class Studio {
    enum State: Equatable {
        case opening
        /// Packages are not ready on this device.
        case new
        case installing(chunk: String, phase: String, done: Int, count: Int)
        case ready
        case running(stage: String, done: Int, count: Int)
        /// What to do about it stands in the message.
        case failed(String)
    }

    private(set) var state = State.opening
    private(set) var title = ""
    /// Of the plan: what a user may give.
    private(set) var inputs: [Input] = []
    /// What is given, as typed; of files their path.
    var given: [String: String] = [:]
    /// How many times clips are enlarged, and whether files say how they were made.
    var scale = 1
    var saysHow = true
    private(set) var made: [MadeFile] = []
    private(set) var texts: [String] = []
    /// The last frame that came out, while it runs.
    private(set) var preview: Preview?
    private(set) var notes: [String] = []
    private(set) var seconds: Double?
    let memory = MemoryGauge()
    var makesClip: Bool { build?.plan.program.outputs.contains { $0.kind == .video } == true }

    private var build: OpenBuild?
    private var isInstalled = false
    private var task: Task<Void, Never>?
    private let pause = Pause()
    private var watch: SystemWatch?

    /// Read the plan and see what is installed.
    func open() async {
        guard build == nil else { return }
        listen()
        await attempt {
            let folder = try Self.folder()
            let opened = try await Task.detached { try OpenBuild(folder) }.value
            let installation = try CoreMLInstallation()
            let ready = try installation.installer(digest: { _, _ in }).installed(opened.plan)
            self.show(opened)
            self.notes = installation.leftovers.map { "The app ended during \($0.phase.rawValue) of \($0.chunk)." }
            self.isInstalled = ready.count == opened.plan.packages.count
            self.rest()
        }
    }

    /// Make all packages ready, the smallest first. Minutes on a device that has not seen them.
    func install() {
        start {
            guard let build = self.build else { return }
            _ = try await self.installed(build)
            self.rest()
        }
    }

    /// Run the plan with what is given.
    func run() {
        start {
            guard let build = self.build else { return }
            let begun = Date()
            let installed = try await self.installed(build)
            let engine = try CoreMLEngine(build.plan, installed: installed, pause: self.pause)
            let outcome = try await self.outcome(build, engine)
            self.notes = outcome.record.notes + (outcome.alarm == nil ? [] : ["More memory was held than is claimed."])
            self.seconds = Date().timeIntervalSince(begun)
            self.rest()
        }
    }

    /// At the end of the step that runs.
    func stop() { task?.cancel() }

    // ------------------------------------------------------------ inside

    private func outcome(_ build: OpenBuild, _ engine: CoreMLEngine) async throws -> Outcome {
        let files = try RunFiles(build, in: try RunFiles.newFolder(), Codecs.own.withSystem, scale: scale) { frame in
            Task { @MainActor in self.preview = frame }
        }
        var options = RunOptions()
        options.pause = pause
        options.reading = MediaInputs(Codecs.own.withSystem).reading
        options.loading = { package in try build.check(package) }
        options.keeps = { $0.kind == .text }
        options.sinks = files.sinks
        options.given = { [name = saysHow ? engine.name : nil] in try await files.begin($0, engine: name) }
        options.progress = { stage, done, count in
            Task { @MainActor in self.step(stage, done, count) }
        }
        let runner = Runner(build.plan, in: build.folder, engine, HostRunner())
        let values = given.filter { !$0.value.isEmpty }.mapValues { GivenValue.text($0) }
        do {
            let outcome = try await runner.run(values, constants: build.constants(), options)
            made = try await files.finish()
            texts = try build.texts(of: outcome).map(\.text)
            preview = nil
            return outcome
        } catch {
            await files.abandon()
            throw error
        }
    }

    private func step(_ stage: String, _ done: Int, _ count: Int) {
        if case .running = state { state = .running(stage: stage, done: done, count: count) }
        memory.read()
    }

    private func installed(_ build: OpenBuild) async throws -> [Installed] {
        let installer = try CoreMLInstallation().installer(
            digest: { package, _ in try build.check(package) }, pause: pause
        ) { at in
            Task { @MainActor in
                if case .ready = self.state { return }
                if case .running = self.state { return }
                self.state = .installing(
                    chunk: at.chunk, phase: at.phase.rawValue, done: at.done, count: at.count)
            }
        }
        let installed = try await installer.install(build.plan, in: build.folder)
        isInstalled = true
        state = .running(stage: "", done: 0, count: build.plan.program.stepCount)
        return installed
    }

    private func show(_ opened: OpenBuild) {
        build = opened
        title = opened.plan.title
        inputs = opened.plan.program.inputs
        memory.budget(of: opened.plan)
    }

    private func start(_ work: @escaping @MainActor () async throws -> Void) {
        guard task == nil else { return }
        (made, texts, notes, seconds, preview) = ([], [], [], nil, nil)
        task = Task {
            // A phone that locks itself puts the app into the background.
            Screen.staysOn(true)
            await attempt(work)
            Screen.staysOn(false)
            task = nil
        }
    }

    private func attempt(_ work: @MainActor () async throws -> Void) async {
        do {
            try await work()
        } catch is CancellationError {
            rest()
        } catch {
            state = .failed((error as? Fault)?.message ?? error.localizedDescription)
        }
    }

    /// Back to where something can be tried again.
    func dismiss() {
        rest()
        if build == nil { Task { await open() } }
    }

    /// Nothing is under way.
    private func rest() { state = build == nil ? .opening : isInstalled ? .ready : .new }

    /// Warnings of memory, and the background, hold a run up at the end of a step.
    private func listen() {
        guard watch == nil else { return }
        let pause = self.pause
        watch = SystemWatch(Interruptions(close: { pause.close($0) }, open: { pause.open($0) }))
    }

    private static func folder() throws -> URL {
        guard let found = Bundle.main.url(forResource: "Build", withExtension: nil) else {
            throw Fault.plan("the app holds no folder Build; export it again with `plan export BUILD --swift`")
        }
        return found
    }
}
