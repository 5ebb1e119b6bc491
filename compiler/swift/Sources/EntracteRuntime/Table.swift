import EntractePlan

/// A program as drivers and machines read it: numbers, in iterations that are never unrolled.
///
/// Steps of all iterations are numbered 0, 1, 2, ...; `end` is the number after the last one and means
/// "never". Chunks have numbers too, by their first unit. Specified in docs/online-rule.md, whose names
/// are used here. Never changes.
package final class Table: Sendable {
    package let units: [Unit]
    package let segments: [TableSegment]
    package let budgetBytes: Int
    /// The number of each segment's first step.
    package let bases: [Int]
    /// The number after the last step.
    package let end: Int
    /// Names by number.
    package let chunks: [String]
    /// Unit -> its chunk's number.
    package let chunkOf: [Int]
    /// Chunk's number -> its units.
    package let unitsOf: [Range<Int>]
    /// Chunk's number -> bytes of all its units.
    package let chunkBytes: [Int]
    /// Kept chunks by rising `slower`, made fewer so that there is room for any other.
    package let levels: [Level]
    /// Nominal nanoseconds of all steps.
    package let totalNs: Int

    let rows: [TableRow]
    let homes: [[ChunkHome]]
    /// Of each level: chunk's number -> whether it is kept.
    let keeps: [[Bool]]

    /// `kept`: chunks that stay loaded over their loop while the largest other one of it still fits
    /// beside them; those too many are left out. Throws a `Fault` of kind plan where units of a chunk do
    /// not stand together, a step calls a chunk that has none, or numbers are too large to count with.
    package init(units: [Unit], segments: [TableSegment], budgetBytes: Int, kept: [Kept] = []) throws {
        self.units = units
        self.segments = segments
        self.budgetBytes = budgetBytes
        try TableCheck.sizes(units, segments, budgetBytes)
        let numbering = try ChunkNumbers(units)
        (chunks, chunkOf, unitsOf) = (numbering.names, numbering.chunkOf, numbering.unitsOf)
        let bytes = numbering.unitsOf.map { $0.reduce(0) { $0 + units[$1].sizeBytes } }
        chunkBytes = bytes
        (bases, end) = try TableCheck.bases(segments)
        (rows, totalNs) = try TableRow.rows(segments, units, numbering, bases)
        homes = ChunkHome.homes(rows, chunks: numbering.names.count)
        let room = KeptRoom(rows: rows, sizes: bytes, numbers: numbering.numbers, budgetBytes: budgetBytes)
        let made = try room.levels(kept)
        levels = made.map { Level(slower: $0.slower, chunks: $0.chunks.map { numbering.names[$0] }) }
        keeps = made.map { level in
            var flags = [Bool](repeating: false, count: bytes.count)
            for chunk in level.chunks { flags[chunk] = true }
            return flags
        }
    }

    // MARK: steps

    /// The step with this number as its segment has it, whether it rests there or not.
    package func step(_ n: Int) -> TableStep {
        let row = rows[segment(of: n)]
        return segments[row.number].steps[(n - row.base) % row.length]
    }

    /// Segment, iteration and step of the step with this number.
    package func place(_ n: Int) -> StepPlace {
        let row = rows[segment(of: n)]
        let (iteration, step) = (n - row.base).quotientAndRemainder(dividingBy: row.length)
        return StepPlace(segment: row.number, iteration: iteration, step: step)
    }

    /// The number of the chunk that a step calls; nil of a host step and of a call that rests.
    package func chunk(_ n: Int) -> Int? {
        let row = rows[segment(of: n)]
        let (iteration, step) = (n - row.base).quotientAndRemainder(dividingBy: row.length)
        let chunk = row.chunk[step]
        return chunk >= 0 && row.isCalled(step, iteration) ? chunk : nil
    }

    /// What a step needs in its iteration beside chunks.
    package func needBytes(_ n: Int) -> Int {
        let row = rows[segment(of: n)]
        let (iteration, step) = (n - row.base).quotientAndRemainder(dividingBy: row.length)
        return row.isCalled(step, iteration) ? row.need[step] : row.idle[step]
    }

    /// Nominal time of a step in its iteration.
    package func execNs(_ n: Int) -> Int {
        let row = rows[segment(of: n)]
        let (iteration, step) = (n - row.base).quotientAndRemainder(dividingBy: row.length)
        let ns = row.piece(of: iteration).prefixNs
        return ns[step + 1] - ns[step]
    }

    /// The step after step n; if the loop of step n is over, the first one after the loop.
    package func after(_ n: Int, over: Bool) -> Int { over ? segmentEnd(n) : n + 1 }

    /// The number after the last step of step n's segment.
    package func segmentEnd(_ n: Int) -> Int {
        let s = segment(of: n)
        return s + 1 < bases.count ? bases[s + 1] : end
    }

    // MARK: what the rule asks

    /// The first step from n on that calls the chunk, if no loop ends early; else `end`.
    package func nextUse(_ chunk: Int, from n: Int) -> Int {
        for home in homes[chunk] {
            if let use = home.nextUse(from: n) { return use }
        }
        return end
    }

    /// The largest need of the steps `first` to `last`, both included, as if none rested.
    package func mostNeed(_ first: Int, _ last: Int) -> Int {
        var (first, s, most) = (first, segment(of: first), 0)
        while first <= last && s < rows.count {
            let row = rows[s]
            let stop = min(last + 1, row.base + row.count * row.length)
            most = max(most, row.mostNeed(first - row.base, stop - row.base))
            (first, s) = (stop, s + 1)
        }
        return most
    }

    /// Nominal nanoseconds of all steps before step n.
    package func nominalBefore(_ n: Int) -> Int {
        if n >= end { return totalNs }
        let row = rows[segment(of: n)]
        let (iteration, step) = (n - row.base).quotientAndRemainder(dividingBy: row.length)
        let piece = row.piece(of: iteration)
        return piece.beforeNs + (iteration - piece.first) * piece.iterationNs + piece.prefixNs[step]
    }

    /// Mean nominal load time of the chunks of step n's segment, rounded down.
    package func marginNs(_ n: Int) -> Int { rows[segment(of: n)].meanLoadNs }

    /// Which of `levels` applies while loads, compared with steps, take slower / 4096 times as long as
    /// planned: the last one that is not above that.
    package func level(_ slower: Int) -> Int? { levels.lastIndex { $0.slower <= slower } }

    func segment(of n: Int) -> Int { bases.lastAtMost(n) }
}
