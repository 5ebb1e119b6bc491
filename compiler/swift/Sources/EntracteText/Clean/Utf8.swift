/// UTF-8 of bytes that may be something else.
enum Utf8 {
    /// The text of bytes that are UTF-8; nil where any is none of it.
    static func strict(_ bytes: [UInt8]) -> Scalars? {
        var made = Scalars()
        made.reserveCapacity(bytes.count)
        var place = 0
        while place < bytes.count {
            let (code, length) = sequence(bytes, place)
            guard let code else { return nil }
            made.append(code)
            place += length
        }
        return made
    }

    /// The same with U+FFFD for each maximal part of what is none of it.
    static func lossy(_ bytes: [UInt8]) -> Scalars {
        var made = Scalars()
        var place = 0
        while place < bytes.count {
            let (code, length) = sequence(bytes, place)
            made.append(code ?? 0xFFFD)
            place += length
        }
        return made
    }

    /// The character that begins there and its bytes; nil and the bytes of the longest part of one
    /// (at least 1) where there is none. Unicode 15, table 3-7.
    private static func sequence(_ bytes: [UInt8], _ place: Int) -> (UInt32?, Int) {
        let first = bytes[place]
        if first < 0x80 { return (UInt32(first), 1) }
        guard 0xC2...0xF4 ~= first else { return (nil, 1) }
        let more = first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3
        var code = UInt32(first) & (0x3F >> UInt32(more))
        for step in 1...more {
            guard place + step < bytes.count, allowed(first, step).contains(bytes[place + step])
            else { return (nil, step) }
            code = code << 6 | UInt32(bytes[place + step] & 0x3F)
        }
        return (code, more + 1)
    }

    /// The bytes that may follow.
    private static func allowed(_ first: UInt8, _ step: Int) -> ClosedRange<UInt8> {
        guard step == 1 else { return 0x80...0xBF }
        return switch first {
        case 0xE0: 0xA0...0xBF
        case 0xED: 0x80...0x9F
        case 0xF0: 0x90...0xBF
        case 0xF4: 0x80...0x8F
        default: 0x80...0xBF
        }
    }
}
