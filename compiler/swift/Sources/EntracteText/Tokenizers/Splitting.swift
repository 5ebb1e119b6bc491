/// What becomes of the parts of a text that a pattern matches, and of those between them.
enum Splitting: String, Sendable, CaseIterable {
    case removed = "Removed"
    case isolated = "Isolated"
    case mergedWithPrevious = "MergedWithPrevious"
    case mergedWithNext = "MergedWithNext"
    case contiguous = "Contiguous"

    /// Parts of `0 ..< count`: `matches` and what is between, or with `inverted` the other way about.
    func parts(_ matches: [Range<Int>], of count: Int, inverted: Bool = false) -> [Range<Int>] {
        guard count > 0 else { return [] }
        var all: [(range: Range<Int>, isMatch: Bool)] = []
        var at = 0
        for match in matches {
            if at < match.lowerBound { all.append((at ..< match.lowerBound, inverted)) }
            all.append((match, !inverted))
            at = match.upperBound
        }
        if at < count { all.append((at ..< count, inverted)) }
        switch self {
        case .removed: return all.filter { !$0.isMatch }.map(\.range)
        case .isolated: return all.map(\.range)
        case .contiguous: return Self.joined(all) { $0 == $1 }
        case .mergedWithPrevious: return Self.joined(all) { $0 && !$1 }
        case .mergedWithNext:
            let mirrored = all.reversed().map {
                (count - $0.range.upperBound ..< count - $0.range.lowerBound, $0.isMatch)
            }
            return Self.joined(mirrored) { $0 && !$1 }.reversed().map {
                count - $0.upperBound ..< count - $0.lowerBound
            }
        }
    }

    /// A part goes to the one before it where `joins` says so of whether the two are matches.
    private static func joined(
        _ all: [(range: Range<Int>, isMatch: Bool)], _ joins: (Bool, Bool) -> Bool
    ) -> [Range<Int>] {
        var made: [Range<Int>] = []
        var wasMatch = false
        for (range, isMatch) in all {
            if joins(isMatch, wasMatch), let last = made.last {
                made[made.count - 1] = last.lowerBound ..< range.upperBound
            } else {
                made.append(range)
            }
            wasMatch = isMatch
        }
        return made
    }
}

extension Stretch {
    func parts(where takes: (UInt32) -> Bool, _ splitting: Splitting) -> [Stretch] {
        let matches = scalars.indices.filter { takes(scalars[$0]) }.map { $0 ..< $0 + 1 }
        return splitting.parts(matches, of: count).map(cut)
    }
}
