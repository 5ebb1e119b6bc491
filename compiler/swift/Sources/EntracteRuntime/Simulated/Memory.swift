import Foundation

#if canImport(Darwin)
    @preconcurrency import Darwin
#elseif canImport(Glibc)
    import Glibc
#endif

/// What the process really holds, as its system counts it: anonymous memory on Linux (the heap, owned
/// weights, tensors; no mapped files), `phys_footprint` on Apple's systems.
public struct ProcessMemory: FootprintProbe {
    private let statm: StatmFile?

    public init() { statm = StatmFile() }

    /// See `FootprintProbe`. On Linux before 6.16 it may lag by 128 KiB for each core.
    public func bytes() -> Int? {
        #if canImport(Darwin)
            return footprint()
        #else
            return statm?.anonymousBytes()
        #endif
    }

    /// From now on what is freed goes back to the system at once where it is 128 KiB or more, so that what
    /// is measured is what is held. (By itself Linux's allocator keeps ever larger pieces.)
    public static func returnFreed() {
        #if canImport(Glibc)
            // <malloc.h> is in no module: M_MMAP_THRESHOLD is -3, M_TRIM_THRESHOLD is -1.
            guard let found = dlsym(nil, "mallopt") else { return }
            let mallopt = unsafeBitCast(found, to: (@convention(c) (Int32, Int32) -> Int32).self)
            _ = mallopt(-3, 128 << 10)
            _ = mallopt(-1, 128 << 10)
        #endif
    }

    #if canImport(Darwin)
        private func footprint() -> Int? {
            var info = task_vm_info_data_t()
            let words = MemoryLayout<task_vm_info_data_t>.size / MemoryLayout<integer_t>.size
            var count = mach_msg_type_number_t(words)
            let status = withUnsafeMutablePointer(to: &info) {
                $0.withMemoryRebound(to: integer_t.self, capacity: words) {
                    task_info(mach_task_self_, task_flavor_t(TASK_VM_INFO), $0, &count)
                }
            }
            return status == KERN_SUCCESS ? Int(clamping: info.phys_footprint) : nil
        }
    #endif
}

/// `/proc/self/statm`, open.
private final class StatmFile: Sendable {
    private let file: Int32
    private let pageBytes: Int

    init?() {
        #if canImport(Glibc)
            file = open("/proc/self/statm", O_RDONLY)
            pageBytes = sysconf(Int32(_SC_PAGESIZE))
            if file < 0 { return nil }
        #else
            return nil
        #endif
    }

    deinit { close(file) }

    /// Fields, in pages: all, resident, resident and backed by a file or shared.
    func anonymousBytes() -> Int? {
        var text = [UInt8](repeating: 0, count: 128)
        let count = text.withUnsafeMutableBytes { pread(file, $0.baseAddress, $0.count, 0) }
        guard count > 0 else { return nil }
        let fields = text[..<count].split(separator: UInt8(ascii: " "), maxSplits: 3).map { field in
            field.reduce(0) { $0 &* 10 &+ Int($1 &- 48) }
        }
        return fields.count > 2 ? (fields[1] - fields[2]) * pageBytes : nil
    }
}

/// The largest memory of the process from its begin to its end: a thread looks every 2 ms, and whoever
/// changes a lot calls `look`. A maximum that lasts less than 2 ms between two looks is missed.
public final class MemoryPeak: FootprintProbe, @unchecked Sendable {
    private let probe = ProcessMemory()
    private let lock = NSLock()
    private let isOver = DispatchSemaphore(value: 0)
    private let hasEnded = DispatchSemaphore(value: 0)
    private var most = 0
    /// What was there at the begin; nil where the system does not say.
    public private(set) var startBytes: Int?

    /// Begins.
    public init() {
        let thread = Thread { [self] in
            while isOver.wait(timeout: .now() + .milliseconds(2)) == .timedOut { look() }
            hasEnded.signal()
        }
        thread.start()
        // After the thread's start: its own stack is no part of what is measured.
        startBytes = probe.bytes()
        look()
    }

    /// What is there now; a look too.
    public func bytes() -> Int? {
        look()
        return probe.bytes()
    }

    /// Take a sample now.
    public func look() {
        guard let now = probe.bytes() else { return }
        lock.withLock { most = max(most, now) }
    }

    /// Above the begin; nil where the system does not say.
    public var peakBytes: Int? {
        startBytes.map { start in lock.withLock { max(0, most - start) } }
    }

    /// Ends the thread. To be called once.
    public func end() {
        look()
        isOver.signal()
        hasEnded.wait()
    }
}
