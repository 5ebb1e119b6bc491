import EntractePlan

/// A token of a piece: its id and the piece's bytes that it stands for.
struct Token: Equatable {
    let id: Int32
    let begin: Int
    let end: Int
}

/// How pieces become tokens.
enum Model: Sendable {
    case unigram(Unigram)
    case bytePairs(BytePairs)
    case wordPieces(WordPieces)
    case words(Words)

    /// Throws a `Fault` of kind `run` where it has no token for a part of the piece.
    func tokens(_ piece: [UInt8]) throws -> [Token] {
        guard !piece.isEmpty else { return [] }
        switch self {
        case .unigram(let model): return try model.tokens(piece)
        case .bytePairs(let model): return try model.tokens(piece)
        case .wordPieces(let model): return try model.tokens(piece)
        case .words(let model): return try model.tokens(piece)
        }
    }

    var vocabulary: Vocabulary {
        switch self {
        case .unigram(let model): model.vocabulary
        case .bytePairs(let model): model.vocabulary
        case .wordPieces(let model): model.vocabulary
        case .words(let model): model.vocabulary
        }
    }
}

/// One token for each word.
struct Words: Sendable {
    let vocabulary: Vocabulary
    let unknown: Int32?

    func tokens(_ piece: [UInt8]) throws -> [Token] {
        guard let id = vocabulary.id(of: piece) ?? unknown else {
            throw Fault.run("tokenize: the tokenizer has no token for unknown words; give another one")
        }
        return [Token(id: id, begin: 0, end: piece.count)]
    }
}

/// Each word the longest piece that it begins with, and so on behind that.
struct WordPieces: Sendable {
    let vocabulary: Vocabulary
    let unknown: Int32?
    let prefix: [UInt8]
    let mostCharacters: Int

    func tokens(_ piece: [UInt8]) throws -> [Token] {
        let characters = piece.reduce(0) { $0 + ($1 & 0xC0 == 0x80 ? 0 : 1) }
        if characters <= mostCharacters, let found = parts(piece) { return found }
        guard let unknown else {
            throw Fault.run("tokenize: the tokenizer has no token for unknown words; give another one")
        }
        return [Token(id: unknown, begin: 0, end: piece.count)]
    }

    private func parts(_ piece: [UInt8]) -> [Token]? {
        var made: [Token] = []
        var start = 0
        while start < piece.count {
            var end = piece.count
            var id: Int32?
            while start < end {
                let part = piece[start ..< end]
                id = vocabulary.id(of: start > 0 ? (prefix + part)[...] : part)
                if id != nil { break }
                end -= 1
                while end > start, piece[end] & 0xC0 == 0x80 { end -= 1 }
            }
            guard let id else { return nil }
            made.append(Token(id: id, begin: start, end: end))
            start = end
        }
        return made
    }
}
