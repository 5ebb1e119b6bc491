import EntractePlan
import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

// Files, written whole or not at all: made beside the final one, under a name that nobody can have prepared.

/// Something of the system's that went wrong, in its words.
struct SystemFault: Error {
    let number: Int32
    init() { number = errno }
    var words: String { systemWords(number) }
}

/// A file that is written at any place, for as long as it is referenced.
final class WriteFile: @unchecked Sendable {
    private var handle: Int32

    /// A new one; links are not followed. Throws `SystemFault`.
    init(new path: String) throws {
        handle = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o666)
        guard handle >= 0 else { throw SystemFault() }
        // Others that clear up can tell it from what a dead process left.
        flock(handle, LOCK_EX | LOCK_NB)
    }

    deinit { if handle >= 0 { close(handle) } }

    /// Throws `SystemFault`.
    func write(_ bytes: [UInt8], at place: Int) throws {
        try bytes.withUnsafeBytes { raw in
            var done = 0
            while done < raw.count, let base = raw.baseAddress {
                let wrote = pwrite(handle, base + done, raw.count - done, off_t(place + done))
                if wrote < 0, errno == EINTR { continue }
                guard wrote > 0 else { throw SystemFault() }
                done += wrote
            }
        }
    }

    /// Throws `SystemFault`, also at the file's end.
    func read(_ at: Int, _ count: Int) throws -> [UInt8] {
        try [UInt8](unsafeUninitializedCapacity: count) { buffer, done in
            let all = UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: count)
            done = readBytes(handle, at: at, into: all) ?? 0
            guard done == count else { throw SystemFault() }
        }
    }

    /// On the disk, and closed. Throws `SystemFault`.
    func finish() throws {
        let fault = fsync(handle) == 0 ? nil : SystemFault()
        close(handle)
        handle = -1
        if let fault { throw fault }
    }
}

/// What becomes a file or a folder when all is well. `keep` or `drop` ends it.
struct Aside: Sendable {
    /// What the user named.
    let place: String
    /// Where it goes: behind a link, if the user named one.
    let final: String
    /// Where it is made.
    let path: String

    init(_ place: String) {
        self.place = place
        final = finalPath(place)
        let (folder, name) = splitPath(final)
        let letters = (0..<8).map { _ in String(Int.random(in: 0..<16), radix: 16) }.joined()
        path = folder + "/.\(name).\(getpid()).\(letters).partial\(ending(of: name))"
    }

    /// Throws `Fault`.
    func keep() throws {
        guard rename(path, final) == 0 else { throw written(SystemFault()) }
    }

    /// Nothing of it stays.
    func drop() { try? FileManager.default.removeItem(atPath: path) }

    /// An error of the system as one message.
    func written(_ fault: SystemFault) -> Fault {
        .write("\(place): cannot be written (\(fault.words)); make room there, or name another place")
    }
}

/// Where a path leads when all links are followed; of what is not there, its name in its folder.
func finalPath(_ path: String) -> String {
    if let found = realPath(path) { return found }
    let (folder, name) = splitPath(path)
    guard let parent = realPath(folder) else { return path }
    return (parent == "/" ? "" : parent) + "/" + name
}

/// A path's folder and name.
func splitPath(_ path: String) -> (folder: String, name: String) {
    var trimmed = Substring(path)
    while trimmed.count > 1, trimmed.hasSuffix("/") { trimmed.removeLast() }
    guard let slash = trimmed.lastIndex(of: "/") else { return (".", String(trimmed)) }
    let folder = trimmed[..<slash]
    return (folder.isEmpty ? "/" : String(folder), String(trimmed[trimmed.index(after: slash)...]))
}

/// A file, whole or not at all; a link of the user's own stays one. Throws `Fault`.
public func writeWhole(_ data: Data, to path: String) throws {
    let aside = Aside(path)
    do {
        let file = try WriteFile(new: aside.path)
        try file.write([UInt8](data), at: 0)
        try file.finish()
        try aside.keep()
    } catch {
        aside.drop()
        throw (error as? SystemFault).map { aside.written($0) } ?? error
    }
}
