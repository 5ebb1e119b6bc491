/// What broken software left in a text, mended: docs/prompts.md, "Mend".
///
/// A Swift text holds no half of UTF-16, so there is none to join.
enum Mend {
    /// Characters that are mended together, where no line ends before.
    private static let most = 1_000_000
    private static let escape = Expression("\u{1B}" + #"\[[\d;]*[a-zA-Z]"#)
    /// Of UTF-8 that was read as something else: controls that nobody types; an accented letter before
    /// a character that hardly ever follows one.
    private static let sign = Expression(
        "[\u{80}-\u{9F}]|[ÂÃÎÐ][^\u{0}-\u{7F}…ŒŽ’¥]"
            + "|[Ä-ÑØÜÝ][ƒˆ˜†‡‰¤¦§¨ª¬¯°±²³µ¶¸¹º¼½¾]"
            + "|[ß-ñ][€¢£¥ŠŒŽŸƒˆ˜†‡‰¤¦¨ª¬¯¸º]|â‚¬")
    private static let ligatures: [UInt32: Scalars] = {
        let codes: [ClosedRange<UInt32>] = [
            0x132...0x133, 0x149...0x149, 0x1C4...0x1CC, 0x1F1...0x1F3, 0xFB00...0xFB06,
        ]
        let pairs = codes.joined().map { ($0, $0 == 0xFB05 ? [0x17F, 0x74] : [$0].compatible()) }
        return Dictionary(uniqueKeysWithValues: pairs)
    }()
    /// Full and half widths as usual ones, by their place behind U+FF01.
    private static let widths: [Scalars] = (UInt32(0xFF01)...0xFFEF).map { [$0].compatible() }
    /// The bytes of Windows-1252's characters above U+009F.
    private static let windowsBytes: [UInt32: UInt8] = {
        let pairs = (UInt32(0x80)...0x9F).compactMap { byte in
            References.windows1252(byte).map { ($0, UInt8(truncatingIfNeeded: byte)) }
        }
        return Dictionary(uniqueKeysWithValues: pairs)
    }()

    /// Every line mended until nothing changes. References are read up to the first line with a `<`.
    static func mend(_ text: Scalars) -> Scalars {
        var made = Scalars()
        made.reserveCapacity(text.count)
        var readsReferences = true
        var begin = 0
        while begin < text.count {
            let limit = min(text.count, begin + most)
            let end = text[begin..<limit].firstIndex(of: 0x0A).map { $0 + 1 } ?? limit
            let line = Scalars(text[begin..<end])
            readsReferences = readsReferences && !line.contains(0x3C)
            made += mended(line, readsReferences)
            begin = end
        }
        return made
    }

    private static func mended(_ given: Scalars, _ readsReferences: Bool) -> Scalars {
        var line = given
        while true {
            let before = line
            if readsReferences { line = references(line) }
            if !line.allSatisfy(isPlain) { line = repaired(line) }
            if line == before { return line }
        }
    }

    /// Printable ASCII and line feeds: nothing but references to mend.
    private static func isPlain(_ code: UInt32) -> Bool {
        0x20...0x7E ~= code || code == 0x0A || code == 0x09
    }

    private static func repaired(_ given: Scalars) -> Scalars {
        var line = reread(given)
        line = replaced(line)
        line = lineBreaks(line)
        line = escape.replacing(in: line, with: [])
        line.removeAll(where: isGone)
        return line.composed()
    }

    /// References that end in `;`.
    private static func references(_ line: Scalars) -> Scalars {
        guard line.contains(0x26), line.contains(0x3B) else { return line }
        var made = Scalars()
        made.reserveCapacity(line.count)
        var place = 0
        while place < line.count {
            let code = line[place]
            guard code == 0x26, let end = referenceEnd(line, place) else {
                made.append(code)
                place += 1
                continue
            }
            made += read(line, place, end)
            place = end
        }
        return made
    }

    /// Of `&#?[0-9A-Za-z]{1,24};` at a place.
    private static func referenceEnd(_ line: Scalars, _ place: Int) -> Int? {
        let first = place + 1 < line.count && line[place + 1] == 0x23 ? place + 2 : place + 1
        var end = first
        while end < line.count, end - first < 24,
            Kinds.isAsciiDigit(line[end]) || Kinds.isAsciiLetter(line[end])
        {
            end += 1
        }
        return end > first && end < line.count && line[end] == 0x3B ? end + 1 : nil
    }

    /// By its number, by its name, or by its name all in capitals; else as it stands.
    private static func read(_ line: Scalars, _ place: Int, _ end: Int) -> Scalars {
        let spelled = line[place..<end]
        let name = line[(place + 1)..<end]
        if let characters = References.named(name) { return characters }
        let whole = References.read(Scalars(spelled))
        if name.first == 0x23 { return whole.contains(0x3B) ? Scalars(spelled) : whole }
        let hasSmall = name.contains { 0x61...0x7A ~= $0 }
        if !hasSmall, let characters = References.named(Scalars(name).lowered()),
            whole.elementsEqual(spelled)
        {
            return characters.uppered()
        }
        return Scalars(spelled)
    }

    /// The line, read as UTF-8 as long as it can have been misread.
    private static func reread(_ given: Scalars) -> Scalars {
        var line = given
        while line.contains(where: { $0 >= 0x80 }), sign.isFound(in: line), let found = asUtf8(line) {
            line = found
        }
        return line
    }

    private static func asUtf8(_ line: Scalars) -> Scalars? {
        if let bytes = bytes(line, { $0 < 0x100 ? UInt8(truncatingIfNeeded: $0) : nil }),
            let text = strict(bytes)
        {
            return text
        }
        return bytes(line, windowsByte).flatMap(strict)
    }

    /// Nil where any of the bytes is no UTF-8.
    private static func strict(_ bytes: [UInt8]) -> Scalars? {
        UTF8Text.isValid(bytes) ? UTF8Text.scalars(bytes) : nil
    }

    private static func bytes(_ line: Scalars, _ byte: (UInt32) -> UInt8?) -> [UInt8]? {
        var made: [UInt8] = []
        made.reserveCapacity(line.count)
        for code in line {
            guard let byte = byte(code) else { return nil }
            made.append(byte)
        }
        return made
    }

    /// Windows-1252's byte of a character; a byte that has none is the control of its number.
    private static func windowsByte(_ code: UInt32) -> UInt8? {
        if code < 0x80 || 0xA0...0xFF ~= code { return UInt8(truncatingIfNeeded: code) }
        if 0x80...0x9F ~= code {
            return References.windows1252(code) == nil ? UInt8(truncatingIfNeeded: code) : nil
        }
        return windowsBytes[code]
    }

    /// Controls as Windows-1252's characters, then ligatures, widths and quotes, one after the other.
    private static func replaced(_ line: Scalars) -> Scalars {
        line.flatMap { code -> Scalars in
            let one = References.windows1252(code) ?? code
            if one < 0x132 { return [one] }
            let letters = ligatures[one] ?? [one]
            return letters.flatMap(narrow).map(quote)
        }
    }

    private static func narrow(_ code: UInt32) -> Scalars {
        if code == 0x3000 { return [0x20] }
        return 0xFF01...0xFFEF ~= code ? widths[Int(code - 0xFF01)] : [code]
    }

    private static func quote(_ code: UInt32) -> UInt32 {
        switch code {
        case 0x2BC, 0x2018...0x201B: 0x27
        case 0x201C...0x201F: 0x22
        default: code
        }
    }

    private static func lineBreaks(_ line: Scalars) -> Scalars {
        var made = Scalars()
        made.reserveCapacity(line.count)
        for (place, code) in line.enumerated() {
            switch code {
            case 0x0A where place > 0 && line[place - 1] == 0x0D: continue
            case 0x0D, 0x2028, 0x2029, 0x85: made.append(0x0A)
            default: made.append(code)
            }
        }
        return made
    }

    private static func isGone(_ code: UInt32) -> Bool {
        switch code {
        case 0x00...0x08, 0x0B, 0x0E...0x1F, 0x7F, 0x206A...0x206F, 0xFEFF, 0xFFF9...0xFFFC: true
        default: false
        }
    }
}
