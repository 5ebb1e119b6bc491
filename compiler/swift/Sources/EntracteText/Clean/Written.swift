import EntractePlan

/// What is done to a text before it becomes ids, in this order: `segment`, `scores`, `clean`, then
/// `prefix` and `suffix` around it (docs/prompts.md).
public struct TextRule: Sendable, Equatable {
    public let segment: Int?
    public let scores: [String]
    public let clean: Cleaning?
    public let prefix: String
    public let suffix: String
    /// Unicode scalars of a text that is cleaned.
    static let mostCleaned = 10_000

    public init(
        segment: Int? = nil, scores: [String] = [], clean: Cleaning? = nil, prefix: String = "",
        suffix: String = ""
    ) {
        self.segment = segment
        self.scores = scores
        self.clean = clean
        self.prefix = prefix
        self.suffix = suffix
    }

    /// What becomes ids. Throws a `Fault` of kind `run` for segments that are none, and for a text that
    /// is too long to be cleaned.
    public func written(_ given: String) throws -> String {
        var text = given.scalars
        if let segment { text = try Segments.segment(segment, of: text) }
        text = Segments.scored(text, scores)
        if let clean {
            guard text.count <= TextRule.mostCleaned else {
                throw Fault.run(
                    "tokenize: a text of \(text.count) characters is to be cleaned (\(clean.rawValue)); "
                        + "give at most \(TextRule.mostCleaned)")
            }
            text = clean.clean(text)
        }
        return prefix + String(scalars: text) + suffix
    }
}

extension TextRule {
    /// White space as docs/prompts.md means it: White_Space and U+001C to U+001F.
    package static func isSpace(_ sign: Unicode.Scalar) -> Bool { Kinds.isSpace(sign.value) }
}
