import EntracteCoreML
import EntracteMedia
import EntractePlan
import EntracteRuntime
import Foundation

/// What runs packages, by the name that the command line gives it.
enum EngineName: String, CaseIterable {
    case coreml, simulated, blank

    #if canImport(CoreML)
        static let usual: EngineName? = .coreml
    #else
        static let usual: EngineName? = nil
    #endif
}

/// An engine that is ready to run a plan, and what else is known of it.
struct ReadyEngine: Sendable {
    let name: String
    let engine: any Engine
    /// Told when a run is over: all recorded answers were asked for. Throws `Fault`.
    let finish: @Sendable () throws -> Void
    /// Before a run of several.
    let restart: @Sendable () -> Void
    /// The waits for freed memory so far.
    let settled: @Sendable () async -> [SettleRecord]

    /// Whether its times are a device's: what it records goes beside the plan by itself.
    var isDevice: Bool { name == EngineName.coreml.rawValue }
}

extension Arguments {
    /// The engine that `--engine`, `--answers` and `--memory` say; packages are made ready where it needs that.
    /// Throws `Fault`, before anything is loaded, where the plan cannot fit; `Misuse`.
    func engine(_ build: OpenBuild) async throws -> ReadyEngine {
        let reading = try memoryReading()
        switch try engineName() {
        case .coreml: return try await coreML(build, reading)
        case .simulated:
            guard let folder = try one("answers") else {
                throw Misuse(message: "--engine simulated: give --answers FOLDER, made by `plan run --answers`")
            }
            let answers = try RecordedAnswers(URL(fileURLWithPath: folder), of: build.plan)
            return try simulated(build, "simulated", Simulated(answers), reading, answers)
        case .blank: return try simulated(build, "blank", Simulated(blank: { _, _ in 0 }), reading, nil)
        }
    }

    private func engineName() throws -> EngineName {
        guard let text = try one("engine") else {
            if try one("answers") != nil { return .simulated }
            guard let usual = EngineName.usual else {
                throw Misuse(
                    message: "nothing here runs Core ML: give --answers FOLDER for answers that were recorded, or "
                        + "--engine blank for zeros")
            }
            return usual
        }
        guard let name = EngineName(rawValue: text) else {
            let known = EngineName.allCases.map(\.rawValue).joined(separator: ", ")
            throw Misuse(message: "--engine '\(text)': give one of \(known)")
        }
        guard try name == .simulated || one("answers") == nil else {
            throw Misuse(message: "--answers: only --engine simulated has them")
        }
        return name
    }

    /// What `--memory` says the process may be, else what the system says.
    func memoryReading() throws -> MemoryReading {
        guard let most = try bytes("memory") else { return systemReading() }
        let used = ProcessMemory().bytes() ?? 0
        return MemoryReading(footprintBytes: used, availableBytes: max(0, most - used), workingSetBytes: nil)
    }

    private func simulated(
        _ build: OpenBuild, _ name: String, _ engine: Simulated, _ reading: MemoryReading, _ answers: RecordedAnswers?
    ) throws -> ReadyEngine {
        if let fault = reading.refusal(of: build.plan) { throw fault }
        ProcessMemory.returnFreed()
        return ReadyEngine(
            name: name, engine: engine, finish: { try answers?.finish() }, restart: { answers?.restart() },
            settled: { [] })
    }

    #if canImport(CoreML)
        private func coreML(_ build: OpenBuild, _ reading: MemoryReading) async throws -> ReadyEngine {
            let installed = try await install(build)
            let engine = try CoreMLEngine(build.plan, installed: installed, reading: reading)
            return ReadyEngine(
                name: "coreml", engine: engine, finish: {}, restart: {}, settled: { await engine.settled })
        }
    #else
        private func coreML(_ build: OpenBuild, _ reading: MemoryReading) async throws -> ReadyEngine {
            throw Fault.run(noCoreML)
        }
    #endif
}

let noCoreML = "nothing here runs Core ML: run the plan on a Mac or a phone, by `plan run` of Entracte, or with "
    + "--engine simulated or blank"

#if canImport(CoreML)
    func systemReading() -> MemoryReading { SystemMemory.reading() }

    /// Makes all packages ready, the smallest first; those that are stay as they are.
    func install(_ build: OpenBuild) async throws -> [Installed] {
        let installation = try CoreMLInstallation()
        for mark in installation.leftovers {
            tell("note: the process ended during \(mark.phase.rawValue) of \(mark.chunk)")
        }
        let installer = installation.installer(digest: { package, _ in try build.check(package) }) { progress in
            let unit = progress.unit.map { " on \($0.rawValue)" } ?? ""
            tell("\(progress.chunk)  \(progress.phase.rawValue)\(unit)  package \(progress.done + 1) of \(progress.count)")
        }
        return try await installer.install(build.plan, in: build.folder)
    }

    /// What of a plan is not ready here.
    func notInstalled(_ plan: Plan) throws -> [String] {
        let installation = try CoreMLInstallation()
        let ready = Set(try installation.installer(digest: { _, _ in }).installed(plan).map(\.chunk))
        return plan.packages.map(\.chunk).filter { !ready.contains($0) }
    }

    func deviceModel() -> String { SystemIdentity.current().device }

    let codecs = Codecs.own.withSystem
#else
    /// A process may have the whole machine: what claims more is refused, not ended by the system.
    func systemReading() -> MemoryReading {
        let used = ProcessMemory().bytes() ?? 0, all = Int(clamping: ProcessInfo.processInfo.physicalMemory)
        return MemoryReading(footprintBytes: used, availableBytes: max(0, all - used), workingSetBytes: nil)
    }

    func deviceModel() -> String {
        var name = utsname()
        guard uname(&name) == 0 else { return "unknown" }
        return withUnsafeBytes(of: &name.machine) { raw in
            String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
        }
    }

    let codecs = Codecs.own
#endif
