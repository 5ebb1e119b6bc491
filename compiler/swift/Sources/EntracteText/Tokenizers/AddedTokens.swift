import EntractePlan

/// Tokens that are found whole in a text, before the model sees it.
struct AddedTokens: Sendable {
    struct Entry: Sendable {
        let content: [UInt8]
        let id: Int32
        let singleWord: Bool
        let takesLeft: Bool
        let takesRight: Bool
        let special: Bool
        /// What is looked for, and how it is decoded: what the normalizer makes of it, where it is asked.
        let spelled: [UInt8]
        let normalized: Bool
    }

    /// By id.
    private let entries: [Int32: Entry]
    private let ids: [[UInt8]: Int32]
    private let specials: Set<[UInt8]>
    /// Looked for in the text as given, and in what the normalizer makes of it.
    private let given: Finder
    private let normalized: Finder

    /// Added in the order of the file, as the library does: a token that the model has keeps its id,
    /// others get ids behind all.
    init(_ field: Field?, _ vocabulary: Vocabulary, _ normalizer: Normalizer?) throws {
        var entries: [Int32: Entry] = [:]
        var ids: [[UInt8]: Int32] = [:]
        var specials: Set<[UInt8]> = []
        var next = vocabulary.count
        for token in try field?.items() ?? [] {
            let stated = try token["id"].id()
            let content = try token["content"].utf8()
            if content.isEmpty { continue }
            let known = ids[content] ?? vocabulary.id(of: content)
            let id = known ?? Int32(truncatingIfNeeded: next)
            guard id >= 0, id == stated else {
                throw token.fault(
                    "the library gives this token the id \(id), not \(stated)",
                    allowed: "ids that follow each other")
            }
            if known == nil { next += 1 }
            let entry = try Entry(token, content, id, normalizer)
            ids[content] = id
            if entry.special { specials.insert(content) }
            entries[id] = entry
        }
        self.entries = entries
        self.ids = ids
        self.specials = specials
        guard let given = Finder(entries.values.filter { !$0.normalized }),
            let normalized = Finder(entries.values.filter(\.normalized))
        else {
            throw Fault.plan(
                "\(field?.place ?? ""): two tokens are spelled alike, or one is empty, after the normalizer; "
                    + "allowed: each once; give a tokenizer.json that has that")
        }
        self.given = given
        self.normalized = normalized
    }

    func entry(_ id: Int32) -> Entry? { entries[id] }
    func id(of content: [UInt8]) -> Int32? { ids[content] }
    func isSpecial(_ spelled: [UInt8]) -> Bool { specials.contains(spelled) }
    var largestId: Int { Int(entries.keys.max() ?? 0) }

    /// Those that the model's vocabulary lacks.
    func count(outside vocabulary: Vocabulary) -> Int {
        ids.keys.reduce(0) { $0 + (vocabulary.id(of: $1) == nil ? 1 : 0) }
    }

    /// The text cut where tokens are found, first as given, then normalized.
    func pieces(of text: Stretch, _ normalizer: Normalizer?) throws -> [Piece] {
        var made: [Piece] = []
        for piece in given.pieces(of: text, entries) {
            guard piece.added == nil else {
                made.append(piece)
                continue
            }
            var stretch = piece.stretch
            try normalizer?.apply(to: &stretch)
            made += normalized.pieces(of: stretch, entries)
        }
        return made
    }
}

extension AddedTokens.Entry {
    init(_ field: Field, _ content: [UInt8], _ id: Int32, _ normalizer: Normalizer?) throws {
        try field.only("id", "content", "single_word", "lstrip", "rstrip", "normalized", "special")
        self.content = content
        self.id = id
        singleWord = try field["single_word"].flag()
        takesLeft = try field["lstrip"].flag()
        takesRight = try field["rstrip"].flag()
        special = try field["special"].flag()
        normalized = try field["normalized"].flag()
        var stretch = Stretch(String(decoding: content, as: UTF8.self))
        if normalized, let normalizer { try normalizer.apply(to: &stretch) }
        spelled = UTF8Text.bytes(stretch.scalars)
    }
}

/// Finds the leftmost of some tokens, of several there the longest.
struct Finder: Sendable {
    private let prefixes: Prefixes

    init?(_ entries: [AddedTokens.Entry]) {
        guard let prefixes = Prefixes(entries.map { ($0.spelled[...], $0.id) }) else { return nil }
        self.prefixes = prefixes
    }

    /// The text cut where tokens are found.
    func pieces(of text: Stretch, _ entries: [Int32: AddedTokens.Entry]) -> [Piece] {
        guard !text.isEmpty else { return [] }
        guard !prefixes.isEmpty else { return [Piece(stretch: text.cut(0 ..< text.count), added: nil)] }
        let spelling = Spelling(text.scalars)
        var made: [Piece] = []
        var done = 0
        var at = 0
        while let (begin, end, id) = next(spelling.bytes, from: at) {
            at = end
            let scalars = Int(spelling.scalarOf[begin]) ..< Int(spelling.scalarOf[end])
            guard let entry = entries[id], let part = part(text.scalars, scalars, entry, behind: done)
            else { continue }
            if done < part.lowerBound {
                made.append(Piece(stretch: text.cut(done ..< part.lowerBound), added: nil))
            }
            made.append(Piece(stretch: text.cut(part), added: id))
            done = part.upperBound
        }
        if done < text.count { made.append(Piece(stretch: text.cut(done ..< text.count), added: nil)) }
        return made
    }

    private func next(_ bytes: [UInt8], from start: Int) -> (Int, Int, Int32)? {
        bytes.withUnsafeBufferPointer { bytes in
            for begin in start ..< bytes.count {
                var found: (Int, Int32)?
                prefixes.find(bytes, from: begin) { found = ($0, $1) }
                if let (size, id) = found { return (begin, begin + size, id) }
            }
            return nil
        }
    }

    /// What a found token takes; nil where it is to be a word and is a part of one.
    private func part(
        _ text: [UInt32], _ found: Range<Int>, _ entry: AddedTokens.Entry, behind done: Int
    ) -> Range<Int>? {
        var (low, high) = (found.lowerBound, found.upperBound)
        if entry.singleWord {
            if low > 0, Characters.isWord(text[low - 1]) { return nil }
            if high < text.count, Characters.isWord(text[high]) { return nil }
        }
        if entry.takesLeft {
            while low > 0, Characters.isWhiteSpace(text[low - 1]) { low -= 1 }
            low = max(low, done)
        }
        if entry.takesRight {
            while high < text.count, Characters.isWhiteSpace(text[high]) { high += 1 }
        }
        return low ..< max(high, low)
    }
}
