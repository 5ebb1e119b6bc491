#if canImport(CoreML)
import EntractePlan
import EntracteRuntime
import Foundation

/// Runs a plan's packages with Core ML: iOS 17, macOS 14; several functions in a package from iOS 18 and
/// macOS 15 on.
///
/// It loads compiled packages that an `Installer` has made ready, each on the unit that works for it, and
/// waits before a load until the memory of what was freed is back. One engine is for one run: it counts the
/// loads of packages that keep states of their own.
public final class CoreMLEngine: Engine {
    public let name = "coreml"
    public let servesOneFunction = true

    private let plan: Plan
    private let installed: [String: Installed]
    private let functions: [String: Int]
    private let settle: Settle
    private let pause: Pause
    private let loads = LoadCounts()
    private let graphs = SharedGraphs()

    /// `installed` is what `CoreMLInstallation.install` gave. Refused, before anything is loaded: a plan whose
    /// packages are not all installed, one that this process cannot hold, and packages of several functions
    /// on a system that loads only the first. `pause` is the run's: a load or call that fails while the app is in
    /// the background is done again when it is back.
    public init(
        _ plan: Plan, installed: [Installed], settle: SettleOptions = SettleOptions(),
        reading: MemoryReading = SystemMemory.reading(), pause: Pause = Pause()
    ) throws {
        self.plan = plan
        self.pause = pause
        self.installed = Dictionary(installed.map { ($0.chunk, $0) }) { first, _ in first }
        self.settle = Settle(SettleWorld(footprintBytes: SystemMemory.footprintBytes), options: settle)
        functions = Dictionary(plan.packages.map { ($0.chunk, $0.functions.count) }) { first, _ in first }
        try Self.check(plan, self.installed)
        if let fault = reading.refusal(of: plan) { throw fault }
    }

    /// What waits for freed memory took so far, in their order: what `settle_fraction` of a target stands for.
    public var settled: [SettleRecord] {
        get async { await settle.records }
    }

    public func load(_ package: Package, in folder: URL, function: String) async throws -> any LoadedModel {
        guard let found = installed[package.chunk] else {
            throw Fault.run("package \(package.chunk) is not installed on this device: install the plan first")
        }
        await settle.wait()
        try Task.checkCancellation()
        let again = await loads.add(package.chunk) > 1
        let place = CoreMLPlace(
            package: package, compiled: found.compiled, unit: found.unit, isMultifunction: package.functions.count > 1)
        if let arrays = package.arrays {
            let graph = try await pause.again { try await graphs.graph(place) }
            return try await ArraysModel(package, arrays, in: folder, graph, pause)
        }
        let bound = try await pause.again { try await BoundModel.load(place, function) }
        if bound.hasStates {
            if let fault = Self.statesFault(package.chunk, again: again, functions: package.functions) { throw fault }
        }
        return CoreMLModel(place, bound, settle, pause)
    }

    public func availableBytes() async -> Int? { SystemMemory.reading().freeBytes }

    private static func check(_ plan: Plan, _ installed: [String: Installed]) throws {
        for package in plan.packages {
            guard let found = installed[package.chunk] else {
                throw Fault.run("package \(package.chunk) is not installed on this device: install the plan first")
            }
            try checkFunctions(package)
            let hasStates = found.times.contains(where: \.hasStates)
            if hasStates, let fault = statesFault(plan, package) { throw fault }
        }
    }

    private static func checkFunctions(_ package: Package) throws {
        if package.functions == ["main"] { return }
        guard #available(iOS 18, macOS 15, *) else {
            throw Fault.run(
                "package \(package.chunk) has the functions \(package.functions.joined(separator: ", ")): this "
                    + "system loads only the first of a package, iOS 18 and macOS 15 load each; update it, or "
                    + "compile without what needs several (a merged sampler, weights_of)")
        }
    }

    /// Core ML's own states are a loaded model's: what is loaded again begins with new ones.
    private static func statesFault(_ plan: Plan, _ package: Package) -> Fault? {
        let loads = plan.schedule.loads.filter { $0.chunk == package.chunk }
        let isOnce = loads.count == 1 && loads.allSatisfy { $0.iterations == "first" }
        return statesFault(package.chunk, again: !isOnce, functions: package.functions)
    }

    private static func statesFault(_ chunk: String, again: Bool, functions: [String]) -> Fault? {
        guard again || functions.count > 1 else { return nil }
        return Fault.run(
            "package \(chunk) keeps states of Core ML between its calls, and the plan loads it again (or another "
                + "function of it): they would be lost; compile so that it stays loaded (policy.keep, a higher "
                + "`target.memory`), or carry the state through the program")
    }
}

/// How often each chunk was loaded.
private actor LoadCounts {
    private var counts: [String: Int] = [:]

    func add(_ chunk: String) -> Int {
        counts[chunk, default: 0] += 1
        return counts[chunk, default: 0]
    }
}
#endif
