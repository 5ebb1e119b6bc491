// What we use of Metal, in our own words. Nothing here runs.

/// metal/mtldevice
public protocol MTLDevice {
    var name: String { get }
    /// metal/mtldevice/recommendedmaxworkingsetsize: iOS 16, macOS 10.12
    var recommendedMaxWorkingSetSize: UInt64 { get }
}

/// metal/mtlcreatesystemdefaultdevice()
public func MTLCreateSystemDefaultDevice() -> (any MTLDevice)? { fatalError() }
