import EntractePlan

/// What is done to a text before anything else.
indirect enum Normalizer: Sendable {
    case sequence([Normalizer])
    case form(NormalForm)
    case lowercase
    case stripAccents
    case strip(left: Bool, right: Bool)
    case replace(TokenPattern, [UInt32])
    case prepend([UInt32])
    case charsmap(Charsmap)
    case bert(Bert)
    case nmt
    case byteLevel

    struct Bert: Sendable {
        let cleansText: Bool
        let setsChineseApart: Bool
        let stripsAccents: Bool
        let lowercases: Bool
    }

    func apply(to text: inout Stretch) throws {
        switch self {
        case .sequence(let parts): for part in parts { try part.apply(to: &text) }
        case .form(let form): form.apply(to: &text)
        case .lowercase: text.expand(Characters.appendLowercase)
        case .stripAccents: text.filter { !Characters.combiningMark.contains($0) }
        case .strip(let left, let right): text.strip(left: left, right: right)
        case .replace(let pattern, let content):
            text.replace(try pattern.found(in: text.scalars), by: content)
        case .prepend(let content): text.prepend(content)
        case .charsmap(let map): try map.apply(to: &text)
        case .bert(let bert): bert.apply(to: &text)
        case .nmt: Self.applyNmt(to: &text)
        case .byteLevel: ByteAlphabet.apply(to: &text)
        }
    }

    private static func applyNmt(to text: inout Stretch) {
        text.filter {
            switch $0 {
            case 1 ... 8, 0xB, 0xE ... 0x1F, 0x7F, 0x8F, 0x9F: false
            default: true
            }
        }
        text.map {
            switch $0 {
            case 9, 0xA, 0xC, 0xD, 0x1680, 0x200B ... 0x200F, 0x2028, 0x2029, 0x2581, 0xFEFF, 0xFFFD: 32
            default: $0
            }
        }
    }
}

extension Normalizer.Bert {
    func apply(to text: inout Stretch) {
        if cleansText {
            text.filter { !Characters.bertOther.contains($0) }
            text.map { Characters.isWhiteSpace($0) ? 32 : $0 }
        }
        if setsChineseApart, text.scalars.contains(where: Characters.isChinese) {
            // The library's own places: the space in front counts as the character.
            let changes = text.scalars.flatMap { c in
                Characters.isChinese(c)
                    ? [Stretch.Change(32, 0), .init(c, 1), .init(32, 1)] : [Stretch.Change(c, 0)]
            }
            text.become(changes)
        }
        if stripsAccents {
            NormalForm.nfd.apply(to: &text)
            text.filter { !Characters.bertMark.contains($0) }
        }
        if lowercases { text.expand(Characters.appendLowercase) }
    }
}

extension TokenPattern {
    /// `matches`, with a message for who runs it.
    func found(in text: [UInt32]) throws -> [Range<Int>] {
        do {
            return try matches(in: text)
        } catch let fault as PatternFault {
            throw Fault.run(
                "tokenize: a pattern of the tokenizer: \(fault.what); allowed: \(fault.allowed); "
                    + "give a shorter text")
        }
    }
}

// MARK: - reading

extension Normalizer {
    private static let known =
        "Sequence, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Replace, Prepend, Precompiled, "
        + "BertNormalizer, Nmt, ByteLevel"

    init(_ field: Field) throws {
        switch try field.type {
        case "Sequence":
            try field.only("type", "normalizers")
            self = .sequence(try field["normalizers"].items().map(Normalizer.init))
        case "NFC": self = try .alone(field, .form(.nfc))
        case "NFD": self = try .alone(field, .form(.nfd))
        case "NFKC": self = try .alone(field, .form(.nfkc))
        case "NFKD": self = try .alone(field, .form(.nfkd))
        case "Lowercase": self = try .alone(field, .lowercase)
        case "StripAccents": self = try .alone(field, .stripAccents)
        case "Nmt": self = try .alone(field, .nmt)
        case "ByteLevel": self = try .alone(field, .byteLevel)
        case "Strip":
            try field.only("type", "strip_left", "strip_right")
            self = .strip(left: try field["strip_left"].flag(), right: try field["strip_right"].flag())
        case "Replace":
            try field.only("type", "pattern", "content")
            self = .replace(try TokenPattern(field["pattern"]), try field["content"].scalars())
        case "Prepend":
            try field.only("type", "prepend")
            self = .prepend(try field["prepend"].scalars())
        case "Precompiled":
            try field.only("type", "precompiled_charsmap")
            self = .charsmap(try Charsmap(field["precompiled_charsmap"]))
        case "BertNormalizer": self = .bert(try Bert(field))
        case let other: throw try field["type"].fault("`\(other)` is not implemented", allowed: Self.known)
        }
    }

    private static func alone(_ field: Field, _ normalizer: Normalizer) throws -> Normalizer {
        try field.only("type")
        return normalizer
    }
}

extension Normalizer.Bert {
    init(_ field: Field) throws {
        try field.only("type", "clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
        cleansText = try field["clean_text"].flag()
        setsChineseApart = try field["handle_chinese_chars"].flag()
        lowercases = try field["lowercase"].flag()
        stripsAccents = try field.optional("strip_accents")?.flag() ?? lowercases
    }
}

extension TokenPattern {
    /// `{"String": ...}` or `{"Regex": ...}`.
    init(_ field: Field) throws {
        try field.only("String", "Regex")
        let given = try field.members()
        guard given.count == 1, let (name, value) = given.first else {
            throw field.fault("not one pattern", allowed: "String or Regex")
        }
        if name == "String" {
            let text = try value.scalars()
            guard !text.isEmpty else { throw value.fault("an empty text", allowed: "one character at least") }
            self.init(literal: text)
            return
        }
        do {
            try self.init(parsing: try value.text())
        } catch let fault as PatternFault {
            throw value.fault("a pattern that is not implemented: \(fault.what)", allowed: fault.allowed)
        }
    }
}
