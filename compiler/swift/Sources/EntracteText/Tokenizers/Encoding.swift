/// The ids of a text, and what of the text each of them stands for.
public struct Encoding: Sendable, Equatable {
    /// One for each token, in order.
    public let ids: [Int]
    /// Where the token's part of the text begins, in Unicode scalars of the text as given; 0 of marks.
    public let begins: [Int]
    /// Where it ends (behind its last scalar), in Unicode scalars of the text as given; 0 of marks.
    public let ends: [Int]
    /// Whether the post-processor added the token, so that it stands for no text. (A special token that
    /// is spelled in the text is not one.)
    public let isMark: [Bool]

    public init(ids: [Int], begins: [Int], ends: [Int], isMark: [Bool]) {
        self.ids = ids
        self.begins = begins
        self.ends = ends
        self.isMark = isMark
    }
}

/// Which end of a text is dropped where it has too many tokens.
public enum TruncationSide: String, Sendable {
    case left, right
}
