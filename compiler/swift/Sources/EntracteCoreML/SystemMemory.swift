#if canImport(CoreML)
import Darwin
import EntracteRuntime
import Foundation
import Metal
import os

/// What the system says of this process's memory.
public enum SystemMemory {
    /// All three figures, now.
    public static func reading() -> MemoryReading {
        MemoryReading(
            footprintBytes: footprintBytes(), availableBytes: availableBytes(), workingSetBytes: workingSetBytes())
    }

    /// `phys_footprint`: what counts against the process's limit.
    @Sendable public static func footprintBytes() -> Int? { ProcessMemory().bytes() }

    /// What is left of the process's limit; nil on macOS, which has none, and in the simulator.
    public static func availableBytes() -> Int? {
        #if os(macOS)
        return nil
        #else
        let bytes = os_proc_available_memory()
        return bytes > 0 ? Int(bytes) : nil
        #endif
    }

    /// What the GPU recommends to have in use at once; nil where there is none.
    public static func workingSetBytes() -> Int? {
        MTLCreateSystemDefaultDevice().map { Int(clamping: $0.recommendedMaxWorkingSetSize) }
    }
}

/// The system as a cache of compiled packages needs it.
extension SystemIdentity {
    public static func current() -> SystemIdentity {
        #if os(macOS)
        let model = "hw.model"
        #else
        let model = "hw.machine"
        #endif
        return SystemIdentity(os: value(of: "kern.osversion"), device: value(of: model))
    }

    private static func value(of name: String) -> String {
        var size = 0
        guard sysctlbyname(name, nil, &size, nil, 0) == 0, size > 0 else { return "unknown" }
        var text = [UInt8](repeating: 0, count: size)
        guard sysctlbyname(name, &text, &size, nil, 0) == 0 else { return "unknown" }
        return String(decoding: text.prefix { $0 != 0 }, as: UTF8.self)
    }
}
#endif
