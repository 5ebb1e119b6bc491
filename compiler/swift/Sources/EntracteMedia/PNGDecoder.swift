import Foundation

/// Reads PNG (ISO/IEC 15948) strictly: every kind of pixels, interlaced or not, checksums checked.
public struct PNGDecoder: PictureDecoder {
    public init() {}

    public var endings: [String] { [".png"] }

    public func pixels(of file: URL) async throws -> Pixels {
        try Self.pixels([UInt8](Data(contentsOf: file)))
    }

    static func pixels(_ file: [UInt8]) throws -> Pixels {
        var parts = try Parts(file)
        let size = parts.header.passes.reduce(0) { $0 + $1.sizeBytes }
        let packed = parts.packed
        parts.packed = []
        let rows = try parts.header.unfiltered(Inflate.zlib(packed, size: size))
        return try parts.pixels(rows)
    }
}

/// What the first chunk says.
private struct Header {
    let width: Int
    let height: Int
    let depth: Int
    let kind: Int
    let isInterlaced: Bool
    let channels: Int

    init(_ data: ArraySlice<UInt8>) throws {
        let bytes = Array(data)
        guard bytes.count == 13, let width = bytes.big(0, 4), let height = bytes.big(4, 4) else {
            throw MediaFault("its header has \(bytes.count) bytes, not 13")
        }
        self.width = Int(width)
        self.height = Int(height)
        try checkPixels(height: self.height, width: self.width)
        depth = Int(bytes[8])
        kind = Int(bytes[9])
        let allowed = [0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16]]
        guard allowed[kind]?.contains(depth) == true, bytes[10] == 0, bytes[11] == 0, bytes[12] < 2 else {
            throw MediaFault("is a PNG of a kind that is not known (\(depth) bits of kind \(kind))")
        }
        isInterlaced = bytes[12] == 1
        channels = [0: 1, 2: 3, 3: 1, 4: 2, 6: 4][kind] ?? 1
    }

    /// The picture, or the seven that it is interlaced of: every `dy`th row from y on.
    struct Pass {
        let y: Int, x: Int, dy: Int, dx: Int
        let rows: Int, columns: Int, rowBytes: Int
        /// With a byte for each row's filter.
        var sizeBytes: Int { rows * (rowBytes + 1) }
    }

    var passes: [Pass] {
        let places = isInterlaced
            ? [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
            : [(0, 0, 1, 1)]
        return places.compactMap { y, x, dy, dx in
            let rows = (height - y + dy - 1) / dy, columns = (width - x + dx - 1) / dx
            guard rows > 0, columns > 0 else { return nil }
            let rowBytes = (columns * channels * depth + 7) / 8
            return Pass(y: y, x: x, dy: dy, dx: dx, rows: rows, columns: columns, rowBytes: rowBytes)
        }
    }

    /// The rows of all passes, one behind the other, their filters undone.
    func unfiltered(_ packed: [UInt8]) throws -> [UInt8] {
        var made = [UInt8](repeating: 0, count: passes.reduce(0) { $0 + $1.rows * $1.rowBytes })
        var from = 0, to = 0
        let step = max(1, channels * depth / 8)
        for pass in passes {
            for row in 0..<pass.rows {
                let filter = packed[from]
                guard filter <= 4 else { throw MediaFault("a row has the filter \(filter)") }
                for k in 0..<pass.rowBytes {
                    let left = k >= step ? made[to + k - step] : 0
                    let up = row > 0 ? made[to + k - pass.rowBytes] : 0
                    let corner = k >= step && row > 0 ? made[to + k - pass.rowBytes - step] : 0
                    let guess = Self.guess(filter, left, up, corner)
                    made[to + k] = packed[from + 1 + k] &+ guess
                }
                from += pass.rowBytes + 1
                to += pass.rowBytes
            }
        }
        return made
    }

    @inline(__always)
    private static func guess(_ filter: UInt8, _ left: UInt8, _ up: UInt8, _ corner: UInt8) -> UInt8 {
        switch filter {
        case 1: return left
        case 2: return up
        case 3: return UInt8((Int(left) + Int(up)) / 2)
        case 4:
            let p = Int(left) + Int(up) - Int(corner)
            let a = abs(p - Int(left)), b = abs(p - Int(up)), c = abs(p - Int(corner))
            return a <= b && a <= c ? left : b <= c ? up : corner
        default: return 0
        }
    }
}

/// The chunks that say what is seen.
private struct Parts {
    let header: Header
    var packed: [UInt8] = []
    /// Three bytes a colour.
    private var palette: [UInt8] = []
    /// Of palettes an alpha a colour; else the colour that is not seen, two bytes a channel.
    private var clear: [UInt8]?
    private var orientation = 1

    init(_ file: [UInt8]) throws {
        guard file.starts(with: [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]) else {
            throw MediaFault("is no PNG; give it as one")
        }
        var at = 8, header: Header?, isEnded = false
        while !isEnded {
            guard let length = file.big(at, 4).map({ Int($0) }), file.count - at - 12 >= length else {
                throw MediaFault("ends in the middle; is it whole?")
            }
            let name = String(decoding: file[at + 4..<at + 8], as: UTF8.self)
            let data = file[at + 8..<at + 8 + length]
            let isOurs = ["IHDR", "PLTE", "IDAT", "IEND", "tRNS", "eXIf"].contains(name)
            if isOurs, file.big(at + 8 + length, 4) != UInt64(crc32(file[at + 4..<at + 8 + length])) {
                throw MediaFault("the checksum of its part \(name) is wrong")
            }
            switch name {
            case "IHDR" where header == nil && at == 8: header = try Header(data)
            case "PLTE": palette = Array(data)
            case "IDAT": packed += data
            case "tRNS": clear = Array(data)
            case "eXIf": orientation = exifOrientation(Array(data))
            case "IEND": isEnded = true
            default:
                // Chunks with a capital may not be skipped.
                guard file[at + 4] & 32 != 0 else { throw MediaFault("has a part \(name) that is not known") }
            }
            at += 12 + length
        }
        guard let header else { throw MediaFault("has no header; is it whole?") }
        self.header = header
    }

    func pixels(_ rows: [UInt8]) throws -> Pixels {
        let h = header
        let isGrey16 = h.kind == 0 && h.depth == 16
        let hasAlpha = h.kind >= 4 || (clear != nil && !isGrey16)
        let layout: Pixels.Layout =
            isGrey16 ? .grey16 : hasAlpha ? .rgba8 : h.kind == 0 ? .grey8 : .rgb8
        if h.kind == 3 { try checkPalette() }
        var made = [UInt8](repeating: 0, count: h.height * h.width * layout.widthBytes)
        var from = 0
        for pass in h.passes {
            for row in 0..<pass.rows {
                for column in 0..<pass.columns {
                    let place = (pass.y + row * pass.dy) * h.width + pass.x + column * pass.dx
                    try put(rows, from, column, layout, &made, place * layout.widthBytes)
                }
                from += pass.rowBytes
            }
        }
        return try Pixels(
            height: h.height, width: h.width, layout: layout, bytes: made, orientation: orientation)
    }

    private func checkPalette() throws {
        guard !palette.isEmpty, palette.count % 3 == 0, palette.count <= 768 else {
            throw MediaFault("its palette has \(palette.count) bytes")
        }
    }

    /// One pixel of the row at `from`, to the place `to`.
    @inline(__always)
    private func put(
        _ rows: [UInt8], _ from: Int, _ column: Int, _ layout: Pixels.Layout, _ made: inout [UInt8], _ to: Int
    ) throws {
        let h = header
        if h.depth < 8 || h.kind == 3 {
            let bit = column * h.depth
            let byte = Int(rows[from + bit / 8])
            let shift: Int = 8 - h.depth - bit % 8
            let mask: Int = (1 << h.depth) - 1
            let raw = (byte >> shift) & mask
            return try putIndexed(raw, layout, &made, to)
        }
        let wide = h.depth / 8
        let at = from + column * h.channels * wide
        if layout == .grey16 {
            made[to] = rows[at + 1]
            made[to + 1] = rows[at]
            return
        }
        let colours = h.kind == 0 || h.kind == 4 ? 1 : 3
        for c in 0..<(layout == .grey8 ? 1 : 3) { made[to + c] = rows[at + (colours == 1 ? 0 : c) * wide] }
        guard layout == .rgba8 else { return }
        if h.kind >= 4 {
            made[to + 3] = rows[at + colours * wide]
        } else {
            made[to + 3] = isClear(rows, at, colours, wide) ? 0 : 255
        }
    }

    /// Whether the colour at a place is the one that is not seen.
    private func isClear(_ rows: [UInt8], _ at: Int, _ colours: Int, _ wide: Int) -> Bool {
        guard let clear, clear.count == 2 * colours else { return false }
        for c in 0..<colours {
            let high = wide == 2 ? rows[at + 2 * c] : 0
            let low = wide == 2 ? rows[at + 2 * c + 1] : rows[at + c]
            if clear[2 * c] != high || clear[2 * c + 1] != low { return false }
        }
        return true
    }

    private func putIndexed(
        _ raw: Int, _ layout: Pixels.Layout, _ made: inout [UInt8], _ to: Int
    ) throws {
        if header.kind == 3 {
            // A colour that the palette does not have is black, as others show it.
            for c in 0..<3 { made[to + c] = 3 * raw + c < palette.count ? palette[3 * raw + c] : 0 }
            if let clear, layout == .rgba8 { made[to + 3] = raw < clear.count ? clear[raw] : 255 }
            return
        }
        let level = UInt8(raw * 255 / ((1 << header.depth) - 1))
        for c in 0..<(layout == .grey8 ? 1 : 3) { made[to + c] = level }
        if layout == .rgba8 { made[to + 3] = clear == [0, UInt8(raw)] ? 0 : 255 }
    }
}

/// Orientation, 1 to 8, in an EXIF block (TIFF 6.0); 1 where it says none.
func exifOrientation(_ block: [UInt8]) -> Int {
    let data = block.starts(with: Array("Exif\0\0".utf8)) ? Array(block.dropFirst(6)) : block
    let isLittle = data.starts(with: [0x49, 0x49, 42, 0])
    guard isLittle || data.starts(with: [0x4D, 0x4D, 0, 42]) else { return 1 }
    func number(_ at: Int, _ count: Int) -> Int? {
        (isLittle ? data.little(at, count) : data.big(at, count)).map { Int($0) }
    }
    guard let start = number(4, 4), let many = number(start, 2) else { return 1 }
    for k in 0..<many {
        let at = start + 2 + 12 * k
        guard let tag = number(at, 2), let value = number(at + 8, 2) else { return 1 }
        if tag == 0x0112 { return (1...8).contains(value) ? value : 1 }
    }
    return 1
}
