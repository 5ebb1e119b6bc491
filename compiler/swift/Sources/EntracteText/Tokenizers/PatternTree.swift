/// What a pattern is made of.
indirect enum PatternTree {
    case one(Taken)
    case all([PatternTree])
    case any([PatternTree])
    case times(PatternTree, least: Int, most: Int, Manner)
    case look(PatternTree, wanted: Bool)
    case anchor(TokenPattern.Anchor)

    enum Manner { case greedy, reluctant, possessive }

    /// Fewest characters that it takes.
    var least: Int {
        switch self {
        case .one: 1
        case .all(let parts): parts.reduce(0) { min($0 + $1.least, 1 << 20) }
        case .any(let parts): parts.map(\.least).min() ?? 0
        case .times(let part, let least, _, _): min(part.least * least, 1 << 20)
        case .look, .anchor: 0
        }
    }

    private static let mostSteps = 20_000

    func compile(into steps: inout [TokenPattern.Step]) throws {
        guard steps.count < Self.mostSteps else {
            throw PatternFault("it is too long", "patterns of at most \(Self.mostSteps) steps")
        }
        switch self {
        case .one(let set): steps.append(.take(set))
        case .all(let parts): for part in parts { try part.compile(into: &steps) }
        case .any(let parts): try Self.compile(any: parts[...], into: &steps)
        case .times(let part, let least, let most, let manner):
            try Self.compile(part, least, most, manner, into: &steps)
        case .look(let part, let wanted):
            let at = steps.count
            steps.append(.done)
            try part.compile(into: &steps)
            steps[at] = .look(behind: steps.count, wanted: wanted)
        case .anchor(let anchor): steps.append(.anchor(anchor))
        }
    }

    private static func compile(
        any parts: ArraySlice<PatternTree>, into steps: inout [TokenPattern.Step]
    ) throws {
        var ends: [Int] = []
        for (i, part) in parts.enumerated() {
            guard i + 1 < parts.count else {
                try part.compile(into: &steps)
                break
            }
            let fork = steps.count
            steps.append(.done)
            try part.compile(into: &steps)
            ends.append(steps.count)
            steps.append(.done)
            steps[fork] = .fork(fork + 1, steps.count)
        }
        for end in ends { steps[end] = .jump(steps.count) }
    }

    private static func compile(
        _ part: PatternTree, _ least: Int, _ most: Int, _ manner: Manner,
        into steps: inout [TokenPattern.Step]
    ) throws {
        if case .one(let set) = part, manner != .reluctant {
            steps.append(
                manner == .greedy
                    ? .run(set, least: least, most: most) : .keep(set, least: least, most: most))
            return
        }
        guard manner != .possessive else {
            throw PatternFault("a possessive repetition of more than one character", "one of a class")
        }
        guard part.least > 0 else {
            throw PatternFault("a repetition of what may be nothing", "one that takes a character each time")
        }
        for _ in 0 ..< least { try part.compile(into: &steps) }
        if most == .max {
            let fork = steps.count
            steps.append(.done)
            try part.compile(into: &steps)
            steps.append(.jump(fork))
            steps[fork] = self.fork(fork + 1, steps.count, manner)
        } else {
            try compile(optional: part, most - least, manner, into: &steps)
        }
    }

    private static func compile(
        optional part: PatternTree, _ times: Int, _ manner: Manner, into steps: inout [TokenPattern.Step]
    ) throws {
        var forks: [Int] = []
        for _ in 0 ..< times {
            forks.append(steps.count)
            steps.append(.done)
            try part.compile(into: &steps)
        }
        for fork in forks { steps[fork] = self.fork(fork + 1, steps.count, manner) }
    }

    private static func fork(_ more: Int, _ behind: Int, _ manner: Manner) -> TokenPattern.Step {
        manner == .greedy ? .fork(more, behind) : .fork(behind, more)
    }
}
