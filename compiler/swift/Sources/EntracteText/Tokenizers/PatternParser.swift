/// Reads patterns.
struct PatternParser {
    private let text: [UInt32]
    private var at = 0
    private var depth = 0
    private var ignoresCase = false
    private static let deepest = 40

    init(_ text: String) { self.text = text.unicodeScalars.map(\.value) }

    mutating func whole() throws -> PatternTree {
        let tree = try alternatives()
        guard at == text.count else { throw fault("`)` without its `(`") }
        return tree
    }

    private var next: UInt32? { at < text.count ? text[at] : nil }

    private func isHere(_ word: StaticString) -> Bool {
        let bytes = UnsafeBufferPointer(start: word.utf8Start, count: word.utf8CodeUnitCount)
        return at + bytes.count <= text.count && zip(text[at...], bytes).allSatisfy { $0 == UInt32($1) }
    }

    private mutating func pass(_ word: StaticString) -> Bool {
        guard isHere(word) else { return false }
        at += word.utf8CodeUnitCount
        return true
    }

    private func fault(_ what: String) -> PatternFault {
        PatternFault(
            "\(what) (at its character \(at + 1))",
            "alternatives, (?:...), (?i:...) of ASCII letters, (?=...), (?!...), classes, \\p{...}, "
                + "* + ? {n,m}, ^ $ \\A \\z")
    }

    private mutating func alternatives() throws -> PatternTree {
        depth += 1
        guard depth <= Self.deepest else { throw fault("groups nested too deeply") }
        defer { depth -= 1 }
        var parts = [try sequence()]
        while pass("|") { parts.append(try sequence()) }
        return parts.count == 1 ? parts[0] : .any(parts)
    }

    private mutating func sequence() throws -> PatternTree {
        var parts: [PatternTree] = []
        var letters: [UInt32] = []
        while let c = next, c != UInt32(ascii: "|"), c != UInt32(ascii: ")") {
            let start = at
            let part = try repeated(try atom())
            parts.append(part)
            letters.append(at == start + 1 ? c | 32 : 0)
        }
        if ignoresCase { try checkFolds(letters) }
        return .all(parts)
    }

    /// Two letters that some other character stands for when case is ignored.
    private func checkFolds(_ letters: [UInt32]) throws {
        let folded: [[UInt8]] = ["ss", "ff", "fi", "fl", "st"].map { Array($0.utf8) }
        for (a, b) in zip(letters, letters.dropFirst()) where a < 128 && b < 128 {
            let pair = [UInt8(a), UInt8(b)]
            guard !folded.contains(pair) else {
                throw fault("`\(String(decoding: pair, as: UTF8.self))` where case is ignored")
            }
        }
    }

    private mutating func atom() throws -> PatternTree {
        guard let c = next else { throw fault("an end where something belongs") }
        switch c {
        case UInt32(ascii: "("): return try group()
        case UInt32(ascii: "["): return .one(try set())
        case UInt32(ascii: "\\"): return try escape()
        case UInt32(ascii: "."):
            at += 1
            return .one(.notNewline)
        case UInt32(ascii: "^"):
            at += 1
            return .anchor(.lineBegin)
        case UInt32(ascii: "$"):
            at += 1
            return .anchor(.lineEnd)
        case UInt32(ascii: "*"), UInt32(ascii: "+"), UInt32(ascii: "?"):
            throw fault("a repetition of nothing")
        default:
            at += 1
            return .one(try literal(c))
        }
    }

    private func literal(_ c: UInt32) throws -> Taken {
        var set = Taken(c)
        if ignoresCase { try Self.addOtherCase(c ... c, to: &set, self) }
        return set
    }

    /// Of ASCII letters the other case, and the two characters that fold to one of them.
    private static func addOtherCase(
        _ range: ClosedRange<UInt32>, to set: inout Taken, _ parser: PatternParser
    ) throws {
        guard range.upperBound < 128 else {
            throw parser.fault("a character beyond ASCII where case is ignored")
        }
        for c in range where (c | 32) >= 97 && (c | 32) <= 122 {
            set.add(c ^ 32 ... c ^ 32)
            if c | 32 == UInt32(ascii: "s") { set.add(0x17F ... 0x17F) }
            if c | 32 == UInt32(ascii: "k") { set.add(0x212A ... 0x212A) }
        }
    }

    private mutating func group() throws -> PatternTree {
        at += 1
        let before = ignoresCase
        defer { ignoresCase = before }
        var looks: Bool?
        if pass("?=") {
            looks = true
        } else if pass("?!") {
            looks = false
        } else if pass("?i:") {
            ignoresCase = true
        } else if !pass("?:"), isHere("?") {
            throw fault("a kind of group that is not known")
        }
        let inside = try alternatives()
        guard pass(")") else { throw fault("`(` without its `)`") }
        return looks.map { .look(inside, wanted: $0) } ?? inside
    }

    // MARK: repetitions

    private mutating func repeated(_ part: PatternTree) throws -> PatternTree {
        var bounds: (Int, Int)?
        var counted = false
        switch next {
        case UInt32(ascii: "*"): bounds = (0, .max)
        case UInt32(ascii: "+"): bounds = (1, .max)
        case UInt32(ascii: "?"): bounds = (0, 1)
        case UInt32(ascii: "{"):
            bounds = try counts()
            counted = true
        default: return part
        }
        guard let (least, most) = bounds else { return part }
        if !counted { at += 1 }
        switch part {
        case .look, .anchor: throw fault("a repetition of what takes no character")
        default: break
        }
        var manner = PatternTree.Manner.greedy
        if isHere("+") || isHere("?") || isHere("*") {
            guard !counted, !isHere("*") else { throw fault("a repetition of a repetition") }
            manner = isHere("+") ? .possessive : .reluctant
            at += 1
        }
        guard !isHere("+"), !isHere("?"), !isHere("*"), !isHere("{") else {
            throw fault("a repetition of a repetition")
        }
        return .times(part, least: least, most: most, manner)
    }

    /// `{n}`, `{n,}`, `{n,m}`.
    private mutating func counts() throws -> (Int, Int) {
        at += 1
        guard let least = number() else { throw fault("`{` without a number behind it") }
        var most = least
        if pass(",") { most = isHere("}") ? .max : number() ?? -1 }
        guard pass("}"), most >= least, least <= 1000, most == .max || most <= 1000 else {
            throw fault("a count that is none up to 1000")
        }
        return (least, most)
    }

    private mutating func number() -> Int? {
        var value: Int?
        while let c = next, c >= 48, c <= 57 {
            value = min((value ?? 0) * 10 + Int(c - 48), 100_000)
            at += 1
        }
        return value
    }

    // MARK: classes

    private mutating func escape() throws -> PatternTree {
        at += 1
        guard let c = next else { throw fault("a backslash at the end") }
        switch c {
        case UInt32(ascii: "A"):
            at += 1
            return .anchor(.textBegin)
        case UInt32(ascii: "z"):
            at += 1
            return .anchor(.textEnd)
        case UInt32(ascii: "Z"):
            at += 1
            return .anchor(.textEndOrNewline)
        default: break
        }
        var set = Taken()
        if try addClass(to: &set) { return .one(set) }
        return .one(try literal(try escaped()))
    }

    /// Adds `\s`, `\p{L}` and their like; false where it is none of them.
    private mutating func addClass(to set: inout Taken) throws -> Bool {
        guard let c = next else { return false }
        switch c {
        case UInt32(ascii: "s"), UInt32(ascii: "S"): set.addSpaces(turned: c < 97)
        case UInt32(ascii: "w"), UInt32(ascii: "W"): set.addWords(turned: c < 97)
        case UInt32(ascii: "d"), UInt32(ascii: "D"):
            set.add(categories: Characters.decimals, turned: c < 97)
        case UInt32(ascii: "p"), UInt32(ascii: "P"):
            try addProperty(to: &set, turned: c < 97)
            return true
        default: return false
        }
        if ignoresCase { throw fault("a class where case is ignored") }
        at += 1
        return true
    }

    private mutating func addProperty(to set: inout Taken, turned: Bool) throws {
        if ignoresCase { throw fault("a class where case is ignored") }
        at += 1
        guard pass("{") else { throw fault("`\\p` without its `{`") }
        let other = pass("^")
        var name = ""
        while let c = next, c != UInt32(ascii: "}"), name.utf8.count < 40, let scalar = Unicode.Scalar(c) {
            name.unicodeScalars.append(scalar)
            at += 1
        }
        guard pass("}"), let bits = Self.properties[name] else { throw fault("the property `\(name)`") }
        set.add(categories: bits, turned: turned != other)
    }

    private static let properties: [String: UInt32] = {
        let names = [
            "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi",
            "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp",
        ]
        var made: [String: UInt32] = [:]
        for (i, name) in names.enumerated() {
            made[name] = 1 << UInt32(i)
            made[String(name.prefix(1)), default: 0] |= 1 << UInt32(i)
        }
        return made
    }()

    /// A character that is spelled with a backslash, which has been passed.
    private mutating func escaped() throws -> UInt32 {
        guard let c = next else { throw fault("a backslash at the end") }
        at += 1
        switch c {
        case UInt32(ascii: "n"): return 10
        case UInt32(ascii: "r"): return 13
        case UInt32(ascii: "t"): return 9
        case UInt32(ascii: "f"): return 12
        case UInt32(ascii: "v"): return 11
        case UInt32(ascii: "x"): return try hexadecimal()
        case UInt32(ascii: "u"): return try hexadecimal(digits: 4)
        default:
            let letter = (c | 32 >= 97 && c | 32 <= 122) || (c >= 48 && c <= 57)
            guard !letter || c >= 128 else { throw fault("an escape that is not known") }
            return c
        }
    }

    /// `\xHH` (ASCII: above it they are bytes), `\x{H...}`.
    private mutating func hexadecimal() throws -> UInt32 {
        guard pass("{") else {
            let value = try hexadecimal(digits: 2)
            guard value < 128 else { throw fault("a byte above 7F") }
            return value
        }
        var count = 0
        while at + count < text.count, text[at + count] != UInt32(ascii: "}") { count += 1 }
        guard count > 0, count <= 6 else { throw fault("`\\x{` without one to six digits") }
        let value = try hexadecimal(digits: count)
        guard pass("}") else { throw fault("`\\x{` without its `}`") }
        return value
    }

    private mutating func hexadecimal(digits: Int) throws -> UInt32 {
        var value: UInt32 = 0
        for _ in 0 ..< digits {
            guard let c = next, let digit = Kinds.hexValue(c) else {
                throw fault("no hexadecimal number")
            }
            value = value << 4 | digit
            at += 1
        }
        guard Unicode.Scalar(value) != nil else { throw fault("the number of no character") }
        return value
    }

    private mutating func set() throws -> Taken {
        at += 1
        var set = Taken()
        let turned = pass("^")
        if turned, ignoresCase { throw fault("a class where case is ignored") }
        guard !isHere("]") else { throw fault("`]` at the begin of a class") }
        while !isHere("]") {
            guard let c = next else { throw fault("`[` without its `]`") }
            if c == UInt32(ascii: "[") || isHere("&&") { throw fault("a class within a class") }
            try addItem(to: &set)
        }
        at += 1
        if turned { set.turn() }
        return set
    }

    private mutating func addItem(to set: inout Taken) throws {
        let first: UInt32
        if pass("\\") {
            if next == UInt32(ascii: "b") { throw fault("an escape that is not known") }
            if try addClass(to: &set) {
                if isHere("-"), at + 1 < text.count, text[at + 1] != UInt32(ascii: "]") {
                    throw fault("a range that begins with a class")
                }
                return
            }
            first = try escaped()
        } else {
            first = text[at]
            at += 1
        }
        var last = first
        if isHere("-"), at + 1 < text.count, text[at + 1] != UInt32(ascii: "]") {
            at += 1
            guard let c = next, c != UInt32(ascii: "[") else { throw fault("a range without an end") }
            at += 1
            last = c == UInt32(ascii: "\\") ? try escaped() : c
        }
        guard first <= last else { throw fault("a range that ends before it begins") }
        set.add(first ... last)
        if ignoresCase { try Self.addOtherCase(first ... last, to: &set, self) }
    }
}

extension UInt32 {
    init(ascii: Unicode.Scalar) { self = ascii.value }
}
