/// How a text is cleaned before it becomes ids: docs/prompts.md has the rules in words.
public enum Cleaning: String, Sendable, CaseIterable {
    case lower, caption, prompt

    private static let space = Expression(#"\s+"#)

    /// The text cleaned. Takes time in proportion to it, but for references that were escaped again
    /// and again, which are read one level at a time.
    public func clean(_ text: String) -> String { String(scalars: clean(text.scalars)) }

    func clean(_ text: Scalars) -> Scalars {
        switch self {
        case .lower: return text.lowered().stripped()
        // The second time may see markup that had been escaped.
        case .caption: return Caption.clean(Caption.clean(text))
        case .prompt:
            let plain = References.read(References.read(Mend.mend(text))).stripped()
            return Cleaning.space.replacing(in: plain, with: [0x20]).stripped()
        }
    }
}
