/// A regular expression of a `tokenizer.json`: the part of Oniguruma's language that tokenizers use.
///
/// Alternatives, groups without numbers, `(?i:...)` of ASCII, looking ahead, classes, `* + ? {n,m}`,
/// greedy, reluctant or possessive, and anchors. Anything else is refused, and so is what matches
/// nothing at all. Scalars are matched as they stand.
///
/// Cleaning has another search (`Expression`), of docs/prompts.md's own classes, in time proportional to
/// the text; looking ahead at anything and possessive repetitions are not for it.
struct TokenPattern: Sendable {
    /// One step; steps are tried one after the other, alternatives where the first way fails.
    enum Step: Sendable {
        case take(Taken)
        /// As many as there are, then fewer, from `least` on.
        case run(Taken, least: Int, most: Int)
        /// As many as there are.
        case keep(Taken, least: Int, most: Int)
        case fork(Int, Int)
        case jump(Int)
        /// Looks ahead: the steps up to `behind` match here, or must not.
        case look(behind: Int, wanted: Bool)
        case anchor(Anchor)
        case done
    }

    enum Anchor: Sendable { case textBegin, textEnd, lineBegin, lineEnd, textEndOrNewline }

    let steps: [Step]

    /// The text itself, character by character. Nothing matches an empty one.
    init(literal: [UInt32]) {
        steps = literal.map { Step.take(Taken($0)) } + [.done]
    }

    /// Throws a `PatternFault`.
    init(parsing text: String) throws {
        var parser = PatternParser(text)
        let tree = try parser.whole()
        guard tree.least > 0 else {
            throw PatternFault(
                "it matches where there is nothing", "a pattern that takes a character at least")
        }
        var made: [Step] = []
        try tree.compile(into: &made)
        made.append(.done)
        steps = made
    }

    /// All matches from left to right, none empty. Throws a `PatternFault` where that takes too long.
    func matches(in text: [UInt32]) throws -> [Range<Int>] {
        guard steps.count > 1 else { return [] }
        var found: [Range<Int>] = []
        var search = PatternSearch(steps: steps, characters: text.count)
        try text.withUnsafeBufferPointer { text in
            var at = 0
            while at < text.count {
                let end = try search.end(text, from: at)
                if end > at {
                    found.append(at ..< end)
                    at = end
                } else {
                    at += 1
                }
            }
        }
        return found
    }
}

/// What is wrong with a pattern, and what is not.
struct PatternFault: Error {
    let what: String
    let allowed: String

    init(_ what: String, _ allowed: String) {
        self.what = what
        self.allowed = allowed
    }
}

/// Tries one way after the other.
struct PatternSearch {
    let steps: [TokenPattern.Step]
    /// Ways not tried yet: the step, the place, and of a run the place it may not go below.
    private var ways: [(step: Int, at: Int, least: Int)] = []
    private var tried = 0
    /// In all of a text: some for each of its characters.
    private let mostTried: Int
    private static let mostWays = 4_000_000

    init(steps: [TokenPattern.Step], characters: Int) {
        self.steps = steps
        mostTried = 1_000_000 + 500 * min(characters, 1 << 32)
    }

    /// The end of the match that begins here; -1 where there is none.
    mutating func end(_ text: UnsafeBufferPointer<UInt32>, from start: Int) throws -> Int {
        ways.removeAll(keepingCapacity: true)
        return try go(text, step: 0, at: start, until: -1)
    }

    private mutating func go(
        _ text: UnsafeBufferPointer<UInt32>, step first: Int, at start: Int, until last: Int
    ) throws -> Int {
        let floor = ways.count
        var (step, at) = (first, start)
        while true {
            tried += 1
            if tried > mostTried || ways.count > Self.mostWays {
                throw PatternFault("matching it takes too long", "a pattern that needs fewer tries")
            }
            if step == last { return leave(floor, at) }
            var failed = false
            switch steps[step] {
            case .done: return leave(floor, at)
            case .take(let set):
                failed = at >= text.count || !set.takes(text[at])
                at += 1
                step += 1
            case .run(let set, let least, let most):
                let end = Self.end(text, at, set, most)
                failed = end - at < least
                if !failed, end > at + least { ways.append((step + 1, end - 1, at + least)) }
                at = end
                step += 1
            case .keep(let set, let least, let most):
                let end = Self.end(text, at, set, most)
                failed = end - at < least
                at = end
                step += 1
            case .fork(let one, let other):
                ways.append((other, at, at))
                step = one
            case .jump(let target): step = target
            case .look(let behind, let wanted):
                let found = try go(text, step: step + 1, at: at, until: behind) >= 0
                failed = found != wanted
                step = behind
            case .anchor(let anchor):
                failed = !Self.holds(anchor, text, at)
                step += 1
            }
            if failed {
                guard ways.count > floor, let way = ways.popLast() else { return -1 }
                (step, at) = (way.step, way.at)
                if way.at > way.least { ways.append((way.step, way.at - 1, way.least)) }
            }
        }
    }

    private mutating func leave(_ floor: Int, _ at: Int) -> Int {
        ways.removeSubrange(floor...)
        return at
    }

    @inline(__always)
    private static func end(
        _ text: UnsafeBufferPointer<UInt32>, _ start: Int, _ set: Taken, _ most: Int
    ) -> Int {
        var at = start
        let bound = text.count - start > most ? start + most : text.count
        while at < bound, set.takes(text[at]) { at += 1 }
        return at
    }

    private static func holds(
        _ anchor: TokenPattern.Anchor, _ text: UnsafeBufferPointer<UInt32>, _ at: Int
    ) -> Bool {
        switch anchor {
        case .textBegin: at == 0
        case .textEnd: at == text.count
        case .lineBegin: at == 0 || (at < text.count && text[at - 1] == 10)
        case .lineEnd: at == text.count || text[at] == 10
        case .textEndOrNewline: at == text.count || (at == text.count - 1 && text[at] == 10)
        }
    }
}
