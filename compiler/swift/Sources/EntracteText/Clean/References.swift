/// HTML's character references: `&amp;`, `&#38;`, `&#x26;`. Names by the table of the HTML standard.
enum References {
    /// Spelled without `&`, with the `;` if it has one, as an identifier of ASCII: its characters.
    private static let names: [String: Scalars] = {
        var made: [String: Scalars] = [:]
        for entry in referenceTable.utf8.split(whereSeparator: { $0 == 0x20 || $0 == 0x0A }) {
            let isBare = entry.first == UInt8(ascii: "!")
            let parts = entry.dropFirst(isBare ? 1 : 0).split(separator: UInt8(ascii: ":"))
            guard parts.count == 2 else { continue }
            let name = String(decoding: parts[0], as: UTF8.self)
            let codes = parts[1].split(separator: UInt8(ascii: "+")).compactMap {
                UInt32(String(decoding: $0, as: UTF8.self), radix: 16)
            }
            made[name + ";"] = codes
            if isBare { made[name] = codes }
        }
        return made
    }()
    private static let longestName = 32
    /// U+0080 to U+009F as Windows-1252's bytes; 0 where it has no character.
    private static let windows: [UInt32] = [
        0x20AC, 0, 0x201A, 0x192, 0x201E, 0x2026, 0x2020, 0x2021, 0x2C6, 0x2030, 0x160, 0x2039, 0x152,
        0, 0x17D, 0, 0, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014, 0x2DC, 0x2122, 0x161,
        0x203A, 0x153, 0, 0x17E, 0x178,
    ]

    /// The characters of a name, which has its `;` or none.
    static func named(_ name: some Collection<UInt32>) -> Scalars? {
        guard name.count <= longestName, name.allSatisfy({ $0 < 0x80 }) else { return nil }
        return names[String(decoding: name.map { UInt8(truncatingIfNeeded: $0) }, as: UTF8.self)]
    }

    /// Windows-1252's character of a byte from 80 to 9F; nil where it has none, and of other numbers.
    static func windows1252(_ code: UInt32) -> UInt32? {
        guard 0x80...0x9F ~= code, windows[Int(code - 0x80)] != 0 else { return nil }
        return windows[Int(code - 0x80)]
    }

    /// Digits as a number; what is above U+10FFFF is 110000 (hexadecimal).
    static func value(_ digits: some Sequence<UInt32>, radix: UInt32) -> UInt32 {
        digits.reduce(0) { made, digit in
            min(made * radix + (Kinds.hexValue(digit) ?? 0), 0x110000)
        }
    }

    /// Each reference of a text, read once from left to right.
    static func read(_ text: Scalars) -> Scalars {
        guard let first = text.firstIndex(of: 0x26) else { return text }
        var made = Scalars(text[..<first])
        var place = first
        while place < text.count {
            guard text[place] == 0x26, let (characters, end) = reference(text, place) else {
                made.append(text[place])
                place += 1
                continue
            }
            made += characters
            place = end
        }
        return made
    }

    /// What the reference at an `&` becomes, and its end; nil where none begins.
    static func reference(_ text: Scalars, _ place: Int) -> (Scalars, Int)? {
        if place + 1 < text.count, text[place + 1] == 0x23 { return number(text, place + 2) }
        var end = place + 1
        while end < text.count, end - place <= longestName, !endsName(text[end]) { end += 1 }
        guard end > place + 1 else { return nil }
        if end < text.count, text[end] == 0x3B { end += 1 }
        return (name(text[(place + 1)..<end]), end)
    }

    private static func endsName(_ code: UInt32) -> Bool {
        switch code {
        case 0x09, 0x0A, 0x0C, 0x20, 0x23, 0x26, 0x3B, 0x3C: true
        default: false
        }
    }

    /// By its name, else its longest beginning of two characters at least that is one.
    private static func name(_ spelled: ArraySlice<UInt32>) -> Scalars {
        if let whole = named(spelled) { return whole }
        for count in stride(from: spelled.count - 1, to: 1, by: -1) {
            if let part = named(spelled.prefix(count)) { return part + spelled.dropFirst(count) }
        }
        return [0x26] + spelled
    }

    private static func number(_ text: Scalars, _ begin: Int) -> (Scalars, Int)? {
        let isHex = begin < text.count && (text[begin] | 0x20) == 0x78
        let first = isHex ? begin + 1 : begin
        var end = first
        while end < text.count, isHex ? Kinds.hexValue(text[end]) != nil : Kinds.isAsciiDigit(text[end]) {
            end += 1
        }
        guard end > first else { return nil }
        let code = value(text[first..<end], radix: isHex ? 16 : 10)
        let hasEnd = end < text.count && text[end] == 0x3B
        return (character(code), hasEnd ? end + 1 : end)
    }

    private static func character(_ code: UInt32) -> Scalars {
        switch code {
        case 0, 0xD800...0xDFFF, 0x110000...: return [0xFFFD]
        case 0x0D: return [0x0D]
        case 0x80...0x9F: return [windows1252(code) ?? code]
        case 0x01...0x08, 0x0B, 0x0E...0x1F, 0x7F, 0xFDD0...0xFDEF: return []
        default: return code & 0xFFFE == 0xFFFE ? [] : [code]
        }
    }
}
