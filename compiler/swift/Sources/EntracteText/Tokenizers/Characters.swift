/// Classes of characters, as the library's parts know them.
///
/// General categories and White_Space are of Unicode 14.0 or later; characters assigned later are the
/// only ones in which two systems may differ. What the library has of older tables is in
/// `CharacterTables`.
enum Characters {
    @inline(__always)
    static func isWhiteSpace(_ c: UInt32) -> Bool {
        if c < 0x80 { return c == 32 || (c >= 9 && c <= 13) }
        switch c {
        case 0x85, 0xA0, 0x1680, 0x2000 ... 0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000: return true
        default: return false
        }
    }

    /// Categories as a bit each: `1 << category(c)`.
    enum Category: Int {
        case lu, ll, lt, lm, lo, mn, mc, me, nd, nl, no
        case pc, pd, ps, pe, pi, pf, po, sm, sc, sk, so, zs, zl, zp, cc, cf, cs, co, cn
    }

    static let letters: UInt32 = 0x1F
    static let marks: UInt32 = 0x7 << 5
    static let numbers: UInt32 = 0x7 << 8
    static let decimals: UInt32 = 1 << 8

    /// The bit of a character's category; 0 of what is no character.
    static func categoryBit(_ c: UInt32) -> UInt32 {
        guard let scalar = Unicode.Scalar(c) else { return 0 }
        return 1 << UInt32(category(scalar.properties.generalCategory).rawValue)
    }

    private static func category(_ category: Unicode.GeneralCategory) -> Category {
        switch category {
        case .uppercaseLetter: .lu
        case .lowercaseLetter: .ll
        case .titlecaseLetter: .lt
        case .modifierLetter: .lm
        case .otherLetter: .lo
        case .nonspacingMark: .mn
        case .spacingMark: .mc
        case .enclosingMark: .me
        case .decimalNumber: .nd
        case .letterNumber: .nl
        case .otherNumber: .no
        case .connectorPunctuation: .pc
        case .dashPunctuation: .pd
        case .openPunctuation: .ps
        case .closePunctuation: .pe
        case .initialPunctuation: .pi
        case .finalPunctuation: .pf
        case .otherPunctuation: .po
        case .mathSymbol: .sm
        case .currencySymbol: .sc
        case .modifierSymbol: .sk
        case .otherSymbol: .so
        case .spaceSeparator: .zs
        case .lineSeparator: .zl
        case .paragraphSeparator: .zp
        case .control: .cc
        case .format: .cf
        case .surrogate: .cs
        case .privateUse: .co
        case .unassigned: .cn
        @unknown default: .cn
        }
    }

    static func isNumeric(_ c: UInt32) -> Bool {
        c < 0x80 ? c >= 48 && c <= 57 : categoryBit(c) & numbers != 0
    }

    /// `\w` of Rust's regex crate: Alphabetic, marks, decimal digits, connectors, joiners.
    static func isWord(_ c: UInt32) -> Bool {
        if c == 0x200C || c == 0x200D { return true }
        return isAlphabeticOrMore(c)
    }

    /// `\w` of Oniguruma, which has no joiners and some numbers of Latin-1.
    static func isWordOfOniguruma(_ c: UInt32) -> Bool {
        switch c {
        case 0xB2, 0xB3, 0xB9, 0xBC ... 0xBE: true
        default: isAlphabeticOrMore(c)
        }
    }

    private static func isAlphabeticOrMore(_ c: UInt32) -> Bool {
        if c < 0x80 {
            return (c | 32 >= 97 && c | 32 <= 122) || (c >= 48 && c <= 57) || c == 95
        }
        guard let scalar = Unicode.Scalar(c) else { return false }
        return scalar.properties.isAlphabetic
            || categoryBit(c) & (marks | decimals | 1 << UInt32(Category.pc.rawValue)) != 0
    }

    /// Small letters, one by one: no final sigma.
    static func appendLowercase(_ c: UInt32, to made: inout [UInt32]) {
        if c < 0x80 {
            made.append(c >= 65 && c <= 90 ? c + 32 : c)
        } else if let scalar = Unicode.Scalar(c) {
            made += scalar.properties.lowercaseMapping.unicodeScalars.lazy.map(\.value)
        }
    }

    static func isChinese(_ c: UInt32) -> Bool {
        switch c {
        case 0x4E00 ... 0x9FFF, 0x3400 ... 0x4DBF, 0x20000 ... 0x2A6DF, 0x2A700 ... 0x2B73F,
            0x2B740 ... 0x2B81F, 0x2B920 ... 0x2CEAF, 0xF900 ... 0xFAFF, 0x2F800 ... 0x2FA1F:
            true
        default: false
        }
    }

    static let combiningMark = Runs(CharacterTables.combiningMark)
    static let bertMark = Runs(CharacterTables.bertMark)
    static let bertOther = Runs(CharacterTables.bertOther)
    static let punctuation = Runs(CharacterTables.punctuation)
}

/// Code points, in runs.
struct Runs: Sendable {
    private let firsts: [UInt32]
    private let lasts: [UInt32]

    /// As `CharacterTables` spells them.
    init(_ spelled: String) {
        var firsts: [UInt32] = []
        var lasts: [UInt32] = []
        var at: UInt32 = 0
        for word in spelled.utf8.split(whereSeparator: { $0 == 32 || $0 == 10 }) {
            let parts = word.split(separator: UInt8(ascii: "+"))
            let first = at &+ Runs.hexadecimal(parts.first)
            let count = parts.count > 1 ? Runs.hexadecimal(parts[1]) : 1
            firsts.append(first)
            lasts.append(first &+ count &- 1)
            at = first &+ count
        }
        self.firsts = firsts
        self.lasts = lasts
    }

    static func hexadecimal(_ word: Substring.UTF8View?) -> UInt32 {
        guard let word else { return 0 }
        var value: UInt32 = 0
        for c in word { value = value << 4 | UInt32(c <= 57 ? c &- 48 : c &- 87) }
        return value
    }

    func contains(_ c: UInt32) -> Bool {
        var low = 0
        var high = firsts.count
        while low < high {
            let middle = (low + high) / 2
            if firsts[middle] <= c { low = middle + 1 } else { high = middle }
        }
        return low > 0 && c <= lasts[low - 1]
    }
}
