import EntractePlan
import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Bytes that are read in pieces.
protocol Readable {
    var sizeBytes: Int { get }

    /// Up to `count` bytes from a place on; fewer at the end.
    func read(_ at: Int, _ count: Int) throws -> [UInt8]
}

/// A part of a file.
struct FilePart: Readable {
    let file: InputFile
    let begin: Int
    let sizeBytes: Int

    func read(_ at: Int, _ count: Int) throws -> [UInt8] {
        try file.read(begin + at, max(0, min(count, sizeBytes - at)))
    }
}

/// Bytes in memory.
struct Unpacked: Readable {
    let bytes: [UInt8]
    var sizeBytes: Int { bytes.count }

    func read(_ at: Int, _ count: Int) throws -> [UInt8] {
        let begin = min(max(0, at), bytes.count)
        return Array(bytes[begin..<begin + max(0, min(count, bytes.count - begin))])
    }
}

/// A regular file that is read in pieces.
final class InputFile: Readable, Sendable {
    let sizeBytes: Int
    private let handle: Int32

    /// Throws `MediaFault` in the system's words.
    init(_ path: String) throws {
        // Not to wait for whoever might write into a pipe.
        handle = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        guard handle >= 0 else { throw MediaFault(systemWords(errno)) }
        var state = stat()
        guard fstat(handle, &state) == 0, FileState(state).kind == .regular else {
            close(handle)
            throw MediaFault("is no regular file; give one")
        }
        sizeBytes = Int(state.st_size)
    }

    deinit { close(handle) }

    func read(_ at: Int, _ count: Int) throws -> [UInt8] {
        let there = max(0, min(count, sizeBytes - at))
        return try [UInt8](unsafeUninitializedCapacity: there) { buffer, done in
            while done < there {
                let got = pread(handle, buffer.baseAddress.map { $0 + done }, there - done, off_t(at + done))
                if got < 0, errno == EINTR { continue }
                guard got >= 0 else { throw MediaFault("cannot be read (\(systemWords(errno)))") }
                if got == 0 { break }
                done += got
            }
        }
    }
}
