// Checksums of PNG, zlib and zip.

/// CRC-32 (ISO 3309), as PNG and zip have it. `before`: that of the bytes before.
func crc32(_ bytes: some Sequence<UInt8>, before: UInt32 = 0) -> UInt32 {
    var value = ~before
    for byte in bytes { value = crcTable[Int((value ^ UInt32(byte)) & 255)] ^ (value >> 8) }
    return ~value
}

private let crcTable: [UInt32] = (0..<256).map { k in
    (0..<8).reduce(UInt32(k)) { value, _ in value & 1 == 1 ? 0xEDB8_8320 ^ (value >> 1) : value >> 1 }
}

/// Adler-32 (RFC 1950).
func adler32(_ bytes: some Collection<UInt8>) -> UInt32 {
    var a: UInt32 = 1, b: UInt32 = 0
    for byte in bytes {
        a += UInt32(byte)
        if a >= 65521 { a -= 65521 }
        b += a
        if b >= 65521 { b -= 65521 }
    }
    return b << 16 | a
}

extension [UInt8] {
    /// Whole numbers, the lowest byte first.
    mutating func append<T: FixedWidthInteger>(little value: T) {
        Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
    }

    /// Whole numbers, the highest byte first.
    mutating func append<T: FixedWidthInteger>(big value: T) {
        Swift.withUnsafeBytes(of: value.bigEndian) { append(contentsOf: $0) }
    }

    /// `count` bytes at a place, the lowest first; nil where they are not there. At most 8.
    func little(_ at: Int, _ count: Int) -> UInt64? {
        guard at >= 0, count <= self.count, at <= self.count - count else { return nil }
        return (0..<count).reduce(0) { $0 | UInt64(self[at + $1]) << UInt64(8 * $1) }
    }

    /// The same, the highest first.
    func big(_ at: Int, _ count: Int) -> UInt64? {
        guard at >= 0, count <= self.count, at <= self.count - count else { return nil }
        return (0..<count).reduce(0) { $0 << 8 | UInt64(self[at + $1]) }
    }
}
