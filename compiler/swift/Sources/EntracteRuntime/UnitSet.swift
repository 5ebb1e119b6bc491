/// A set of units by number: one bit each.
package struct UnitSet: Equatable, Sendable {
    private var words: [UInt64]
    package private(set) var count = 0

    /// Empty, for units 0 ..< capacity.
    package init(capacity: Int) {
        words = [UInt64](repeating: 0, count: (capacity + 63) / 64)
    }

    package var isEmpty: Bool { count == 0 }

    /// Of a number that is not of a unit: false.
    package func contains(_ unit: Int) -> Bool {
        unit >= 0 && unit >> 6 < words.count && words[unit >> 6] & (1 << UInt64(unit & 63)) != 0
    }

    /// Whether all of a range are in it.
    package func contains(all units: Range<Int>) -> Bool {
        units.allSatisfy(contains)
    }

    package mutating func insert(_ unit: Int) {
        if contains(unit) { return }
        words[unit >> 6] |= 1 << UInt64(unit & 63)
        count += 1
    }

    package mutating func remove(_ unit: Int) {
        if !contains(unit) { return }
        words[unit >> 6] &= ~(1 << UInt64(unit & 63))
        count -= 1
    }

    package mutating func removeAll() {
        for k in words.indices { words[k] = 0 }
        count = 0
    }

    /// By rising number.
    package var sorted: [Int] {
        var units: [Int] = []
        units.reserveCapacity(count)
        for (k, word) in words.enumerated() {
            var rest = word
            while rest != 0 {
                units.append(k * 64 + rest.trailingZeroBitCount)
                rest &= rest - 1
            }
        }
        return units
    }
}
