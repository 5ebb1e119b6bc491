/// An expression, ready to search with.
///
/// A search takes time in proportion to the text, whatever the text: no state of the expression is
/// tried twice at one place (backtracking that remembers). Matches are those of a backtracking
/// search: the leftmost one, alternatives in their order, as much as each part can.
///
/// Not for tokenizers: their patterns (`TokenPattern`) come from strangers, have other classes, look ahead
/// at anything and may be reluctant or possessive, which needs a search that forgets; it has a limit of
/// tries instead of this one's promise. This one has what theirs lacks: `\b` and a group.
struct Expression: Sendable {
    enum Step: Sendable {
        case one(Int)
        /// First there, then there.
        case split(Int, Int)
        case jump(Int)
        /// The group begins (0) or ends (1).
        case mark(Int)
        case boundary, begin, end
        case notAhead(Int)
        case found
    }

    private(set) var steps: [Step] = []
    private(set) var classes: [ScalarClass] = []
    /// Of what a match begins with.
    private(set) var firsts: [Int] = []

    init(_ text: String) {
        add(ExpressionParser.pattern(text))
        steps.append(.found)
        firsts = firstClasses()
    }

    func canBegin(with code: UInt32) -> Bool {
        for index in firsts where classes[index].contains(code) { return true }
        return false
    }

    private mutating func add(_ pattern: ExpressionPart) {
        switch pattern {
        case .one(let kind): steps.append(.one(index(of: kind)))
        case .notAhead(let kind): steps.append(.notAhead(index(of: kind)))
        case .boundary: steps.append(.boundary)
        case .begin: steps.append(.begin)
        case .end: steps.append(.end)
        case .sequence(let parts): parts.forEach { add($0) }
        case .group(let part):
            steps.append(.mark(0))
            add(part)
            steps.append(.mark(1))
        case .either(let parts): addEither(parts)
        case .repeated(let part, let least, let most): addRepeated(part, least, most)
        }
    }

    private mutating func index(of kind: ScalarClass) -> Int {
        classes.append(kind)
        return classes.count - 1
    }

    private mutating func addEither(_ parts: [ExpressionPart]) {
        var jumps: [Int] = []
        for part in parts.dropLast() {
            let split = steps.count
            steps.append(.found)
            add(part)
            jumps.append(steps.count)
            steps.append(.found)
            steps[split] = .split(split + 1, steps.count)
        }
        if let last = parts.last { add(last) }
        for jump in jumps { steps[jump] = .jump(steps.count) }
    }

    private mutating func addRepeated(_ part: ExpressionPart, _ least: Int, _ most: Int?) {
        for _ in 0..<least { add(part) }
        guard let most else {
            let split = steps.count
            steps.append(.found)
            add(part)
            steps.append(.jump(split))
            steps[split] = .split(split + 1, steps.count)
            return
        }
        var splits: [Int] = []
        for _ in least..<most {
            splits.append(steps.count)
            steps.append(.found)
            add(part)
        }
        for split in splits { steps[split] = .split(split + 1, steps.count) }
    }

    /// What the first character may be, assertions left aside.
    private func firstClasses() -> [Int] {
        var found: [Int] = []
        var open = [0]
        var seen = Set<Int>()
        while let place = open.popLast() {
            guard seen.insert(place).inserted else { continue }
            switch steps[place] {
            case .one(let index): found.append(index)
            case .split(let first, let second): open += [second, first]
            case .jump(let to): open.append(to)
            case .found: preconditionFailure("an expression that matches nothing")
            default: open.append(place + 1)
            }
        }
        return found
    }
}

extension Expression {
    /// The text with `made`, behind the group where it is `keeping` that, for each match.
    func replacing(in text: Scalars, with made: Scalars, keeping: Bool = false) -> Scalars {
        var search = Search(self, text)
        guard var match = search.next(from: 0) else { return text }
        var result = Scalars()
        result.reserveCapacity(text.count)
        var place = 0
        while true {
            result += text[place..<match.range.lowerBound]
            if keeping { result += text[match.group] }
            result += made
            place = match.range.upperBound
            guard let following = search.next(from: place) else { break }
            match = following
        }
        return result + text[place...]
    }

    func isFound(in text: Scalars) -> Bool {
        var search = Search(self, text)
        return search.next(from: 0) != nil
    }
}
