import Foundation

#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

/// A file of arrays, mapped into memory as long as it is referenced: nothing of it is copied.
///
/// What is mapped and not written counts in no footprint; the system may drop it and read it again.
package final class ArraysFile: @unchecked Sendable {
    package let path: String
    private let memory: UnsafeMutableRawPointer
    private let size: Int
    private let layout: ArraysLayout

    /// Of a file as long as its arrays make it. Raises `Fault` where it cannot be mapped.
    init(_ path: String, _ file: RegularFile, _ layout: ArraysLayout) throws {
        memory = try file.mapped(path)
        (self.path, size, self.layout) = (path, file.state.sizeBytes, layout)
    }

    deinit { munmap(memory, size) }

    /// All that stands before the data.
    var header: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: memory, count: min(size, layout.header.count))
    }

    /// Each array's bytes, in the order of its ports. For reading only; valid as long as this object is there.
    package var arrays: [UnsafeMutableRawBufferPointer] {
        layout.places.map { place in
            UnsafeMutableRawBufferPointer(start: memory + layout.header.count + place.lowerBound, count: place.count)
        }
    }

    /// Bring all of it into memory: a load is this reading, and a call then waits for no disk. Other tasks have
    /// their turn meanwhile. Throws `CancellationError`.
    package func readAll() async throws {
        madvise(memory, size, MADV_WILLNEED)
        for begin in stride(from: 0, to: size, by: Self.sliceBytes) {
            try Task.checkCancellation()
            _ = touch(begin ..< min(size, begin + Self.sliceBytes))
            await Task.yield()
        }
    }

    private static let sliceBytes = 8 << 20

    /// A byte of each page is read, and counts: so no compiler leaves it out.
    @inline(never)
    private func touch(_ place: Range<Int>) -> UInt8 {
        stride(from: place.lowerBound, to: place.upperBound, by: 4096).reduce(0) {
            $0 ^ memory.load(fromByteOffset: $1, as: UInt8.self)
        }
    }
}
