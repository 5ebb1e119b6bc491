import EntractePlan

/// How a prompt says what each part of a long video shows, and what it is to be rated.
enum Segments {
    private static let first = "|0|"

    /// Of `|0|one|2|another` the last segment whose number is not above `number`; a text that begins
    /// otherwise is one segment. Throws a `Fault` of kind `run` for what begins with `|0|` and is no list.
    static func segment(_ number: Int, of text: Scalars) throws -> Scalars {
        guard text.starts(with: first.scalars) else { return text }
        let split = text.split(separator: 0x7C, omittingEmptySubsequences: false)
        let parts = split.dropFirst().map(Scalars.init)
        let begins = stride(from: 0, to: parts.count, by: 2).map { begin(parts[$0]) }
        let rises = zip(begins, begins.dropFirst()).allSatisfy { $0 < $1 }
        guard parts.count % 2 == 0, rises,
            let last = begins.lastIndex(where: { $0 <= number })
        else {
            let shown = words(String(scalars: text.prefix(80)))
            throw Fault.run(
                "tokenize: \(shown) begins with \(first) and is no list of segments; give "
                    + "|0|TEXT|N|TEXT with rising numbers and no other | in the texts, or leave the |0| away")
        }
        return parts[2 * last + 1].stripped()
    }

    /// The number of a segment: up to six digits; -1 of anything else.
    private static func begin(_ text: Scalars) -> Int {
        let digits = text.stripped()
        guard 1...6 ~= digits.count, digits.allSatisfy(Kinds.isAsciiDigit) else { return -1 }
        return digits.reduce(0) { $0 * 10 + Int($1 - 0x30) }
    }

    /// The text and, behind it, each of the scores `LABEL: VALUE` whose label it does not have.
    static func scored(_ text: Scalars, _ scores: [String]) -> Scalars {
        scores.reduce(text) { text, score in
            let codes = score.scalars
            let label = Scalars(codes.prefix { $0 != 0x3A }) + [0x3A]
            return text.holds(label) ? text : text + [0x20] + codes + [0x2E]
        }
    }
}
