import EntractePlan

/// The likeliest way to cut a piece, each part as likely as its score says.
struct Unigram: Sendable {
    let vocabulary: Vocabulary
    private let scores: [Double]
    private let prefixes: Prefixes
    private let unknown: Int32?
    private let unknownScore: Double
    /// The entry of each byte, where bytes stand for what is unknown; -1 of none.
    private let bytes: [Int32]

    private static let unknownPenalty = 10.0

    /// Ids are places in `scores`. Nil where an entry is empty and so never found.
    init?(_ vocabulary: Vocabulary, scores: [Double], unknown: Int32?, fallsBackToBytes: Bool) {
        self.vocabulary = vocabulary
        self.scores = scores
        self.unknown = unknown
        unknownScore = (scores.min() ?? .infinity) - Self.unknownPenalty
        bytes = fallsBackToBytes ? byteTokens(vocabulary) : []
        var texts: [(text: ArraySlice<UInt8>, value: Int32)] = []
        texts.reserveCapacity(scores.count)
        for entry in scores.indices {
            let text = vocabulary.text(ofEntry: entry)
            // Of equal texts the last one counts; nothing is found by an empty one.
            if !text.isEmpty, vocabulary.entry(of: text) == entry { texts.append((text, Int32(entry))) }
        }
        guard let prefixes = Prefixes(texts) else { return nil }
        self.prefixes = prefixes
    }

    private struct Best {
        var score = 0.0
        var start = -1
        var id: Int32 = 0
    }

    func tokens(_ piece: [UInt8]) throws -> [Token] {
        let best = try bestEnds(piece)
        var parts: [Range<Int>] = []
        var wasUnknown = false
        var end = piece.count
        while end > 0 {
            let node = best[end]
            let isUnknown = unknown == node.id
            if isUnknown, wasUnknown, let last = parts.last {
                parts[parts.count - 1] = node.start ..< last.upperBound
            } else {
                parts.append(node.start ..< end)
            }
            wasUnknown = isUnknown
            end = node.start
        }
        var made: [Token] = []
        made.reserveCapacity(parts.count)
        for part in parts.reversed() { try append(piece, part, to: &made) }
        return made
    }

    /// By ties the way that was found first stays: from left to right, short parts first.
    private func bestEnds(_ piece: [UInt8]) throws -> [Best] {
        var best = [Best](repeating: Best(), count: piece.count + 1)
        try piece.withUnsafeBufferPointer { piece in
            var start = 0
            while start < piece.count {
                let here = best[start].score
                let length = UTF8Text.length(piece[start])
                var hasSingle = false
                prefixes.find(piece, from: start) { size, entry in
                    let score = scores[Int(entry)] + here
                    Self.improve(&best[start + size], score, start, entry)
                    if size == length { hasSingle = true }
                }
                if !hasSingle {
                    let end = min(start + length, piece.count)
                    let score = unknownScore + here
                    if best[end].start < 0 || score > best[end].score {
                        guard let unknown else { throw noUnknown() }
                        best[end] = Best(score: score, start: start, id: unknown)
                    }
                }
                start += length
            }
        }
        return best
    }

    @inline(__always)
    private static func improve(_ best: inout Best, _ score: Double, _ start: Int, _ id: Int32) {
        if best.start < 0 || score > best.score { best = Best(score: score, start: start, id: id) }
    }

    private func append(_ piece: [UInt8], _ part: Range<Int>, to made: inout [Token]) throws {
        if let entry = vocabulary.entry(of: piece[part]) {
            made.append(Token(id: Int32(entry), begin: part.lowerBound, end: part.upperBound))
            return
        }
        if !bytes.isEmpty, piece[part].allSatisfy({ bytes[Int($0)] >= 0 }) {
            for byte in piece[part] {
                made.append(Token(id: bytes[Int(byte)], begin: part.lowerBound, end: part.upperBound))
            }
            return
        }
        guard let unknown else { throw noUnknown() }
        made.append(Token(id: unknown, begin: part.lowerBound, end: part.upperBound))
    }

    private func noUnknown() -> Fault {
        Fault.run("tokenize: the tokenizer has no token for unknown characters; give another one")
    }
}

/// The id of `<0x00>` to `<0xFF>`; -1 of those that are not there.
func byteTokens(_ vocabulary: Vocabulary) -> [Int32] {
    let digits = Array("0123456789ABCDEF".utf8)
    return (0 ..< 256).map { byte in
        let name = Array("<0x".utf8) + [digits[byte >> 4], digits[byte & 15], UInt8(ascii: ">")]
        return vocabulary.id(of: name) ?? -1
    }
}
