import EntractePlan
import Foundation

/// What a `tokenizer.json` of the `tokenizers` library says: texts into ids and back, exactly as that
/// library (0.23) does it. What is not implemented is refused when the file is read.
///
/// The file's sections `truncation` and `padding` are not read (docs/plan-format.md, `tokenize`).
public final class Tokenizer: Sendable {
    /// Larger files are refused.
    public static let mostBytes = 64 << 20

    /// Throws a `Fault` of kind `plan` where the file is none, or says what is not implemented.
    public convenience init(contentsOf file: URL) throws {
        try self.init(Data(contentsOf: file))
    }

    public init(_ data: Data, name: String = "tokenizer.json") throws {
        throw Fault.plan("\(name): tokenizers are not implemented yet")
    }

    /// The tokens of `text`.
    ///
    /// With `atMost`, tokens of the text are dropped at `side` before the post-processor adds its marks,
    /// so that there are as many in all (more only where a template puts the text twice).
    /// Throws a `Fault` of kind `run` where the tokenizer has no token for a part of the text.
    public func encode(
        _ text: String, addSpecialTokens: Bool, atMost: Int? = nil, droppingFrom side: TruncationSide = .right
    ) throws -> Encoding {
        Encoding(ids: [], begins: [], ends: [], isMark: [])
    }

    /// The text of `ids`; those of no token are left out, and special ones with `skipSpecialTokens`.
    public func decode(_ ids: [Int], skipSpecialTokens: Bool) throws -> String { "" }

    /// The text of ids up to the first that is in `end`, without special tokens; where the model has an
    /// `end_of_word_suffix`, what is left of it becomes a space and spaces around the text go
    /// (docs/plan-format.md, "Texts").
    public func text(of ids: [Int], end: Set<Int> = []) throws -> String { "" }

    /// Tokens of the model and added ones.
    public let vocabularySize: Int = 0

    /// The largest id of a token.
    public let largestId: Int = 0

    /// How many marks the post-processor adds to a text.
    public let marksAdded: Int = 0

    /// Of a token as it is spelled in the file (byte by byte, not by canonical equivalence).
    public func id(of token: String) -> Int? { nil }
}
