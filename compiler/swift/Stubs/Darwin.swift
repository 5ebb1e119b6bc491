// What we use of Darwin's C functions and of Dispatch where Linux's lacks it, in our own words. Nothing here runs.
import Dispatch
import Foundation

public func sysctlbyname(
    _ name: UnsafePointer<CChar>!, _ old: UnsafeMutableRawPointer!, _ oldSize: UnsafeMutablePointer<Int>!,
    _ new: UnsafeMutableRawPointer!, _ newSize: Int
) -> Int32 { fatalError() }

/// dispatch/dispatchsource/memorypressureevent
extension DispatchSource {
    public struct MemoryPressureEvent: OptionSet, Sendable {
        public let rawValue: UInt
        public init(rawValue: UInt) { self.rawValue = rawValue }
        public static let normal = MemoryPressureEvent(rawValue: 1)
        public static let warning = MemoryPressureEvent(rawValue: 2)
        public static let critical = MemoryPressureEvent(rawValue: 4)
    }

    /// dispatch/dispatchsource/makememorypressuresource(eventmask:queue:)
    public class func makeMemoryPressureSource(
        eventMask: MemoryPressureEvent, queue: DispatchQueue? = nil
    ) -> any DispatchSourceMemoryPressure { fatalError() }
}

/// dispatch/dispatchsourcememorypressure
public protocol DispatchSourceMemoryPressure: DispatchSourceProtocol {
    var data: DispatchSource.MemoryPressureEvent { get }
}

extension ProcessInfo {
    /// foundation/processinfo/thermalstate-swift.enum
    public enum ThermalState: Int, Sendable { case nominal, fair, serious, critical }
    public var thermalState: ThermalState { fatalError() }
    /// foundation/processinfo/islowpowermodeenabled: iOS 9, macOS 12
    public var isLowPowerModeEnabled: Bool { fatalError() }
}

extension URLResourceValues {
    /// foundation/urlresourcevalues/isexcludedfrombackup
    public var isExcludedFromBackup: Bool? { get { fatalError() } set {} }
}

/// objectivec/autoreleasepool(invoking:)
public func autoreleasepool<R>(invoking body: () throws -> R) rethrows -> R { fatalError() }

extension URL {
    /// foundation/url/startaccessingsecurityscopedresource()
    public func startAccessingSecurityScopedResource() -> Bool { fatalError() }
    public func stopAccessingSecurityScopedResource() {}
}
