/// What an expression is made of.
indirect enum ExpressionPart {
    case one(ScalarClass)
    case sequence([ExpressionPart])
    case either([ExpressionPart])
    /// Greedy; nil: as often as it likes.
    case repeated(ExpressionPart, least: Int, most: Int?)
    /// The one part whose place a match tells.
    case group(ExpressionPart)
    case boundary, begin, end
    /// What follows is not of the class.
    case notAhead(ScalarClass)
}

/// Reads the notation of docs/prompts.md: literals, classes, `\s \S \d \D \w \W \b \A \Z`, `(?:...)`,
/// one `(...)`, `(?!c)` of one character, `|`, and the greedy `? * + {n} {m,n} {m,}`.
///
/// Expressions are written in this module, never given: what it cannot read is a mistake of ours.
struct ExpressionParser {
    private let text: Scalars
    private var place = 0

    static func pattern(_ text: String) -> ExpressionPart {
        var parser = ExpressionParser(text: text.scalars)
        let made = parser.alternatives()
        precondition(parser.place == parser.text.count, "expression \(text): stops at \(parser.place)")
        return made
    }

    private init(text: Scalars) { self.text = text }

    private var next: Unicode.Scalar? {
        place < text.count ? Unicode.Scalar(text[place]) : nil
    }

    private mutating func take() -> Unicode.Scalar {
        defer { place += 1 }
        return Unicode.Scalar(text[place])!
    }

    private mutating func takes(_ words: String) -> Bool {
        guard text[place...].starts(with: words.scalars) else { return false }
        place += words.unicodeScalars.count
        return true
    }

    private mutating func alternatives() -> ExpressionPart {
        var made = [sequence()]
        while takes("|") { made.append(sequence()) }
        return made.count == 1 ? made[0] : .either(made)
    }

    private mutating func sequence() -> ExpressionPart {
        var made: [ExpressionPart] = []
        while let sign = next, sign != "|", sign != ")" {
            let part = atom()
            made.append(times(part))
        }
        return .sequence(made)
    }

    private mutating func times(_ part: ExpressionPart) -> ExpressionPart {
        if takes("?") { return .repeated(part, least: 0, most: 1) }
        if takes("*") { return .repeated(part, least: 0, most: nil) }
        if takes("+") { return .repeated(part, least: 1, most: nil) }
        guard takes("{") else { return part }
        let least = number()
        guard takes(",") else {
            precondition(takes("}"))
            return .repeated(part, least: least, most: least)
        }
        let most = next == "}" ? nil : number()
        precondition(takes("}"))
        return .repeated(part, least: least, most: most)
    }

    private mutating func number() -> Int {
        var made = 0
        while let sign = next, Kinds.isAsciiDigit(sign.value) { made = made * 10 + Int(take().value - 0x30) }
        return made
    }

    private mutating func atom() -> ExpressionPart {
        if takes("(?!") {
            defer { precondition(takes(")")) }
            guard case .one(let kind) = atom() else { preconditionFailure("(?! of one character") }
            return .notAhead(kind)
        }
        if takes("(?:") {
            defer { precondition(takes(")")) }
            return alternatives()
        }
        if takes("(") {
            defer { precondition(takes(")")) }
            return .group(alternatives())
        }
        if takes(#"\b"#) { return .boundary }
        if takes(#"\A"#) { return .begin }
        if takes(#"\Z"#) { return .end }
        if takes("[") { return .one(brackets()) }
        return .one(ScalarClass([item()]))
    }

    private mutating func brackets() -> ScalarClass {
        let isNegated = takes("^")
        var items: [ScalarClass.Item] = []
        while !takes("]") {
            let first = item()
            if case .range(let range) = first, next == "-", text[place + 1] != 0x5D {
                place += 1
                guard case .range(let last) = item() else { preconditionFailure("range of classes") }
                items.append(.range(range.lowerBound...last.upperBound))
            } else {
                items.append(first)
            }
        }
        return ScalarClass(items, isNegated: isNegated)
    }

    private mutating func item() -> ScalarClass.Item {
        let sign = take()
        guard sign == "\\" else { return .range(sign.value...sign.value) }
        let named = take()
        return switch named {
        case "s", "S": .space(named == "s")
        case "d", "D": .digit(named == "d")
        case "w", "W": .word(named == "w")
        default: .range(named.value...named.value)
        }
    }
}
