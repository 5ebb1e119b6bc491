import EntractePlan
import Foundation

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
    private let file: RegularFile
    var sizeBytes: Int { file.state.sizeBytes }

    /// Throws `MediaFault` in the system's words.
    init(_ path: String) throws {
        do {
            file = try RegularFile(path)
        } catch let fault as RegularFile.Unreadable {
            throw MediaFault(fault.why ?? "is no regular file; give one")
        }
    }

    func read(_ at: Int, _ count: Int) throws -> [UInt8] {
        let there = max(0, min(count, sizeBytes - at))
        return try [UInt8](unsafeUninitializedCapacity: there) { buffer, done in
            let all = UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: there)
            do { done = try file.read(at, into: all) } catch let fault as RegularFile.Unreadable {
                throw MediaFault("cannot be read (\(fault.why ?? ""))")
            }
        }
    }
}
