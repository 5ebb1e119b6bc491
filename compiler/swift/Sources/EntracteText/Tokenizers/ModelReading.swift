import EntractePlan

extension Model {
    init(_ field: Field) throws {
        switch try field.type {
        case "Unigram": self = .unigram(try Unigram(field))
        case "BPE": self = .bytePairs(try BytePairs(field))
        case "WordPiece": self = .wordPieces(try WordPieces(field))
        case "WordLevel": self = .words(try Words(field))
        case let other:
            throw try field["type"].fault(
                "`\(other)` is not implemented", allowed: "Unigram, BPE, WordPiece, WordLevel")
        }
    }
}

extension Vocabulary {
    private static let mostEntries = 4_000_000

    /// `{text: id}`.
    init(_ field: Field) throws {
        guard field.kind == .object else { throw field.fault("no vocabulary", allowed: "{text: id}") }
        let tape = field.tape
        let count = Int(tape.nodes[field.node].count)
        guard count <= Self.mostEntries else {
            throw field.fault("\(count) texts", allowed: "\(Self.mostEntries)")
        }
        var made = Builder(entries: count, bytes: count * 8)
        var key = field.node + 1
        while key < Int(tape.nodes[field.node].next) {
            let value = key + 1
            guard tape.nodes[value].kind == .whole, let id = tape.whole(value), id >= 0, id <= Int(Int32.max)
            else {
                throw Field(tape: tape, node: value, place: "\(field.place).\(tape.text(key))")
                    .fault("no id", allowed: "a whole number from 0 to \(Int32.max)")
            }
            made.add(tape, key, Int32(id))
            key = tape.behind(value)
        }
        guard let vocabulary = Vocabulary(made) else {
            throw field.fault("two texts have the same id", allowed: "one for each")
        }
        self = vocabulary
    }

    /// `[[text, score], ...]`: ids are places.
    static func scored(_ field: Field) throws -> (Vocabulary, [Double]) {
        guard field.kind == .list else {
            throw field.fault("no vocabulary", allowed: "[[text, score], ...]")
        }
        let tape = field.tape
        let count = Int(tape.nodes[field.node].count)
        guard count <= Self.mostEntries else {
            throw field.fault("\(count) texts", allowed: "\(Self.mostEntries)")
        }
        var made = Builder(entries: count, bytes: count * 8)
        var scores: [Double] = []
        scores.reserveCapacity(count)
        var item = field.node + 1
        while item < Int(tape.nodes[field.node].next) {
            let place = "\(field.place)[\(scores.count)]"
            guard tape.nodes[item].kind == .list, tape.nodes[item].count == 2,
                tape.nodes[item + 1].kind == .text
            else {
                throw Field(tape: tape, node: item, place: place)
                    .fault("no entry", allowed: "a text and its score")
            }
            made.add(tape, item + 1, Int32(scores.count))
            scores.append(try Field(tape: tape, node: item + 2, place: place).score())
            item = tape.behind(item)
        }
        guard let vocabulary = Vocabulary(made) else {
            throw field.fault("two texts have the same id", allowed: "one for each")
        }
        return (vocabulary, scores)
    }
}

extension Vocabulary.Builder {
    mutating func add(_ tape: Tape, _ node: Int, _ id: Int32) {
        let n = tape.nodes[node]
        if n.escaped {
            tape.utf8(node).withUnsafeBufferPointer { add($0, id) }
        } else {
            add(UnsafeBufferPointer(start: tape.bytes + Int(n.start), count: Int(n.count)), id)
        }
    }
}

extension Unigram {
    init(_ field: Field) throws {
        try field.only("type", "unk_id", "vocab", "byte_fallback")
        let (vocabulary, scores) = try Vocabulary.scored(field["vocab"])
        var unknown: Int32?
        if let given = try field.optional("unk_id") {
            unknown = Int32(try given.whole(upTo: max(scores.count - 1, 0)))
            guard !scores.isEmpty else {
                throw given.fault("the vocabulary is empty", allowed: "one that has it")
            }
        }
        let bytes = try field.member("byte_fallback")?.flag() ?? false
        guard let made = Unigram(vocabulary, scores: scores, unknown: unknown, fallsBackToBytes: bytes)
        else {
            throw field.fault("a text stands there twice", allowed: "each once")
        }
        self = made
    }
}

extension WordPieces {
    init(_ field: Field) throws {
        try field.only("type", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab")
        vocabulary = try Vocabulary(field["vocab"])
        unknown = vocabulary.id(of: try field["unk_token"].utf8())
        prefix = try field["continuing_subword_prefix"].utf8()
        mostCharacters = try field["max_input_chars_per_word"].whole()
    }
}

extension Words {
    init(_ field: Field) throws {
        try field.only("type", "unk_token", "vocab")
        vocabulary = try Vocabulary(field["vocab"])
        unknown = vocabulary.id(of: try field["unk_token"].utf8())
    }
}

extension BytePairs {
    init(_ field: Field) throws {
        try field.only(
            "type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
            "byte_fallback", "ignore_merges", "vocab", "merges")
        if let dropout = try field.optional("dropout"), try dropout.score() != 0 {
            throw dropout.fault("pairs are left out by chance", allowed: "null")
        }
        let vocabulary = try Vocabulary(field["vocab"])
        var rules = Rules()
        if let unknown = try field.optional("unk_token") {
            rules.unknown = vocabulary.id(of: try unknown.utf8())
            rules.lacksUnknown = rules.unknown == nil
        }
        rules.prefix = try field.optional("continuing_subword_prefix")?.utf8() ?? []
        rules.suffix = try field.optional("end_of_word_suffix")?.utf8() ?? []
        rules.fusesUnknown = try field.optional("fuse_unk")?.flag() ?? false
        rules.fallsBackToBytes = try field.optional("byte_fallback")?.flag() ?? false
        rules.takesWholeWords = try field.optional("ignore_merges")?.flag() ?? false
        guard !rules.fallsBackToBytes || (rules.prefix.isEmpty && rules.suffix.isEmpty) else {
            throw field.fault("byte_fallback with parts of words that are marked", allowed: "one of them")
        }
        self.init(vocabulary, rules, try Merges(field["merges"], vocabulary, prefix: rules.prefix))
    }
}

extension Merges {
    /// `[["a", "b"], ...]` or `["a b", ...]`.
    init(_ field: Field, _ vocabulary: Vocabulary, prefix: [UInt8]) throws {
        guard field.kind == .list else { throw field.fault("no rules", allowed: #"[["a", "b"], ...]"#) }
        let tape = field.tape
        self.init(count: Int(tape.nodes[field.node].count))
        var item = field.node + 1
        var rank: Int32 = 0
        let spelledWhole = item < tape.nodeCount && tape.nodes[item].kind == .text
        while item < Int(tape.nodes[field.node].next) {
            let place = Field(tape: tape, node: item, place: "\(field.place)[\(rank)]")
            item = tape.behind(item)
            guard let (a, b) = try Self.pair(place, spelledWhole) else { continue }
            let wrong = place.fault(
                "a rule of texts that are not in the vocabulary", allowed: "those that are")
            guard let one = vocabulary.id(of: a), let other = vocabulary.id(of: b), b.count >= prefix.count,
                let made = vocabulary.id(of: a + b.dropFirst(prefix.count))
            else { throw wrong }
            add(one, other, rank: rank, made: made)
            rank += 1
        }
    }

    /// Nil of a line that is none.
    private static func pair(_ field: Field, _ spelledWhole: Bool) throws -> ([UInt8], [UInt8])? {
        if spelledWhole {
            let line = try field.utf8()
            if line.starts(with: "#version".utf8) { return nil }
            let parts = line.split(separator: 32, omittingEmptySubsequences: false)
            guard parts.count == 2 else {
                throw field.fault("not two texts", allowed: "two, a space between them")
            }
            return (Array(parts[0]), Array(parts[1]))
        }
        let parts = try field.items()
        guard parts.count == 2 else { throw field.fault("not two texts", allowed: "two") }
        return (try parts[0].utf8(), try parts[1].utf8())
    }
}
