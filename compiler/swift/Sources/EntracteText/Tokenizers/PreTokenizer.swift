import EntractePlan

/// How a text is cut into words, whose tokens are then found one word at a time.
indirect enum PreTokenizer: Sendable {
    case sequence([PreTokenizer])
    case whitespace
    case whitespaceSplit
    case metaspace(Metaspace)
    case byteLevel(prefixSpace: Bool, words: Bool)
    case split(TokenPattern, Splitting, inverted: Bool)
    case delimiter(UInt32)
    case digits(each: Bool)
    case punctuation(Splitting)
    case bert

    struct Metaspace: Sendable {
        enum Scheme: String, Sendable { case first, always, never }

        let replacement: UInt32
        let scheme: Scheme
        let splits: Bool
    }

    /// Cuts all pieces that are no added tokens.
    func apply(to pieces: inout [Piece]) throws {
        if case .sequence(let parts) = self {
            for part in parts { try part.apply(to: &pieces) }
            return
        }
        var made: [Piece] = []
        made.reserveCapacity(pieces.count)
        for piece in pieces {
            if piece.added != nil {
                made.append(piece)
                continue
            }
            for part in try parts(piece.stretch) where !part.isEmpty {
                made.append(Piece(stretch: part, added: nil))
            }
        }
        pieces = made
    }

    private func parts(_ text: Stretch) throws -> [Stretch] {
        switch self {
        case .sequence: return [text]
        case .whitespace: return Self.words(text)
        case .whitespaceSplit: return text.parts(where: Characters.isWhiteSpace, .removed)
        case .metaspace(let metaspace): return metaspace.parts(text)
        case .byteLevel(let prefixSpace, let words): return try Self.byteLevel(text, prefixSpace, words)
        case .split(let pattern, let splitting, let inverted):
            let matches = try pattern.found(in: text.scalars)
            return splitting.parts(matches, of: text.count, inverted: inverted).map(text.cut)
        case .delimiter(let c): return text.parts(where: { $0 == c }, .removed)
        case .digits(let each):
            return text.parts(where: Characters.isNumeric, each ? .isolated : .contiguous)
        case .punctuation(let splitting):
            return text.parts(where: Characters.punctuation.contains, splitting)
        case .bert:
            return text.parts(where: Characters.isWhiteSpace, .removed).flatMap {
                $0.parts(where: Characters.punctuation.contains, .isolated)
            }
        }
    }

    /// Runs of `\w`, and runs of what is neither that nor white space.
    private static func words(_ text: Stretch) -> [Stretch] {
        func kind(_ c: UInt32) -> Int { Characters.isWhiteSpace(c) ? 0 : Characters.isWord(c) ? 1 : 2 }
        var made: [Stretch] = []
        var at = 0
        while at < text.count {
            let ofRun = kind(text.scalars[at])
            var end = at + 1
            while end < text.count, kind(text.scalars[end]) == ofRun { end += 1 }
            if ofRun > 0 { made.append(text.cut(at ..< end)) }
            at = end
        }
        return made
    }

    private static func byteLevel(_ text: Stretch, _ prefixSpace: Bool, _ words: Bool) throws -> [Stretch] {
        var text = text
        if prefixSpace, text.scalars.first != 32 { text.prepend([32]) }
        var made = [text]
        if words {
            let matches = try gpt2Words.found(in: text.scalars)
            made = Splitting.isolated.parts(matches, of: text.count).map(text.cut)
        }
        for i in made.indices { ByteAlphabet.apply(to: &made[i]) }
        return made
    }

    static let gpt2Words: TokenPattern = {
        let text = #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#
        return (try? TokenPattern(parsing: text)) ?? TokenPattern(literal: [])
    }()
}

extension PreTokenizer.Metaspace {
    func parts(_ text: Stretch) -> [Stretch] {
        var text = text
        text.map { $0 == 32 ? replacement : $0 }
        if text.scalars.first != replacement, scheme == .always || (scheme == .first && text.shift == 0) {
            text.prepend([replacement])
        }
        guard splits else { return [text] }
        return text.parts(where: { $0 == replacement }, .mergedWithNext)
    }

    init(_ field: Field) throws {
        try field.only("type", "replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep")
        replacement = try field["replacement"].character()
        splits = try field.optional("split")?.flag() ?? true
        var scheme = Scheme.always
        if let given = try field.member("prepend_scheme") {
            guard let found = Scheme(rawValue: try given.text()) else {
                throw given.fault("`\(try given.text())` is not known", allowed: "first, always, never")
            }
            scheme = found
        }
        if let prefix = try field.optional("add_prefix_space"), try !prefix.flag(), scheme != .never {
            throw prefix.fault("it is not what prepend_scheme says", allowed: "prepend_scheme alone")
        }
        self.scheme = scheme
    }
}

// MARK: - reading

extension PreTokenizer {
    private static let known =
        "Sequence, Whitespace, WhitespaceSplit, Metaspace, ByteLevel, Split, CharDelimiterSplit, Digits, "
        + "Punctuation, BertPreTokenizer"

    init(_ field: Field) throws {
        switch try field.type {
        case "Sequence":
            try field.only("type", "pretokenizers")
            self = .sequence(try field["pretokenizers"].items().map(PreTokenizer.init))
        case "Whitespace": self = try .alone(field, .whitespace)
        case "WhitespaceSplit": self = try .alone(field, .whitespaceSplit)
        case "BertPreTokenizer": self = try .alone(field, .bert)
        case "Metaspace": self = .metaspace(try Metaspace(field))
        case "ByteLevel":
            let level = try ByteLevel(field)
            self = .byteLevel(prefixSpace: level.prefixSpace, words: level.words)
        case "Split": self = try .split(field)
        case "CharDelimiterSplit":
            try field.only("type", "delimiter")
            self = .delimiter(try field["delimiter"].character())
        case "Digits":
            try field.only("type", "individual_digits")
            self = .digits(each: try field["individual_digits"].flag())
        case "Punctuation":
            try field.only("type", "behavior")
            self = .punctuation(try field.member("behavior").map(Splitting.init) ?? .isolated)
        case let other: throw try field["type"].fault("`\(other)` is not implemented", allowed: Self.known)
        }
    }

    private static func alone(_ field: Field, _ made: PreTokenizer) throws -> PreTokenizer {
        try field.only("type")
        return made
    }

    private static func split(_ field: Field) throws -> PreTokenizer {
        try field.only("type", "pattern", "behavior", "invert")
        return .split(
            try TokenPattern(field["pattern"]), try Splitting(field["behavior"]),
            inverted: try field["invert"].flag())
    }
}

extension Splitting {
    init(_ field: Field) throws {
        guard let found = Splitting(rawValue: try field.text()) else {
            throw field.fault(
                "`\(try field.text())` is not known",
                allowed: Splitting.allCases.map(\.rawValue).joined(separator: ", "))
        }
        self = found
    }
}

/// The fields of `ByteLevel`, which is a pre-tokenizer, a post-processor and a decoder.
struct ByteLevel: Sendable {
    let prefixSpace: Bool
    let trims: Bool
    let words: Bool

    init(_ field: Field) throws {
        try field.only("type", "add_prefix_space", "trim_offsets", "use_regex")
        prefixSpace = try field["add_prefix_space"].flag()
        trims = try field["trim_offsets"].flag()
        words = try field.member("use_regex")?.flag() ?? true
    }
}
