/// Which characters a place of a pattern takes.
struct Taken: Sendable {
    /// Of the first 128.
    private var low: (UInt64, UInt64) = (0, 0)
    private var ranges: [ClosedRange<UInt32>] = []
    /// General categories, as bits.
    private var categories: UInt32 = 0
    private var notCategories: [UInt32] = []
    private var words: [Bool] = []
    private var spaces: [Bool] = []
    private var turned = false

    init() {}

    init(_ c: UInt32) { add(c ... c) }

    /// Everything but a line feed.
    static let notNewline: Taken = {
        var set = Taken(10)
        set.turn()
        return set
    }()

    mutating func add(_ range: ClosedRange<UInt32>) {
        ranges.append(range)
        fill()
    }

    mutating func add(categories bits: UInt32, turned: Bool) {
        if turned { notCategories.append(bits) } else { categories |= bits }
        fill()
    }

    mutating func addSpaces(turned: Bool) {
        spaces.append(turned)
        fill()
    }

    mutating func addWords(turned: Bool) {
        words.append(turned)
        fill()
    }

    mutating func turn() {
        turned.toggle()
        fill()
    }

    @inline(__always)
    func takes(_ c: UInt32) -> Bool {
        if c < 64 { return low.0 >> UInt64(c) & 1 == 1 }
        if c < 128 { return low.1 >> UInt64(c - 64) & 1 == 1 }
        return looksUp(c)
    }

    private mutating func fill() {
        low = (0, 0)
        for c in 0 ..< UInt32(64) where looksUp(c) { low.0 |= 1 << UInt64(c) }
        for c in UInt32(64) ..< 128 where looksUp(c) { low.1 |= 1 << UInt64(c - 64) }
    }

    private func looksUp(_ c: UInt32) -> Bool { holds(c) != turned }

    private func holds(_ c: UInt32) -> Bool {
        for range in ranges where range.contains(c) { return true }
        for other in spaces where Characters.isWhiteSpace(c) != other { return true }
        for other in words where Characters.isWordOfOniguruma(c) != other { return true }
        guard categories != 0 || !notCategories.isEmpty else { return false }
        let bit = Characters.categoryBit(c)
        if bit & categories != 0 { return true }
        for bits in notCategories where bit & bits == 0 { return true }
        return false
    }
}
