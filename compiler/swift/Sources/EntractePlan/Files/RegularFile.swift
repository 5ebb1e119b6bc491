import Foundation

#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

/// A regular file that is open for reading as long as it is referenced.
package final class RegularFile: Sendable {
    /// Why one cannot be read.
    package struct Unreadable: Error {
        /// In the system's words; nil: it is no regular file.
        package let why: String?
    }

    package let handle: Int32
    package let state: FileState

    /// Links are followed. Throws `Unreadable`.
    package init(_ path: String) throws {
        // Without waiting: a pipe's other end may never come.
        handle = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        guard handle >= 0 else { throw Unreadable(why: systemWords(errno)) }
        var found = stat()
        guard fstat(handle, &found) == 0, FileState(found).kind == .regular else {
            close(handle)
            throw Unreadable(why: nil)
        }
        state = FileState(found)
    }

    deinit { close(handle) }

    /// Bytes from a place on until the buffer is full or the file ends; gives how many. Throws `Unreadable`.
    package func read(_ place: Int, into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        guard let done = readBytes(handle, at: place, into: buffer) else { throw Unreadable(why: systemWords(errno)) }
        return done
    }
}

extension RegularFile {
    /// All of its bytes, at least one, mapped for reading; whoever asks unmaps them. Raises `Fault`.
    func mapped(_ path: String) throws -> UnsafeMutableRawPointer {
        guard let memory = mmap(nil, state.sizeBytes, PROT_READ, MAP_PRIVATE, handle, 0), memory != MAP_FAILED
        else { throw Fault.plan("\(path): cannot be mapped (\(systemWords(errno)))") }
        return memory
    }
}

/// Bytes of an open file from a place on until the buffer is full or the file ends; gives how many, nil where the
/// system refuses (`errno`).
package func readBytes(_ handle: Int32, at place: Int, into buffer: UnsafeMutableRawBufferPointer) -> Int? {
    var done = 0
    while done < buffer.count {
        let count = pread(handle, buffer.baseAddress.map { $0 + done }, buffer.count - done, off_t(place + done))
        if count < 0, errno == EINTR { continue }
        if count < 0 { return nil }
        if count == 0 { break }
        done += count
    }
    return done
}
