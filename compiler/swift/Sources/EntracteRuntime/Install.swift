import EntractePlan
import Foundation

/// Compiles and tries packages: Core ML on a device, a stand-in in tests.
public protocol PackageCompiler: Sendable {
    /// Whether a package is the one whose digest the plan has; a `Fault` where it is not.
    func check(_ package: Package, in folder: URL) throws

    /// Compile a package. Gives where the compiled model lies, in a folder from which it may be moved.
    func compile(_ package: Package, in folder: URL) async throws -> URL

    /// Load a compiled model for a function, call it once with zeros (of a graph that chunks share with the
    /// package's own arrays, which lie in the build folder), drop it.
    func probe(
        _ compiled: URL, _ package: Package, in folder: URL, function: String, unit: ComputeUnit,
        phase: @Sendable (InstallPhase) throws -> Void
    ) async throws -> ProbeTimes
}

/// Where an installation is.
public struct InstallProgress: Equatable, Sendable {
    public let chunk: String
    public let phase: InstallPhase
    /// Of a load or probe: what it runs on.
    public let unit: ComputeUnit?
    /// Packages that are done, of `count`.
    public let done: Int
    public let count: Int
    /// Bytes of the packages that are done, of all.
    public let doneBytes: Int
    public let totalBytes: Int
}

/// A package that can be loaded on this system.
public struct Installed: Equatable, Sendable {
    public let chunk: String
    public let asked: ComputeUnit
    /// What it works on; not `asked` where that ended the process or failed.
    public let unit: ComputeUnit
    public let compiled: URL
    public let times: [ProbeTimes]
    /// Why it is not `asked`; empty where it is.
    public let why: String
}

/// Makes packages ready on a device: each is checked, compiled, loaded, called once and dropped, one by one,
/// the smallest first; a graph that chunks share once. What is done stays done: another start goes on where the
/// last one ended.
///
/// A device's first load of a package may take minutes, more memory than all later ones, and may end the
/// process. So a mark is written before each part: at the next start it names the chunk.
public struct Installer: Sendable {
    private let compiler: any PackageCompiler
    private let cache: CompiledCache
    private let log: InstallLog
    /// Whether a chunk whose unit fails may run on another one.
    private let mayFallBack: Bool
    /// While it is closed nothing is begun, and what fails is no fault of the package.
    private let pause: Pause
    private let progress: @Sendable (InstallProgress) -> Void

    /// So many ends of the process on one unit are no accident, such as a user who closes the app.
    static let endsAllowed = 1

    public init(
        _ compiler: any PackageCompiler, cache: CompiledCache, log: InstallLog, mayFallBack: Bool = true,
        pause: Pause = Pause(), progress: @escaping @Sendable (InstallProgress) -> Void = { _ in }
    ) {
        self.compiler = compiler
        self.cache = cache
        self.log = log
        self.mayFallBack = mayFallBack
        self.pause = pause
        self.progress = progress
    }

    /// Install all packages of a plan. Gives them in the plan's order.
    public func install(_ plan: Plan, in folder: URL) async throws -> [Installed] {
        try await install(plan.packages, in: folder) { try plan.computeUnit(of: $0) }
    }

    /// Install packages; `unit` says what a chunk is to be loaded on.
    public func install(
        _ packages: [Package], in folder: URL, unit: (String) throws -> ComputeUnit
    ) async throws -> [Installed] {
        _ = try log.takeLeftovers()
        let order = packages.sorted { ($0.fileBytes, $0.chunk) < ($1.fileBytes, $1.chunk) }
        var done: [String: Installed] = [:]
        var count = Progress(packages, progress)
        for package in order {
            await self.pause.untilOpen()
            try Task.checkCancellation()
            let asked = try unit(package.chunk)
            done[package.chunk] = try await install(package, in: folder, asked, count)
            count.add(package)
        }
        return packages.compactMap { done[$0.chunk] }
    }

    /// What of a plan is installed; packages that are not are left out.
    public func installed(_ plan: Plan) throws -> [Installed] {
        try plan.packages.compactMap { installed($0, try plan.computeUnit(of: $0.chunk)) }
    }

    private func installed(_ package: Package, _ asked: ComputeUnit) -> Installed? {
        let known = log.outcome(package.chunk, package.digest)
        guard let unit = known.works[asked.rawValue], let compiled = cache.find(package.digest) else { return nil }
        return Installed(
            chunk: package.chunk, asked: asked, unit: unit, compiled: compiled, times: known.times,
            why: unit == asked ? "" : Self.why(known, asked))
    }

    private func install(
        _ package: Package, in folder: URL, _ asked: ComputeUnit, _ count: Progress
    ) async throws -> Installed {
        if let found = installed(package, asked) { return found }
        let compiled = try await self.pause.again { try await self.compiled(package, in: folder, count) }
        var failed: [String] = []
        for unit in [asked] + (mayFallBack ? asked.fallbacks : []) {
            let known = log.outcome(package.chunk, package.digest)
            if known.ends(on: unit) > Self.endsAllowed {
                failed.append("\(unit.rawValue): the process ended \(known.ends(on: unit)) times")
                continue
            }
            do {
                let times = try await self.pause.again { try await probe(compiled, package, in: folder, unit, count) }
                return try keep(package, asked, unit, compiled, times, failed)
            } catch let error where !(error is CancellationError) {
                failed.append("\(unit.rawValue): \(error)")
            }
        }
        throw Fault.run(
            "package \(package.chunk) works on no compute unit that was tried (\(failed.joined(separator: "; "))); "
                + (mayFallBack || asked.fallbacks.isEmpty
                    ? "smaller chunks (target.chunk_limit) may compile"
                    : "\(asked.fallbacks.map(\.rawValue).joined(separator: " or ")) may work: allow it, or "
                        + "compile with another `target.compute_unit`"))
    }

    private func compiled(_ package: Package, in folder: URL, _ count: Progress) async throws -> URL {
        if let found = cache.find(package.digest) { return found }
        count.tell(package, .check, nil)
        try compiler.check(package, in: folder)
        let ends = log.outcome(package.chunk, package.digest).endsOfCompiling
        guard ends <= Self.endsAllowed else {
            throw Fault.run(
                "package \(package.chunk): the process ended \(ends) times while it was compiled; smaller chunks "
                    + "(target.chunk_limit) may compile, or `forget` it and try again with more memory")
        }
        count.tell(package, .compile, nil)
        try log.begin(.compile, package, nil)
        defer { log.end(package) }
        let made = try await compiler.compile(package, in: folder)
        return try cache.keep(made, digest: package.digest)
    }

    private func probe(
        _ compiled: URL, _ package: Package, in folder: URL, _ unit: ComputeUnit, _ count: Progress
    ) async throws -> [ProbeTimes] {
        defer { log.end(package) }
        var times: [ProbeTimes] = []
        for function in package.functions {
            await self.pause.untilOpen()
            try Task.checkCancellation()
            times.append(
                try await compiler.probe(compiled, package, in: folder, function: function, unit: unit) { phase in
                    count.tell(package, phase, unit)
                    try log.begin(phase, package, unit, function)
                })
        }
        return times
    }

    private func keep(
        _ package: Package, _ asked: ComputeUnit, _ unit: ComputeUnit, _ compiled: URL, _ times: [ProbeTimes],
        _ failed: [String]
    ) throws -> Installed {
        var known = log.outcome(package.chunk, package.digest)
        known.works[asked.rawValue] = unit
        known.times = times
        try log.write(known, digest: package.digest)
        return Installed(
            chunk: package.chunk, asked: asked, unit: unit, compiled: compiled, times: times,
            why: failed.joined(separator: "; "))
    }

    private static func why(_ known: InstallOutcome, _ asked: ComputeUnit) -> String {
        let ends = known.ends(on: asked)
        return ends > 0 ? "\(asked.rawValue): the process ended \(ends) times" : "\(asked.rawValue) failed"
    }
}

/// Counts what is done, and tells.
private struct Progress: Sendable {
    private let count: Int
    private let totalBytes: Int
    private let told: @Sendable (InstallProgress) -> Void
    private var done = 0
    private var doneBytes = 0

    init(_ packages: [Package], _ told: @escaping @Sendable (InstallProgress) -> Void) {
        count = packages.count
        totalBytes = packages.reduce(0) { $0 &+ $1.fileBytes }
        self.told = told
    }

    mutating func add(_ package: Package) {
        done += 1
        doneBytes &+= package.fileBytes
    }

    func tell(_ package: Package, _ phase: InstallPhase, _ unit: ComputeUnit?) {
        told(
            InstallProgress(
                chunk: package.chunk, phase: phase, unit: unit, done: done, count: count, doneBytes: doneBytes,
                totalBytes: totalBytes))
    }
}
