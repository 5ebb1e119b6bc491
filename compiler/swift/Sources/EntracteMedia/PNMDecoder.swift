import Foundation

/// Reads binary PGM and PPM (Netpbm's P5 and P6) of 8 and 16 bits.
public struct PNMDecoder: PictureDecoder {
    public init() {}

    public var endings: [String] { [".pgm", ".ppm"] }

    public func pixels(of file: URL) async throws -> Pixels {
        try Self.pixels([UInt8](Data(contentsOf: file)))
    }

    static func pixels(_ file: [UInt8]) throws -> Pixels {
        guard file.count > 2, file[0] == 0x50, file[1] == 0x35 || file[1] == 0x36 else {
            throw MediaFault("is no binary PGM or PPM; give it as one, or as .png")
        }
        var at = 2
        let width = try number(file, &at), height = try number(file, &at), most = try number(file, &at)
        try checkPixels(height: height, width: width)
        guard most == 255 || most == 65535 else {
            throw MediaFault("its white is \(most); give one of 255 or 65535")
        }
        let channels = file[1] == 0x36 ? 3 : 1, wide = most == 255 ? 1 : 2
        let count = height * width * channels
        at += 1
        guard file.count - at >= count * wide else {
            throw MediaFault("ends after \(max(0, file.count - at)) of \(count * wide) bytes")
        }
        if wide == 1 {
            let bytes = Array(file[at..<at + count])
            return try Pixels(
                height: height, width: width, layout: channels == 3 ? .rgb8 : .grey8, bytes: bytes)
        }
        if channels == 3 {
            let upper = (0..<count).map { file[at + 2 * $0] }
            return try Pixels(height: height, width: width, layout: .rgb8, bytes: upper)
        }
        let swapped = (0..<2 * count).map { file[at + ($0 ^ 1)] }
        return try Pixels(height: height, width: width, layout: .grey16, bytes: swapped)
    }

    /// The next whole number, behind white space and comments.
    private static func number(_ file: [UInt8], _ at: inout Int) throws -> Int {
        while at < file.count, [9, 10, 11, 12, 13, 32, 0x23].contains(file[at]) {
            if file[at] == 0x23 { while at < file.count, file[at] != 10 { at += 1 } } else { at += 1 }
        }
        var value = 0
        let begin = at
        while at < file.count, (0x30...0x39).contains(file[at]), at - begin < 10 {
            value = value * 10 + Int(file[at] - 0x30)
            at += 1
        }
        guard at > begin else { throw MediaFault("its header is damaged") }
        return value
    }
}
