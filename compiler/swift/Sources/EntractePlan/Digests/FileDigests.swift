import Foundation

#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

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
    // Without waiting: a pipe's other end may never come.
    let file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    guard file >= 0 else { throw Fault.plan("\(path): cannot be read (\(systemWords(errno)))") }
    defer { close(file) }
    var found = stat()
    guard fstat(file, &found) == 0, FileState(found).kind == .regular else {
        throw Fault.plan("\(path): is no file that can be read")
    }
    let block = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 64)
    defer { block.deallocate() }
    while true {
        let count = read(file, block.baseAddress, block.count)
        if count < 0, errno == EINTR { continue }
        if count < 0 { throw Fault.plan("\(path): cannot be read (\(systemWords(errno)))") }
        if count == 0 { return }
        try take(UnsafeRawBufferPointer(rebasing: block[..<count]))
    }
}
