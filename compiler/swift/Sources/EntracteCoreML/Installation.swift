#if canImport(CoreML)
@preconcurrency import CoreML
import EntractePlan
import EntracteRuntime
import Foundation

/// Compiles packages with Core ML and tries them.
public struct CoreMLCompiler: PackageCompiler {
    private let digest: @Sendable (Package, URL) throws -> Void

    /// `digest` reads a package of a build folder and throws where it is not the plan's.
    public init(digest: @escaping @Sendable (Package, URL) throws -> Void) { self.digest = digest }

    public func check(_ package: Package, in folder: URL) throws { try digest(package, folder) }

    public func compile(_ package: Package, in folder: URL) async throws -> URL {
        let place = folder.appendingPathComponent(package.path, isDirectory: true)
        do {
            return try await MLModel.compileModel(at: place)
        } catch let error where !(error is CancellationError) {
            throw Fault.run(
                "package \(package.chunk) cannot be compiled (\(error.localizedDescription)); is there room on the "
                    + "device, and does the system have the plan's `target.deployment`?")
        }
    }

    public func probe(
        _ compiled: URL, _ package: Package, in folder: URL, function: String, unit: ComputeUnit,
        phase: @Sendable (InstallPhase) throws -> Void
    ) async throws -> ProbeTimes {
        let place = CoreMLPlace(
            package: package, compiled: compiled, unit: unit, isMultifunction: package.functions.count > 1)
        try phase(.load)
        let begin = DispatchTime.now().uptimeNanoseconds
        let bound = try await BoundModel.load(place, function)
        let loaded = DispatchTime.now().uptimeNanoseconds
        // A load may succeed after a failed compilation for the Neural Engine: the first call tells.
        try phase(.probe)
        let zeros = package.ports(of: function).inputs.map { ($0.name, Tensor(zeros: $0.shape, $0.dtype)) }
        let arrays = try package.arrays.map { try CallInputs(package, $0, package.mapped($0, in: folder)) }
        _ = try await bound.call(Dictionary(zeros) { first, _ in first }, arrays)
        let called = DispatchTime.now().uptimeNanoseconds
        return ProbeTimes(
            function: function, loadSeconds: Double(loaded - begin) / 1e9,
            callSeconds: Double(called - loaded) / 1e9, addedBytes: bound.addedBytes, hasStates: bound.hasStates)
    }
}

/// Where compiled packages are kept on this device: one folder in the app's Application Support.
public struct CoreMLInstallation: Sendable {
    public let cache: CompiledCache
    public let log: InstallLog
    /// What was under way when the app ended the last time; empty where nothing was.
    public let leftovers: [InstallMark]

    /// Opens it, and counts what ended the app. The folder is left out of backups: all of it can be made again.
    public init(folder: URL? = nil) throws {
        var place = try folder ?? Self.standard()
        cache = try CompiledCache(folder: place, system: .current())
        log = try InstallLog(cache)
        leftovers = try log.takeLeftovers()
        var values = URLResourceValues()
        values.isExcludedFromBackup = true
        try? place.setResourceValues(values)
    }

    /// What installs plans here. `pause`: closed while the app is in the background, where the system refuses
    /// work; it waits then, and takes no failure for the package's.
    public func installer(
        digest: @escaping @Sendable (Package, URL) throws -> Void, mayFallBack: Bool = true,
        pause: Pause = Pause(), progress: @escaping @Sendable (InstallProgress) -> Void = { _ in }
    ) -> Installer {
        Installer(
            CoreMLCompiler(digest: digest), cache: cache, log: log, mayFallBack: mayFallBack, pause: pause,
            progress: progress)
    }

    private static func standard() throws -> URL {
        do {
            return try FileManager.default.url(
                for: .applicationSupportDirectory, in: .userDomainMask, appropriateFor: nil, create: true
            ).appendingPathComponent("Entracte", isDirectory: true)
        } catch {
            throw Fault.write("the app has no folder for its files (\(error.localizedDescription))")
        }
    }
}
#endif
