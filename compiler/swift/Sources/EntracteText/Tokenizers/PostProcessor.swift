import EntractePlan

/// What is put around the tokens of a text.
indirect enum PostProcessor: Sendable {
    case sequence([PostProcessor])
    case template([Part])
    case around(first: Int32, last: Int32, trims: Bool?)
    case byteLevel(prefixSpace: Bool)
    case nothing

    enum Part: Sendable {
        case text
        case marks([Int32])
    }

    /// A token and where it stands, with the white space at the ends of its spelling.
    struct Placed {
        var id: Int32
        var begin: Int
        var end: Int
        var isMark = false
        var leading = 0
        var trailing = 0
    }

    /// Marks that it adds to one text.
    var marksAdded: Int {
        switch self {
        case .sequence(let parts): return parts.reduce(0) { $0 + $1.marksAdded }
        case .template(let parts):
            return parts.reduce(0) {
                if case .marks(let ids) = $1 { return $0 + ids.count }
                return $0
            }
        case .around: return 2
        case .byteLevel, .nothing: return 0
        }
    }

    /// Whether it looks at white space.
    var trims: Bool {
        switch self {
        case .sequence(let parts): parts.contains(where: \.trims)
        case .byteLevel: true
        case .around(_, _, let trims): trims != nil
        case .template, .nothing: false
        }
    }

    /// Runs of tokens, one after the other.
    func apply(to runs: [[Placed]], addSpecialTokens: Bool) -> [[Placed]] {
        switch self {
        case .nothing: return runs
        case .sequence(let parts):
            return parts.reduce(runs) { $1.apply(to: $0, addSpecialTokens: addSpecialTokens) }
        case .byteLevel(let prefixSpace): return runs.map { Self.trimmed($0, prefixSpace) }
        case .around(let first, let last, let trims):
            let runs = trims.map { prefixSpace in runs.map { Self.trimmed($0, prefixSpace) } } ?? runs
            guard addSpecialTokens, let run = runs.first else { return runs }
            return [[Self.mark(first)] + run + [Self.mark(last)]]
        case .template(let parts):
            return parts.compactMap { part in
                switch part {
                case .text: runs.first ?? []
                case .marks(let ids): addSpecialTokens ? ids.map(Self.mark) : nil
                }
            }
        }
    }

    private static func mark(_ id: Int32) -> Placed { Placed(id: id, begin: 0, end: 0, isMark: true) }

    /// Places without the white space at their ends.
    private static func trimmed(_ run: [Placed], _ prefixSpace: Bool) -> [Placed] {
        run.enumerated().map { i, token in
            var token = token
            var leading = token.leading
            if leading > 0 {
                if i == 0 || token.begin == 0, prefixSpace, leading == 1 { leading = 0 }
                token.begin = min(token.begin + leading, token.end)
            }
            if token.trailing > 0, token.end >= token.trailing {
                token.end = max(token.end - token.trailing, token.begin)
            }
            return token
        }
    }
}

// MARK: - reading

extension PostProcessor {
    private static let known = "Sequence, TemplateProcessing, RobertaProcessing, BertProcessing, ByteLevel"

    init(_ field: Field) throws {
        try self.init(part: field)
        guard adding <= 1 else {
            throw field.fault("several parts that add tokens", allowed: "one of them, and ByteLevel")
        }
    }

    private init(part field: Field) throws {
        switch try field.type {
        case "Sequence":
            try field.only("type", "processors")
            self = .sequence(try field["processors"].items().map { try PostProcessor(part: $0) })
        case "TemplateProcessing": self = try .template(field)
        case "RobertaProcessing":
            try field.only("type", "sep", "cls", "trim_offsets", "add_prefix_space")
            let prefixSpace = try field["add_prefix_space"].flag()
            self = .around(
                first: try Self.pair(field["cls"]), last: try Self.pair(field["sep"]),
                trims: try field["trim_offsets"].flag() ? prefixSpace : nil)
        case "BertProcessing":
            try field.only("type", "sep", "cls")
            self = .around(first: try Self.pair(field["cls"]), last: try Self.pair(field["sep"]), trims: nil)
        case "ByteLevel":
            let level = try ByteLevel(field)
            self = level.trims ? .byteLevel(prefixSpace: level.prefixSpace) : .nothing
        case let other: throw try field["type"].fault("`\(other)` is not implemented", allowed: Self.known)
        }
    }

    /// How many parts put tokens around a text.
    private var adding: Int {
        switch self {
        case .sequence(let parts): parts.reduce(0) { $0 + $1.adding }
        case .template, .around: 1
        case .byteLevel, .nothing: 0
        }
    }

    /// `["<s>", 0]`.
    private static func pair(_ field: Field) throws -> Int32 {
        let items = try field.items()
        guard items.count == 2 else { throw field.fault("not two", allowed: "a token and its id") }
        _ = try items[0].text()
        return try items[1].id()
    }

    private static func template(_ field: Field) throws -> PostProcessor {
        try field.only("type", "single", "pair", "special_tokens")
        let tokens = try field["special_tokens"]
        let parts = try field["single"].items().map { part -> Part in
            try part.only("Sequence", "SpecialToken")
            if let sequence = try part.member("Sequence") {
                guard try sequence["id"].text() == "A" else {
                    throw sequence.fault("a second text", allowed: "the text A")
                }
                return .text
            }
            let name = try part["SpecialToken"]["id"].text()
            guard let token = try tokens.member(name) else {
                throw part.fault("`\(name)` is none of special_tokens", allowed: "one of them")
            }
            let ids = try token["ids"].items().map { try $0.id() }
            guard try token["tokens"].items().count == ids.count else {
                throw token.fault("not as many tokens as ids", allowed: "one for each")
            }
            return .marks(ids)
        }
        return .template(parts)
    }
}
