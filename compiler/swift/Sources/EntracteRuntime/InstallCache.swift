import EntractePlan
import Foundation

/// Which system a compiled package is for: another build of it, or another kind of device, compiles anew.
public struct SystemIdentity: Equatable, Sendable, Codable {
    /// The system's build, such as `22A3354`.
    public let os: String
    /// The kind of device, such as `iPhone16,1`.
    public let device: String

    public init(os: String, device: String) {
        self.os = os
        self.device = device
    }
}

/// Compiled packages, each by its digest, the system's build and the kind of device.
///
/// An entry is a folder `DIGEST-SYSTEM` with a compiled model and a seal: made beside it under another name
/// and renamed when it is whole, so that a process that ends in between leaves nothing that looks like one.
public struct CompiledCache: Sendable {
    public let folder: URL
    public let system: SystemIdentity
    private let process: ProcessIdentity

    /// Opens a cache, which is made where it is missing; what processes that are gone left half made goes.
    public init(
        folder: URL, system: SystemIdentity, process: ProcessIdentity = .current
    ) throws {
        self.folder = folder
        self.system = system
        self.process = process
        try Self.makeFolder(folder)
        for name in names(below: folder) where name.hasPrefix(Self.making) && isLeft(name) {
            try? FileManager.default.removeItem(at: folder.appendingPathComponent(name))
        }
    }

    /// The compiled model of a package with this digest, for this system; nil where there is none, or where
    /// it is not what was kept.
    public func find(_ digest: String) -> URL? {
        guard let entry = try? entry(digest), let seal = Seal.read(entry.appendingPathComponent(Self.seal)),
            seal.digest == digest, seal.system == system
        else { return nil }
        let model = entry.appendingPathComponent(Self.model, isDirectory: true)
        return FolderSize.of(model) == seal.size ? model : nil
    }

    /// Move a compiled model in. Gives where it is from now on. A `Fault` where it cannot be written.
    public func keep(_ compiled: URL, digest: String) throws -> URL {
        let entry = try entry(digest)
        let files = FileManager.default
        let made = folder.appendingPathComponent(
            "\(Self.making)\(process.pid)-\(UUID().uuidString)", isDirectory: true)
        do {
            try files.createDirectory(at: made, withIntermediateDirectories: false)
            let model = made.appendingPathComponent(Self.model, isDirectory: true)
            try files.moveItem(at: compiled, to: model)
            let size = FolderSize.of(model)
            let seal = Seal(digest: digest, system: system, size: size)
            try seal.write(made.appendingPathComponent(Self.seal))
            if files.fileExists(atPath: entry.path) { try files.removeItem(at: entry) }
            try files.moveItem(at: made, to: entry)
        } catch {
            try? files.removeItem(at: made)
            throw Fault.write(
                "cache \(folder.path): the compiled package \(digest.prefix(12)) cannot be kept "
                    + "(\(error.localizedDescription)); is there room, and may the app write there?")
        }
        return entry.appendingPathComponent(Self.model, isDirectory: true)
    }

    /// Bytes of all entries, whichever system they are for.
    public var sizeBytes: Int { FolderSize.of(folder).bytes }

    /// Remove all entries.
    public func purge() throws { try remove { _ in true } }

    /// Remove the entries of other systems, and those of this one whose digest is not in `digests`.
    public func purge(allBut digests: Set<String>) throws {
        let kept = Set(digests.compactMap { try? entry($0).lastPathComponent })
        try remove { !kept.contains($0) }
    }

    /// What an entry of this system is called.
    public func name(_ digest: String) throws -> String {
        guard digest.utf8.count == 64, digest.utf8.allSatisfy({ Self.digits.contains($0) }) else {
            throw Fault.plan("digest '\(digest.prefix(80))' of a package: 64 small hexadecimal digits; "
                + "compile again")
        }
        return "\(digest)-\(Self.short("\(system.os)\n\(system.device)"))"
    }

    private static let making = ".making-"
    private static let seal = "seal.json"
    private static let model = "model.mlmodelc"
    private static let digits = Set("0123456789abcdef".utf8)

    private func entry(_ digest: String) throws -> URL {
        folder.appendingPathComponent(try name(digest), isDirectory: true)
    }

    private func names(below folder: URL) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []).sorted()
    }

    private func remove(_ isGoing: (String) -> Bool) throws {
        for name in names(below: folder) where !name.hasPrefix(".") && isGoing(name) {
            do {
                try FileManager.default.removeItem(at: folder.appendingPathComponent(name))
            } catch {
                throw Fault.write("cache \(folder.path): \(name) cannot be removed (\(error.localizedDescription))")
            }
        }
    }

    private func isLeft(_ name: String) -> Bool {
        let pid = Int32(name.dropFirst(Self.making.count).prefix { $0 != "-" }) ?? 0
        let place = folder.appendingPathComponent(name).path
        let date = try? FileManager.default.attributesOfItem(atPath: place)[.modificationDate] as? Date
        return process.isOver(pid: pid, since: date ?? .distantPast)
    }

    static func makeFolder(_ folder: URL) throws {
        do {
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        } catch {
            throw Fault.write("folder \(folder.path) cannot be made (\(error.localizedDescription))")
        }
    }

    /// 16 digits of FNV-1a: two systems of one name would still differ in the seal.
    private static func short(_ text: String) -> String {
        let hash = text.utf8.reduce(UInt64(0xCBF2_9CE4_8422_2325)) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
        let digits = String(hash, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

/// What an entry was when it was made.
struct Seal: Equatable, Codable {
    let digest: String
    let system: SystemIdentity
    let size: FolderSize

    static func read(_ file: URL) -> Seal? {
        (try? Data(contentsOf: file)).flatMap { try? JSONDecoder().decode(Seal.self, from: $0) }
    }

    func write(_ file: URL) throws { try JSONEncoder().encode(self).write(to: file, options: .atomic) }
}

/// How many files a folder has, and their bytes.
struct FolderSize: Equatable, Codable {
    let files: Int
    let bytes: Int

    static func of(_ folder: URL) -> FolderSize {
        var files = 0
        var bytes = 0
        let all = FileManager.default.enumerator(atPath: folder.path)
        while let name = all?.nextObject() as? String {
            let place = folder.appendingPathComponent(name).path
            guard let found = try? FileManager.default.attributesOfItem(atPath: place),
                found[.type] as? FileAttributeType == .typeRegular
            else { continue }
            files += 1
            bytes += (found[.size] as? NSNumber)?.intValue ?? 0
        }
        return FolderSize(files: files, bytes: bytes)
    }
}
