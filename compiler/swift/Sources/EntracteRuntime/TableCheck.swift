import EntractePlan

/// What a table refuses: numbers with which sums could leave 64 bits.
enum TableCheck {
    /// Most bytes of all units, of a step's need, and of the budget.
    static let mostBytes = 1 << 60
    /// Most nanoseconds of all steps, and of all loads.
    static let mostNs = 1 << 60
    /// Most numbers that the times of a segment's iterations take.
    static let mostPrefixes = 1 << 24

    static func add(_ a: Int, _ b: Int) throws -> Int {
        let (sum, over) = a.addingReportingOverflow(b)
        guard !over && sum <= mostNs else { throw Fault.plan("table: nominal times exceed \(mostNs) ns") }
        return sum
    }

    static func multiply(_ a: Int, _ b: Int) throws -> Int {
        let (product, over) = a.multipliedReportingOverflow(by: b)
        guard !over && product <= mostNs else {
            throw Fault.plan("table: nominal times exceed \(mostNs) ns")
        }
        return product
    }

    static func pieces(_ pieces: Int, _ length: Int) throws {
        let (all, over) = pieces.multipliedReportingOverflow(by: length + 1)
        guard !over && all <= mostPrefixes else {
            throw Fault.plan("table: a loop of \(length) steps changes its calls \(pieces - 1) times")
        }
    }

    /// Nothing is negative, nothing too large to be summed.
    static func sizes(_ units: [Table.Unit], _ segments: [TableSegment], _ budgetBytes: Int) throws {
        let steps = segments.lazy.flatMap(\.steps)
        let bytes = units.map(\.sizeBytes), ns = units.flatMap { [$0.loadNs, $0.coldNs] }
        guard sum(bytes, mostBytes) != nil && budgetBytes.magnitude <= mostBytes.magnitude
            && steps.allSatisfy({ [$0.needBytes, $0.idleBytes].allSatisfy { (0...mostBytes).contains($0) } })
            && steps.allSatisfy({ [$0.leftBytes, $0.endBytes].allSatisfy { (0...mostBytes).contains($0) } })
        else { throw Fault.plan("table: sizes are negative or exceed \(mostBytes) bytes") }
        guard sum(ns, mostNs) != nil
            && steps.allSatisfy({ $0.execNs >= 0 && $0.switch.allSatisfy { $0.ns >= 0 } })
        else { throw Fault.plan("table: times are negative or exceed \(mostNs) ns") }
        guard steps.allSatisfy({ zip($0.at, $0.at.dropFirst()).allSatisfy(<) && ($0.at.first ?? 0) >= 0 })
        else { throw Fault.plan("table: the iterations of a call do not rise from 0 on") }
    }

    /// Nil where a number is negative or the sum is above `most`.
    private static func sum(_ numbers: [Int], _ most: Int) -> Int? {
        var total = 0
        for x in numbers {
            guard x >= 0 && x <= most - total else { return nil }
            total += x
        }
        return total
    }

    static func bases(_ segments: [TableSegment]) throws -> ([Int], Int) {
        var bases: [Int] = []
        var total = 0
        guard !segments.isEmpty else { throw Fault.plan("table: there are no steps") }
        for segment in segments {
            guard segment.count >= 1 && !segment.steps.isEmpty else {
                throw Fault.plan("table: segment \(bases.count) has no steps")
            }
            bases.append(total)
            let (steps, over) = segment.count.multipliedReportingOverflow(by: segment.steps.count)
            guard !over && steps <= mostNs - total else { throw Fault.plan("table: too many steps") }
            total += steps
        }
        return (bases, total)
    }
}

/// Kept chunks that leave room for any other of their segment: without it nothing could run.
struct KeptRoom {
    let rows: [TableRow]
    /// By chunk's number.
    let sizes: [Int]
    let numbers: [String: Int]
    let budgetBytes: Int

    /// By rising `slower`; chunks in order of first call. One that the program does not call is left out.
    func levels(_ kept: [Kept]) throws -> [(slower: Int, chunks: [Int])] {
        let called = rows.map { Set($0.chunk.filter { $0 >= 0 }).sorted() }
        let rising = kept.enumerated().sorted {
            ($0.element.slower, $0.offset) < ($1.element.slower, $1.offset)
        }
        return try rising.map { _, k in
            let slower = (k.slower * Double(OnlineRule.one)).rounded(.toNearestOrEven)
            guard slower.isFinite && slower.magnitude < 0x1p62 else {
                throw Fault.plan("plan: schedule.kept is for loads \(k.slower) times as slow")
            }
            return (Int(slower), withRoom(Set(k.chunks.compactMap { numbers[$0] }), called))
        }
    }

    private func withRoom(_ wanted: Set<Int>, _ called: [[Int]]) -> [Int] {
        var kept = wanted
        for (row, chunks) in zip(rows, called) {
            while let over = over(kept, chunks, row.mostNeedBytes), over > 0 {
                let here = chunks.filter(kept.contains)
                let enough = here.filter { sizes[$0] >= over }
                // The first of the smallest that suffice, else the first of the largest.
                let least = enough.min { (sizes[$0], $0) < (sizes[$1], $1) }
                let largest = here.min { (-sizes[$0], $0) < (-sizes[$1], $1) }
                guard let choice = least ?? largest else { break }
                kept.remove(choice)
            }
        }
        return kept.sorted()
    }

    /// Bytes by which a segment's kept chunks with its largest other one exceed the budget; nil where it
    /// keeps none.
    private func over(_ kept: Set<Int>, _ chunks: [Int], _ need: Int) -> Int? {
        var held = 0, other = 0, any = false
        for chunk in chunks {
            if kept.contains(chunk) {
                (held, any) = (held + sizes[chunk], true)
            } else {
                other = max(other, sizes[chunk])
            }
        }
        return any ? held + other + need - budgetBytes : nil
    }
}
