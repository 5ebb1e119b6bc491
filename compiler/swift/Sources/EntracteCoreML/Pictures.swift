#if canImport(ImageIO)
import CoreGraphics
import EntracteMedia
import Foundation
import ImageIO

/// Reads pictures with the system's decoders, in 8 bits; colours as they are stored, over black where they
/// are translucent.
public struct SystemPictures: PictureDecoder {
    public init() {}

    public var endings: [String] {
        [".jpg", ".jpeg", ".heic", ".heif", ".webp", ".tif", ".tiff", ".gif", ".bmp"]
    }

    public func pixels(of file: URL) async throws -> Pixels {
        guard let source = CGImageSourceCreateWithURL(file as CFURL, nil) else {
            throw MediaFault("is no picture that the system knows")
        }
        let facts = Facts(CGImageSourceCopyPropertiesAtIndex(source, 0, nil))
        // The size that the file claims, before anything of that size is made.
        try checkPixels(height: facts.height, width: facts.width)
        guard let image = CGImageSourceCreateImageAtIndex(source, 0, nil) else {
            throw MediaFault("cannot be read by the system")
        }
        try checkPixels(height: image.height, width: image.width)
        return try image.colorSpace?.model == .monochrome
            ? Self.grey(image, facts.orientation) : Self.colours(image, facts.orientation)
    }

    /// What the file says of its picture.
    private struct Facts {
        let height: Int
        let width: Int
        let orientation: Int

        init(_ found: CFDictionary?) {
            let found = found as? [String: Any] ?? [:]
            func number(_ key: CFString) -> Int? { (found[key as String] as? NSNumber)?.intValue }
            height = number(kCGImagePropertyPixelHeight) ?? 0
            width = number(kCGImagePropertyPixelWidth) ?? 0
            orientation = number(kCGImagePropertyOrientation) ?? 1
        }
    }

    private static func grey(_ image: CGImage, _ orientation: Int) throws -> Pixels {
        let space = CGColorSpaceCreateDeviceGray()
        let bytes = try drawn(image.copy(colorSpace: space) ?? image, space, 1, .none)
        return try Pixels(
            height: image.height, width: image.width, layout: .grey8, bytes: bytes, orientation: orientation)
    }

    private static func colours(_ image: CGImage, _ orientation: Int) throws -> Pixels {
        let space = CGColorSpaceCreateDeviceRGB()
        // With the space that it is drawn in, its numbers stay as they are; other models are converted.
        let same = image.colorSpace?.model == .rgb ? image.copy(colorSpace: space) : nil
        let bytes = try drawn(same ?? image, space, 4, .noneSkipLast)
        let colours = bytes.withUnsafeBytes { rows in
            rows.baseAddress.map {
                PixelRows.takeRGBA($0, height: image.height, width: image.width, rowBytes: 4 * image.width)
            }
        }
        return try Pixels(
            height: image.height, width: image.width, layout: .rgb8, bytes: colours ?? [], orientation: orientation)
    }

    /// The picture over black, in rows without gaps.
    private static func drawn(
        _ image: CGImage, _ space: CGColorSpace, _ widthBytes: Int, _ alpha: CGImageAlphaInfo
    ) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: image.height * image.width * widthBytes)
        let isDrawn = bytes.withUnsafeMutableBytes {
            guard let canvas = CGContext(
                data: $0.baseAddress, width: image.width, height: image.height, bitsPerComponent: 8,
                bytesPerRow: image.width * widthBytes, space: space, bitmapInfo: alpha.rawValue)
            else { return false }
            canvas.draw(image, in: CGRect(x: 0, y: 0, width: image.width, height: image.height))
            return true
        }
        guard isDrawn else { throw MediaFault("cannot be drawn by the system") }
        return bytes
    }
}

extension Preview {
    /// For a screen; nil where the system has no memory for it.
    public var image: CGImage? {
        guard let provider = CGDataProvider(data: Data(rgb) as CFData) else { return nil }
        return CGImage(
            width: width, height: height, bitsPerComponent: 8, bitsPerPixel: 24, bytesPerRow: 3 * width,
            space: CGColorSpaceCreateDeviceRGB(),
            bitmapInfo: CGBitmapInfo(rawValue: CGImageAlphaInfo.none.rawValue), provider: provider, decode: nil,
            shouldInterpolate: true, intent: .defaultIntent)
    }
}
#endif
