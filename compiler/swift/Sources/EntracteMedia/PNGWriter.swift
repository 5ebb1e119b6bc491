import EntractePlan

/// A picture of three bytes a pixel as PNG. Rows as they are, in stored blocks, or packed where that is smaller.
/// A comment stands in a `tEXt` chunk before them.
func png(_ pixels: [UInt8], height: Int, width: Int, comment: String = "") -> [UInt8] {
    let rowBytes = 3 * width
    var rows: [UInt8] = []
    rows.reserveCapacity(height * (rowBytes + 1))
    for y in 0..<height {
        // Each as the difference to the pixel on its left: even colours become zeros.
        rows.append(1)
        let from = y * rowBytes
        for k in 0..<rowBytes { rows.append(pixels[from + k] &- (k < 3 ? 0 : pixels[from + k - 3])) }
    }
    var made: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]
    var header: [UInt8] = []
    header.append(big: UInt32(clamping: width))
    header.append(big: UInt32(clamping: height))
    append("IHDR", header + [8, 2, 0, 0, 0], to: &made)
    if !comment.isEmpty { append("tEXt", Array("Comment".utf8) + [0] + Array(comment.utf8), to: &made) }
    append("IDAT", packed(rows), to: &made)
    append("IEND", [], to: &made)
    return made
}

private func append(_ name: String, _ data: [UInt8], to made: inout [UInt8]) {
    made.append(big: UInt32(clamping: data.count))
    let part = Array(name.utf8) + data
    made += part
    made.append(big: crc32(part))
}

/// A zlib stream of runs and letters in the fixed code, or of stored blocks where that is smaller.
func packed(_ bytes: [UInt8]) -> [UInt8] {
    var deflate = Deflate()
    deflate.pack(bytes)
    let storedBytes = bytes.count + 5 * (bytes.count / 65535 + 1)
    var made: [UInt8] = [0x78, 0x01] + (deflate.out.count < storedBytes ? deflate.out : stored(bytes))
    made.append(big: adler32(bytes))
    return made
}

private func stored(_ bytes: [UInt8]) -> [UInt8] {
    var made: [UInt8] = []
    made.reserveCapacity(bytes.count + 5 * (bytes.count / 65535 + 1))
    var at = 0
    repeat {
        let length = min(65535, bytes.count - at)
        made.append(at + length == bytes.count ? 1 : 0)
        made.append(little: UInt16(length))
        made.append(little: ~UInt16(length))
        made += bytes[at..<at + length]
        at += length
    } while at < bytes.count
    return made
}

/// Deflate (RFC 1951) in one block of the fixed code; of matches those with the last place of the same three
/// bytes.
private struct Deflate {
    private(set) var out: [UInt8] = []
    private var bits: UInt64 = 0
    private var bitCount: UInt64 = 0

    mutating func pack(_ bytes: [UInt8]) {
        put(0b011, 3)
        var last = [Int32](repeating: -1, count: 1 << 15)
        var at = 0
        while at < bytes.count {
            let match = found(bytes, at, &last)
            if match.length >= 3 {
                putMatch(match.length, match.distance)
            } else {
                putLetter(Int(bytes[at]))
            }
            at += max(1, match.length)
        }
        putLetter(256)
        put(0, 7)
    }

    private func found(_ bytes: [UInt8], _ at: Int, _ last: inout [Int32]) -> (length: Int, distance: Int) {
        guard at + 2 < bytes.count else { return (0, 0) }
        let three = UInt32(bytes[at]) | UInt32(bytes[at + 1]) << 8 | UInt32(bytes[at + 2]) << 16
        let place = Int((three &* 0x9E37_79B1) >> 17)
        let before = Int(last[place])
        last[place] = Int32(truncatingIfNeeded: at)
        guard before >= 0, at - before <= 32768 else { return (0, 0) }
        var length = 0
        while length < 258, at + length < bytes.count, bytes[before + length] == bytes[at + length] { length += 1 }
        return length >= 3 ? (length, at - before) : (0, 0)
    }

    private mutating func put(_ value: UInt64, _ count: UInt64) {
        bits |= value << bitCount
        bitCount += count
        while bitCount >= 8 {
            out.append(UInt8(truncatingIfNeeded: bits))
            bits >>= 8
            bitCount -= 8
        }
    }

    /// Codes come with their highest bit first.
    private mutating func putCode(_ code: Int, _ count: Int) {
        let reversed = (0..<count).reduce(0) { $0 | (code >> $1 & 1) << (count - 1 - $1) }
        put(UInt64(reversed), UInt64(count))
    }

    private mutating func putLetter(_ letter: Int) {
        switch letter {
        case ..<144: putCode(0x30 + letter, 8)
        case ..<256: putCode(0x190 + letter - 144, 9)
        case ..<280: putCode(letter - 256, 7)
        default: putCode(0xC0 + letter - 280, 8)
        }
    }

    private mutating func putMatch(_ length: Int, _ distance: Int) {
        let (l, lengthBits) = Self.lengths[length]
        putLetter(257 + l)
        put(UInt64(length - Inflate.lengthBase[l]), lengthBits)
        var d = 0
        while d + 1 < Inflate.distanceBase.count, Inflate.distanceBase[d + 1] <= distance { d += 1 }
        putCode(d, 5)
        put(UInt64(distance - Inflate.distanceBase[d]), UInt64(max(0, d / 2 - 1)))
    }

    /// Of each length its symbol, and how many more bits it has.
    private static let lengths: [(Int, UInt64)] = (0...258).map { length in
        let l = Inflate.lengthBase.lastIndex { $0 <= max(3, length) } ?? 0
        return (l, UInt64(Inflate.lengthBits[l]))
    }
}

/// All frames in rows of eight, left to right, with a thin grey border: `frame` gives the pixels of one.
func contactSheet(
    _ count: Int, _ height: Int, _ width: Int, frame: (Int) throws -> [UInt8]
) throws -> (pixels: [UInt8], height: Int, width: Int) {
    let (high, wide) = sheetSides(count, height, width), columns = min(8, count)
    var made = [UInt8](repeating: 128, count: high * wide * 3)
    for i in 0..<count {
        let pixels = try frame(i)
        let top = 2 + (i / columns) * (height + 2), left = 2 + (i % columns) * (width + 2)
        for y in 0..<height {
            let to = ((top + y) * wide + left) * 3, from = y * width * 3
            made.replaceSubrange(to..<to + 3 * width, with: pixels[from..<from + 3 * width])
        }
    }
    return (made, high, wide)
}

func sheetSides(_ count: Int, _ height: Int, _ width: Int) -> (Int, Int) {
    let columns = min(8, max(1, count))
    let rows = (max(1, count) - 1) / columns + 1
    return (plus(times(rows, plus(height, 2)), 2), plus(times(columns, plus(width, 2)), 2))
}
