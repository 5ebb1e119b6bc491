import EntractePlan
import Foundation

/// What an installation does to a package.
public enum InstallPhase: String, Sendable, Codable {
    case check, compile, load, probe
}

/// What is under way: written before it begins and taken away when it has ended, so that it is still there
/// when the process did not live to see that.
public struct InstallMark: Equatable, Sendable, Codable {
    public let chunk: String
    public let digest: String
    public let phase: InstallPhase
    /// What it is loaded on; nil of a compilation.
    public let unit: ComputeUnit?
    public let function: String
    public let system: SystemIdentity
    let pid: Int32
    let start: String
    let date: Date
}

/// What is known of a package on this system.
public struct InstallOutcome: Equatable, Sendable, Codable {
    public internal(set) var chunk: String
    public internal(set) var system: SystemIdentity
    /// Asked unit -> the unit that works in its place.
    public internal(set) var works: [String: ComputeUnit] = [:]
    /// Phase and unit -> how often the process ended during it.
    public internal(set) var ended: [String: Int] = [:]
    /// Seconds of the load and the first call, of each function, in the order of their names.
    public internal(set) var times: [ProbeTimes] = []

    static func key(_ phase: InstallPhase, _ unit: ComputeUnit?) -> String {
        unit.map { "\(phase.rawValue) \($0.rawValue)" } ?? phase.rawValue
    }

    /// How often the process ended while it loaded or probed the package on a unit.
    public func ends(on unit: ComputeUnit) -> Int {
        [.load, .probe].reduce(0) { $0 + (ended[Self.key($1, unit)] ?? 0) }
    }

    /// How often the process ended while it compiled the package.
    public var endsOfCompiling: Int { ended[Self.key(.compile, nil)] ?? 0 }
}

/// Seconds of a function's first load and first call on this system.
public struct ProbeTimes: Equatable, Sendable, Codable {
    public let function: String
    public let loadSeconds: Double
    public let callSeconds: Double
    /// What the load added to the footprint, in bytes; 0 where the system does not say.
    public let addedBytes: Int
    /// Whether Core ML keeps states for it between calls.
    public let hasStates: Bool

    public init(
        function: String, loadSeconds: Double, callSeconds: Double, addedBytes: Int = 0, hasStates: Bool = false
    ) {
        self.function = function
        self.loadSeconds = loadSeconds
        self.callSeconds = callSeconds
        self.addedBytes = addedBytes
        self.hasStates = hasStates
    }
}

/// Marks and outcomes of installations, in two folders beside the cache's entries.
public struct InstallLog: Sendable {
    private let marks: URL
    private let outcomes: URL
    private let cache: CompiledCache
    private let process: ProcessIdentity

    /// Opens the log of a cache. Marks of processes that are over become outcomes: `leftovers` are those.
    public init(_ cache: CompiledCache, process: ProcessIdentity = .current) throws {
        self.cache = cache
        self.process = process
        marks = cache.folder.appendingPathComponent(".marks", isDirectory: true)
        outcomes = cache.folder.appendingPathComponent(".outcomes", isDirectory: true)
        try CompiledCache.makeFolder(marks)
        try CompiledCache.makeFolder(outcomes)
    }

    /// Write that something begins. On disk when this returns.
    func begin(
        _ phase: InstallPhase, _ package: Package, _ unit: ComputeUnit?, _ function: String = "main"
    ) throws {
        let mark = InstallMark(
            chunk: package.chunk, digest: package.digest, phase: phase, unit: unit, function: function,
            system: cache.system, pid: process.pid, start: process.start, date: Date())
        try write(JSONEncoder().encode(mark), file(marks, try cache.name(package.digest)))
    }

    /// It has ended, well or with an error: the process lives.
    func end(_ package: Package) {
        guard let name = try? cache.name(package.digest) else { return }
        try? FileManager.default.removeItem(at: file(marks, name))
    }

    /// What processes that are over were doing when they ended; each is told once, and counted.
    public func takeLeftovers() throws -> [InstallMark] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: marks.path)) ?? []
        var found: [InstallMark] = []
        for name in names.sorted() where name.hasSuffix(".json") {
            let place = marks.appendingPathComponent(name)
            let data = try? Data(contentsOf: place)
            if let mark = data.flatMap({ try? JSONDecoder().decode(InstallMark.self, from: $0) }) {
                guard process.isOver(pid: mark.pid, since: mark.date, start: mark.start) else { continue }
                try count(mark)
                found.append(mark)
            }
            try? FileManager.default.removeItem(at: place)
        }
        return found
    }

    /// What is known of a package; nothing of other systems.
    public func outcome(_ chunk: String, _ digest: String) -> InstallOutcome {
        let empty = InstallOutcome(chunk: chunk, system: cache.system)
        guard let name = try? cache.name(digest), let data = try? Data(contentsOf: file(outcomes, name)),
            let found = try? JSONDecoder().decode(InstallOutcome.self, from: data), found.system == cache.system
        else { return empty }
        return found
    }

    /// Write what is known of a package.
    func write(_ outcome: InstallOutcome, digest: String) throws {
        try write(JSONEncoder().encode(outcome), file(outcomes, try cache.name(digest)))
    }

    /// Forget what is known of a package: it is tried anew on all units.
    public func forget(_ digest: String) throws {
        let place = file(outcomes, try cache.name(digest))
        guard FileManager.default.fileExists(atPath: place.path) else { return }
        try FileManager.default.removeItem(at: place)
    }

    private func count(_ mark: InstallMark) throws {
        guard mark.system == cache.system else { return }
        var known = outcome(mark.chunk, mark.digest)
        known.ended[InstallOutcome.key(mark.phase, mark.unit), default: 0] += 1
        try write(known, digest: mark.digest)
    }

    private func file(_ folder: URL, _ name: String) -> URL { folder.appendingPathComponent("\(name).json") }

    private func write(_ data: Data, _ place: URL) throws {
        do {
            try data.write(to: place, options: .atomic)
            let handle = try FileHandle(forWritingTo: place)
            try handle.synchronize()
            try handle.close()
        } catch {
            throw Fault.write("\(place.path) cannot be written (\(error.localizedDescription))")
        }
    }
}
