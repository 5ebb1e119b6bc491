import EntractePlan
import Foundation

#if canImport(Darwin)
    import Darwin
#elseif canImport(Glibc)
    import Glibc
#endif

/// Weight bytes in memory of their own, every page of it touched; the system's again by `free`.
final class WeightMemory: @unchecked Sendable {
    private static let sliceBytes = 8 << 20
    /// No package is larger.
    private static let mostBytes = 1 << 44

    private var memory: UnsafeMutableRawPointer?
    let sizeBytes: Int

    /// Throws a `Fault` where there is no such memory.
    init(sizeBytes: Int, of chunk: String) throws {
        self.sizeBytes = sizeBytes
        guard (0...WeightMemory.mostBytes).contains(sizeBytes) else {
            throw Fault.plan("plan: package of \(chunk): weight_bytes is \(sizeBytes)")
        }
        if sizeBytes == 0 { return }
        let flags = MAP_PRIVATE | WeightMemory.anonymous
        let found = mmap(nil, sizeBytes, PROT_READ | PROT_WRITE, flags, -1, 0)
        guard let found, found != MAP_FAILED else {
            throw Fault.run("\(chunk): there is no memory for \(sizeBytes) bytes of weights")
        }
        memory = found
    }

    deinit { free() }

    #if canImport(Darwin)
        private static let anonymous = MAP_ANON
    #else
        private static let anonymous = MAP_ANONYMOUS
    #endif

    /// Give it back; once or more often.
    func free() {
        if let memory { munmap(memory, sizeBytes) }
        memory = nil
    }

    /// The bytes as they are now; empty after `free`.
    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: memory, count: memory == nil ? 0 : sizeBytes) }

    /// Read a file from a place on as far as it goes, at most `sizeBytes`; what it lacks is zeros. Other tasks
    /// have their turn meanwhile. Throws a `Fault` where it cannot be read.
    func fill(from path: String?, at place: Int = 0) async throws {
        var read = 0
        if let path { read = try await readAll(path, at: place) }
        touch(from: read)
    }

    private func readAll(_ path: String, at place: Int) async throws -> Int {
        let file = open(path, O_RDONLY)
        guard file >= 0 else { throw unreadable(path) }
        defer { close(file) }
        var done = 0
        while done < sizeBytes, let memory {
            let most = min(sizeBytes - done, WeightMemory.sliceBytes)
            let count = pread(file, memory + done, most, off_t(place + done))
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw unreadable(path) }
            if count == 0 { break }
            done += count
            await Task.yield()
        }
        return done
    }

    private func unreadable(_ path: String) -> Fault {
        Fault.run("\(path): cannot be read (\(systemWords(errno)))")
    }

    private func touch(from begin: Int) {
        guard let memory else { return }
        for at in stride(from: begin, to: sizeBytes, by: 4096) {
            memory.storeBytes(of: 0, toByteOffset: at, as: UInt8.self)
        }
        if begin < sizeBytes { memory.storeBytes(of: 0, toByteOffset: sizeBytes - 1, as: UInt8.self) }
    }
}
