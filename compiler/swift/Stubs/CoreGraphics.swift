// What we use of Core Graphics and of the Core Foundation names beside it, in our own words. Nothing here runs.
import Foundation

// Foundation on Apple's systems has these and bridges them; here they are the Swift types themselves.
public typealias CFString = String
public typealias CFURL = URL
public typealias CFDictionary = [AnyHashable: Any]
public typealias CFAllocator = NSObject

/// coregraphics/cgimagealphainfo
public enum CGImageAlphaInfo: UInt32 {
    case none, premultipliedLast, premultipliedFirst, last, first, noneSkipLast, noneSkipFirst, alphaOnly
}

/// coregraphics/cgcolorspacemodel
public enum CGColorSpaceModel: Int32 { case unknown = -1, monochrome, rgb, cmyk, lab, deviceN, indexed, pattern, XYZ }

/// coregraphics/cgcolorspace
public final class CGColorSpace {
    public var model: CGColorSpaceModel { fatalError() }
}

public func CGColorSpaceCreateDeviceRGB() -> CGColorSpace { fatalError() }
public func CGColorSpaceCreateDeviceGray() -> CGColorSpace { fatalError() }

public typealias CFData = Data

/// coregraphics/cgdataprovider
public final class CGDataProvider {
    /// coregraphics/cgdataprovider/init(data:)
    public init?(data: CFData) {}
}

/// coregraphics/cgbitmapinfo
public struct CGBitmapInfo: OptionSet, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
}

/// coregraphics/cgcolorrenderingintent
public enum CGColorRenderingIntent: Int32 { case defaultIntent }

/// coregraphics/cgimage
public final class CGImage {
    /// coregraphics/cgimage/init(width:height:bitspercomponent:bitsperpixel:bytesperrow:space:bitmapinfo:provider:decode:shouldinterpolate:intent:)
    public init?(
        width: Int, height: Int, bitsPerComponent: Int, bitsPerPixel: Int, bytesPerRow: Int, space: CGColorSpace,
        bitmapInfo: CGBitmapInfo, provider: CGDataProvider, decode: UnsafePointer<CGFloat>?,
        shouldInterpolate: Bool, intent: CGColorRenderingIntent
    ) {}
    public var width: Int { fatalError() }
    public var height: Int { fatalError() }
    public var colorSpace: CGColorSpace? { fatalError() }
    /// coregraphics/cgimage/copy(colorspace:)
    public func copy(colorSpace space: CGColorSpace) -> CGImage? { fatalError() }
}

/// coregraphics/cgcontext
public final class CGContext {
    /// coregraphics/cgcontext/init(data:width:height:bitspercomponent:bytesperrow:space:bitmapinfo:)
    public init?(
        data: UnsafeMutableRawPointer?, width: Int, height: Int, bitsPerComponent: Int, bytesPerRow: Int,
        space: CGColorSpace, bitmapInfo: UInt32
    ) {}
    /// coregraphics/cgcontext/draw(_:in:bytiling:)
    public func draw(_ image: CGImage, in rect: CGRect, byTiling: Bool = false) {}
}

/// coregraphics/cgaffinetransform
public struct CGAffineTransform {
    public var a: CGFloat, b: CGFloat, c: CGFloat, d: CGFloat, tx: CGFloat, ty: CGFloat
}
