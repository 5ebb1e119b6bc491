import Foundation

/// SHA-256 of files, read in blocks; a file is read again only when its inode, size or time of change
/// is another one.
public final class FileDigests: @unchecked Sendable {
    private struct Known: Hashable {
        let path: String
        let state: FileState
    }

    private let lock = NSLock()
    private var known: [Known: String] = [:]

    public init() {}

    /// The digest of a regular file, in small hexadecimal digits. Raises `Fault` where it cannot be read.
    public func sha256(_ path: String) throws -> String {
        guard let state = FileState(path, follow: true), state.kind == .regular else {
            throw Fault.plan("\(path): is no file that can be read")
        }
        let key = Known(path: path, state: state)
        if let found = lock.withLock({ known[key] }) { return found }
        let made = try Self.read(path)
        lock.withLock { known[key] = made }
        return made
    }

    /// What was read before is read anew.
    public func forget() { lock.withLock { known.removeAll() } }

    /// The digest of a regular file's bytes as they are now. Keeps a block of them at a time.
    public static func read(_ path: String) throws -> String {
        var hash = SHA256()
        try eachBlock(of: path) { hash.update($0) }
        return hexadecimal(hash.finished())
    }
}

/// A regular file's bytes in blocks of a mebibyte. Raises `Fault` where it cannot be read, or is none.
func eachBlock(of path: String, _ take: (UnsafeRawBufferPointer) throws -> Void) throws {
    let block = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 64)
    defer { block.deallocate() }
    do {
        let file = try RegularFile(path)
        var at = 0
        while case let count = try file.read(at, into: block), count > 0 {
            try take(UnsafeRawBufferPointer(rebasing: block[..<count]))
            at += count
        }
    } catch let fault as RegularFile.Unreadable {
        throw Fault.plan("\(path): " + (fault.why.map { "cannot be read (\($0))" } ?? "is no file that can be read"))
    }
}
