import EntractePlan
import Foundation

/// What a `tokenizer.json` of the `tokenizers` library says: texts into ids and back, exactly as that
/// library (0.23) does it. What is not implemented is refused when the file is read.
///
/// The file's sections `truncation` and `padding` are not read (docs/plan-format.md, `tokenize`).
public final class Tokenizer: Sendable {
    /// Larger files are refused.
    public static let mostBytes = 64 << 20

    private let normalizer: Normalizer?
    private let preTokenizer: PreTokenizer?
    private let postProcessor: PostProcessor
    private let decoder: TokenDecoder?
    private let model: Model
    private let added: AddedTokens

    /// Tokens of the model and added ones.
    public let vocabularySize: Int
    /// The largest id of a token.
    public let largestId: Int
    /// How many marks the post-processor adds to a text.
    public let marksAdded: Int

    /// Throws a `Fault` of kind `plan` where the file is none, or says what is not implemented.
    public convenience init(contentsOf file: URL) throws {
        let data: Data
        do {
            data = try Data(contentsOf: file, options: .mappedIfSafe)
        } catch {
            throw Fault.plan(
                "\(file.lastPathComponent): there is no tokenizer file; give one, or compile again")
        }
        try self.init(data, name: file.lastPathComponent)
    }

    public init(_ data: Data, name: String = "tokenizer.json") throws {
        guard data.count <= Self.mostBytes else {
            throw Fault.plan(
                "\(name): \(data.count) bytes; allowed: \(Self.mostBytes); give a smaller tokenizer.json")
        }
        let file: Field
        do {
            let tape = try data.withUnsafeBytes { try Parser.parse($0) }
            file = Field(tape: tape, node: 0, place: name)
        } catch let error as JSONError {
            throw Fault.plan(
                "\(name): \(error.message); allowed: JSON; give the tokenizer.json of the tokenizers library")
        }
        try file.only(
            "version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
            "post_processor", "decoder", "model")
        if let version = try file.member("version"), try version.text() != "1.0" {
            throw version.fault("version \(try version.text())", allowed: "1.0")
        }
        normalizer = try file.optional("normalizer").map(Normalizer.init)
        preTokenizer = try file.optional("pre_tokenizer").map(PreTokenizer.init)
        postProcessor = try file.optional("post_processor").map(PostProcessor.init) ?? .nothing
        decoder = try file.optional("decoder").map(TokenDecoder.init)
        model = try Model(file["model"])
        added = try AddedTokens(try file.member("added_tokens"), model.vocabulary, normalizer)
        vocabularySize = model.vocabulary.count + added.count(outside: model.vocabulary)
        largestId = max(model.vocabulary.largestId, added.largestId)
        marksAdded = postProcessor.marksAdded
    }

    // MARK: texts into ids

    /// The tokens of `text`.
    ///
    /// With `atMost`, tokens of the text are dropped at `side` before the post-processor adds its marks,
    /// so that there are as many in all (more only where a template puts the text twice, or has more
    /// marks than that). Throws a `Fault` of kind `run` where the tokenizer has no token for a part of it.
    public func encode(
        _ text: String, addSpecialTokens: Bool, atMost: Int? = nil, droppingFrom side: TruncationSide = .right
    ) throws -> Encoding {
        var tokens = try placed(text)
        if let atMost {
            let room = max(max(atMost, 0) - (addSpecialTokens ? marksAdded : 0), 0)
            tokens = Array(side == .right ? tokens.prefix(room) : tokens.suffix(room))
        }
        let made = postProcessor.apply(to: [tokens], addSpecialTokens: addSpecialTokens).joined()
        return Encoding(
            ids: made.map { Int($0.id) }, begins: made.map(\.begin), ends: made.map(\.end),
            isMark: made.map(\.isMark))
    }

    private func placed(_ text: String) throws -> [PostProcessor.Placed] {
        var pieces = try added.pieces(of: Stretch(text), normalizer)
        try preTokenizer?.apply(to: &pieces)
        var made: [PostProcessor.Placed] = []
        for piece in pieces {
            if let id = piece.added {
                let stretch = piece.stretch
                append(id, stretch, 0 ..< stretch.count, to: &made, spelled: stretch.scalars)
                continue
            }
            let spelling = Spelling(piece.stretch.scalars)
            for token in try model.tokens(spelling.bytes) {
                let low = Int(spelling.scalarOf[min(token.begin, spelling.bytes.count)])
                let high = Int(spelling.scalarOf[max(min(token.end, spelling.bytes.count) - 1, 0)]) + 1
                append(token.id, piece.stretch, low ..< max(low, high), to: &made, spelled: nil)
            }
        }
        return made
    }

    private func append(
        _ id: Int32, _ stretch: Stretch, _ range: Range<Int>, to made: inout [PostProcessor.Placed],
        spelled: [UInt32]?
    ) {
        var token = PostProcessor.Placed(id: id, begin: 0, end: 0)
        if let first = range.first, let last = range.last, last < stretch.count {
            token.begin = Int(stretch.begins[first])
            token.end = Int(stretch.ends[last])
        }
        if postProcessor.trims {
            let text = spelled ?? model.vocabulary.text(ofId: id).map(UTF8Text.scalars) ?? []
            func isSpace(_ c: UInt32) -> Bool { c == ByteAlphabet.space || Characters.isWhiteSpace(c) }
            token.leading = text.prefix(while: isSpace).count
            token.trailing = text.reversed().prefix(while: isSpace).count
        }
        made.append(token)
    }

    // MARK: ids into texts

    /// The text of `ids`; those of no token are left out, and special ones with `skipSpecialTokens`.
    ///
    /// Throws a `Fault` of kind `run` where an id is below 0, or the decoder cannot.
    public func decode(_ ids: [Int], skipSpecialTokens: Bool) throws -> String {
        var tokens: [[UInt8]] = []
        for given in ids {
            guard given >= 0 else { throw Fault.run("detokenize: \(given) is the id of no token") }
            guard let id = Int32(exactly: given), let token = spelled(id) else { continue }
            if !skipSpecialTokens || !added.isSpecial(token) { tokens.append(token) }
        }
        let made = try decoder?.apply(to: tokens) ?? [Array(tokens.joined(separator: [32]))]
        return String(decoding: made.joined(), as: UTF8.self)
    }

    private func spelled(_ id: Int32) -> [UInt8]? {
        added.entry(id)?.spelled ?? model.vocabulary.text(ofId: id).map(Array.init)
    }

    /// The text of ids up to the first that is in `end`, without special tokens; where the model has an
    /// `end_of_word_suffix`, what is left of it becomes a space and spaces around the text go
    /// (docs/plan-format.md, "Texts").
    public func text(of ids: [Int], end: Set<Int> = []) throws -> String {
        let kept = Array(ids.prefix { !end.contains($0) })
        if let stray = kept.first(where: { $0 < 0 || $0 > Int(Int32.max) }) {
            throw Fault.run("detokenize: \(stray) is the id of no token")
        }
        let text = try decode(kept, skipSpecialTokens: true)
        guard case .bytePairs(let model) = model, !model.rules.suffix.isEmpty else { return text }
        let spaced = TokenDecoder.replace(Array(text.utf8), model.rules.suffix, by: [32])
        let scalars = UTF8Text.scalars(spaced)
        func isSpace(_ c: UInt32) -> Bool { Characters.isWhiteSpace(c) || (c >= 0x1C && c <= 0x1F) }
        let low = scalars.prefix(while: isSpace).count
        let high = scalars.count - scalars.dropFirst(low).reversed().prefix(while: isSpace).count
        return String(decoding: UTF8Text.bytes(scalars[low ..< high]), as: UTF8.self)
    }

    /// Of a token as it is spelled in the file (byte by byte, not by canonical equivalence).
    public func id(of token: String) -> Int? {
        let bytes = Array(token.utf8)
        return (added.id(of: bytes) ?? model.vocabulary.id(of: bytes)).map(Int.init)
    }
}
