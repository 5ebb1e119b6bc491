import EntractePlan

/// How tokens become a text.
indirect enum TokenDecoder: Sendable {
    case sequence([TokenDecoder])
    case byteLevel
    case metaspace(PreTokenizer.Metaspace)
    case wordPiece(prefix: [UInt8], tidies: Bool)
    case bytePairs(suffix: [UInt8])
    case fuse
    case strip(UInt32, left: Int, right: Int)
    case replace(TokenPattern, [UInt32])
    case byteFallback

    func apply(to tokens: [[UInt8]]) throws -> [[UInt8]] {
        switch self {
        case .sequence(let parts): return try parts.reduce(tokens) { try $1.apply(to: $0) }
        case .byteLevel: return [Self.mended(tokens.flatMap(ByteAlphabet.bytes(of:)))]
        case .metaspace(let metaspace): return Self.spaced(tokens, metaspace)
        case .wordPiece(let prefix, let tidies): return Self.words(tokens, prefix, tidies)
        case .bytePairs(let suffix):
            return tokens.enumerated().map { i, token in
                Self.replace(token, suffix, by: i + 1 == tokens.count ? [] : [32])
            }
        case .fuse: return [Array(tokens.joined())]
        case .strip(let character, let left, let right):
            return try tokens.map { try Self.strip($0, character, left, right) }
        case .replace(let pattern, let content):
            return try tokens.map { try Self.replace($0, pattern, by: content) }
        case .byteFallback: return Self.bytes(tokens)
        }
    }

    /// What is no UTF-8 becomes U+FFFD, one for each maximal part.
    private static func mended(_ bytes: [UInt8]) -> [UInt8] {
        Array(String(decoding: bytes, as: UTF8.self).utf8)
    }

    private static func spaced(_ tokens: [[UInt8]], _ metaspace: PreTokenizer.Metaspace) -> [[UInt8]] {
        let mark = UTF8Text.bytes(CollectionOfOne(metaspace.replacement))
        return tokens.enumerated().map { i, token in
            replace(token, mark, by: i == 0 && metaspace.scheme != .never ? [] : [32])
        }
    }

    private static func words(_ tokens: [[UInt8]], _ prefix: [UInt8], _ tidies: Bool) -> [[UInt8]] {
        tokens.enumerated().map { i, token in
            var token = token
            if i > 0 {
                token = token.starts(with: prefix) ? Array(token.dropFirst(prefix.count)) : [32] + token
            }
            if tidies { for (old, new) in tidied { token = replace(token, old, by: new) } }
            return token
        }
    }

    private static let tidied: [([UInt8], [UInt8])] = [
        (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
        (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
    ].map { (Array($0.0.utf8), Array($0.1.utf8)) }

    /// From left to right; an empty text is found before and behind each character.
    static func replace(_ text: [UInt8], _ old: [UInt8], by new: [UInt8]) -> [UInt8] {
        var made: [UInt8] = []
        var at = 0
        while at < text.count {
            if old.isEmpty {
                made += text[at] & 0xC0 == 0x80 ? [] : new
            } else if text[at...].starts(with: old) {
                made += new
                at += old.count
                continue
            }
            made.append(text[at])
            at += 1
        }
        return old.isEmpty ? made + new : made
    }

    private static func replace(
        _ token: [UInt8], _ pattern: TokenPattern, by content: [UInt32]
    ) throws -> [UInt8] {
        let scalars = UTF8Text.scalars(token)
        var made: [UInt32] = []
        var at = 0
        for match in try pattern.found(in: scalars) {
            made += scalars[at ..< match.lowerBound] + content
            at = match.upperBound
        }
        return UTF8Text.bytes(made + scalars[at...])
    }

    private static func strip(
        _ token: [UInt8], _ character: UInt32, _ left: Int, _ right: Int
    ) throws -> [UInt8] {
        let scalars = UTF8Text.scalars(token)
        let low = scalars.prefix(left).prefix { $0 == character }.count
        let cut = scalars.suffix(right).reversed().prefix { $0 == character }.count
        // There the library looks before the begin of the token, or cuts it to less than nothing.
        let runsOut = cut == scalars.count && right > scalars.count
        guard !runsOut, low + cut <= scalars.count else {
            throw Fault.run(
                "detokenize: a token is shorter than what the decoder (Strip) takes from it; give other ids")
        }
        return UTF8Text.bytes(scalars[low ..< scalars.count - cut])
    }

    /// `<0x61>` and its like become bytes; runs of them that are no UTF-8 a U+FFFD each.
    private static func bytes(_ tokens: [[UInt8]]) -> [[UInt8]] {
        var made: [[UInt8]] = []
        var run: [UInt8] = []
        func end() {
            guard !run.isEmpty else { return }
            if UTF8Text.isValid(run) {
                made.append(run)
            } else {
                made += repeatElement(Array("\u{FFFD}".utf8), count: run.count)
            }
            run = []
        }
        for token in tokens {
            if let byte = byte(token) {
                run.append(byte)
            } else {
                end()
                made.append(token)
            }
        }
        end()
        return made
    }

    /// As Rust reads it: two hexadecimal digits, or a plus and one.
    private static func byte(_ token: [UInt8]) -> UInt8? {
        guard token.count == 6, token.starts(with: "<0x".utf8), token[5] == UInt8(ascii: ">")
        else { return nil }
        guard let low = digit(token[4]) else { return nil }
        if token[3] == UInt8(ascii: "+") { return low }
        return digit(token[3]).map { $0 << 4 | low }
    }

    private static func digit(_ c: UInt8) -> UInt8? {
        switch c {
        case 48 ... 57: c - 48
        case 65 ... 70: c - 55
        case 97 ... 102: c - 87
        default: nil
        }
    }
}

// MARK: - reading

extension TokenDecoder {
    private static let known =
        "Sequence, ByteLevel, Metaspace, WordPiece, BPEDecoder, Fuse, Strip, Replace, ByteFallback"

    init(_ field: Field) throws {
        switch try field.type {
        case "Sequence":
            try field.only("type", "decoders")
            self = .sequence(try field["decoders"].items().map(TokenDecoder.init))
        case "ByteLevel":
            _ = try ByteLevel(field)
            self = .byteLevel
        case "Metaspace": self = .metaspace(try PreTokenizer.Metaspace(field))
        case "WordPiece":
            try field.only("type", "prefix", "cleanup")
            self = .wordPiece(prefix: try field["prefix"].utf8(), tidies: try field["cleanup"].flag())
        case "BPEDecoder":
            try field.only("type", "suffix")
            self = .bytePairs(suffix: try field["suffix"].utf8())
        case "Fuse":
            try field.only("type")
            self = .fuse
        case "ByteFallback":
            try field.only("type")
            self = .byteFallback
        case "Strip":
            try field.only("type", "content", "start", "stop")
            self = .strip(
                try field["content"].character(), left: try field["start"].whole(),
                right: try field["stop"].whole())
        case "Replace":
            try field.only("type", "pattern", "content")
            self = .replace(try TokenPattern(field["pattern"]), try field["content"].scalars())
        case let other: throw try field["type"].fault("`\(other)` is not implemented", allowed: Self.known)
        }
    }
}
