/// A set of code points, as `[...]`, `\s` and the like of an expression name it.
struct ScalarClass: Sendable {
    enum Item: Sendable {
        case range(ClosedRange<UInt32>)
        case space(Bool), digit(Bool), word(Bool)

        func holds(_ code: UInt32) -> Bool {
            switch self {
            case .range(let range): range.contains(code)
            case .space(let wanted): Kinds.isSpace(code) == wanted
            case .digit(let wanted): Kinds.isDigit(code) == wanted
            case .word(let wanted): Kinds.isWord(code) == wanted
            }
        }
    }

    private let items: [Item]
    private let isNegated: Bool
    /// One bit for each code below 64, and below 128.
    private let low: UInt64
    private let high: UInt64

    init(_ items: [Item], isNegated: Bool = false) {
        self.items = items
        self.isNegated = isNegated
        let bits = { (begin: UInt32) in
            (0..<64).reduce(UInt64(0)) { made, bit in
                items.contains { $0.holds(begin + bit) } != isNegated ? made | 1 << UInt64(bit) : made
            }
        }
        (low, high) = (bits(0), bits(64))
    }

    init(_ code: UInt32) { self.init([.range(code...code)]) }

    func contains(_ code: UInt32) -> Bool {
        if code < 64 { return low >> UInt64(code) & 1 == 1 }
        if code < 128 { return high >> UInt64(code - 64) & 1 == 1 }
        return items.contains { $0.holds(code) } != isNegated
    }
}
