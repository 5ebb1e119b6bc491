import EntractePlan

extension Pixels {
    /// Sides once it is turned.
    var turned: (height: Int, width: Int) { orientation >= 5 ? (width, height) : (height, width) }

    /// What white is in the unit of `row`.
    private var white: Double {
        switch layout {
        case .grey16: 65535
        case .rgba8: 255 * 255
        case .grey8, .rgb8: 255
        }
    }

    /// Of the turned picture: the pixel of row 0 and column 0, and how far the next row and column are.
    private var walk: (begin: Int, down: Int, right: Int) {
        let last = (height - 1) * width
        switch orientation {
        case 2: return (width - 1, width, -1)
        case 3: return (last + width - 1, -width, -1)
        case 4: return (last, -width, 1)
        case 5: return (0, 1, width)
        case 6: return (last, 1, -width)
        case 7: return (last + width - 1, -1, -width)
        case 8: return (width - 1, -1, width)
        default: return (0, width, 1)
        }
    }

    /// The picture as three planes of a port's `height` x `width`, by `fit`: fractions of white, in [low, high],
    /// put at `planes` whose distance is `stride` elements. Computed in double precision, rounded once.
    func put(
        _ input: Input, _ height: Int, _ width: Int, _ planes: UnsafeMutablePointer<Float>, stride: Int
    ) {
        let sides = turned, walk = walk, white = white
        let made = resized(sides.height, sides.width, input.fit, to: height, width) { y, row in
            bytes.withUnsafeBufferPointer { fill($0, walk.begin + y * walk.down, walk.right, row) }
        }
        for k in 0..<height * width {
            for c in 0..<3 {
                let unit = made[3 * k + c] / white
                planes[c * stride + k] = Float(input.low + (input.high - input.low) * unit)
            }
        }
    }

    /// A row of the turned picture as it is stored; alpha is multiplied onto the colours.
    private func fill(
        _ bytes: UnsafeBufferPointer<UInt8>, _ begin: Int, _ step: Int, _ row: UnsafeMutableBufferPointer<Double>
    ) {
        let wide = layout.widthBytes
        var at = begin * wide
        for x in 0..<row.count / 3 {
            switch layout {
            case .grey8:
                let grey = Double(bytes[at])
                (row[3 * x], row[3 * x + 1], row[3 * x + 2]) = (grey, grey, grey)
            case .grey16:
                let grey = Double(Int(bytes[at]) | Int(bytes[at + 1]) << 8)
                (row[3 * x], row[3 * x + 1], row[3 * x + 2]) = (grey, grey, grey)
            case .rgb8:
                for c in 0..<3 { row[3 * x + c] = Double(bytes[at + c]) }
            case .rgba8:
                for c in 0..<3 { row[3 * x + c] = Double(Int(bytes[at + c]) * Int(bytes[at + 3])) }
            }
            at += step * wide
        }
    }
}

// ---------------------------------------------------------------- videos

/// The frames that a port takes, one after the other: the first ones as they come, or those that are shown
/// at k / rate seconds after the first.
func eachShown(
    _ source: any VideoSource, rate: Double, many: Int, take: (Int, Pixels) throws -> Void
) async throws -> Int {
    var k = 0
    guard rate > 0 else {
        while k < many, let frame = try await source.next() {
            try take(k, frame.pixels)
            k += 1
        }
        return k
    }
    var begin: Instant?, before: Pixels?, end = Moment.zero
    // One frame of the stream's average rate: how long the last one is shown.
    let last = Moment(source.rate.denominator, max(1, source.rate.numerator))
    while k < many, let frame = try await source.next() {
        let first = begin ?? frame.shown
        begin = first
        let time = Moment(frame.shown).minus(Moment(first))
        while let pixels = before, k < many, time.isAfter(k, rate) {
            try take(k, pixels)
            k += 1
        }
        before = frame.pixels
        end = time.plus(last)
    }
    while let pixels = before, k < many, end.isAfter(k, rate) {
        try take(k, pixels)
        k += 1
    }
    return k
}

/// A fraction of seconds, exactly: rounded, a difference of two times may be later than the moment that it is.
struct Moment: Equatable {
    static let zero = Moment(0, 1)
    let numerator: Wide
    let denominator: Wide

    init(_ numerator: Int64, _ denominator: Int64) {
        self.numerator = Wide(numerator)
        self.denominator = Wide(denominator)
    }

    init(_ shown: Instant) { self.init(shown.numerator, shown.denominator) }

    private init(_ numerator: Wide, over denominator: Wide) {
        self.numerator = numerator
        self.denominator = denominator
    }

    func minus(_ other: Moment) -> Moment {
        Moment(
            numerator * other.denominator - other.numerator * denominator,
            over: denominator * other.denominator)
    }

    func plus(_ other: Moment) -> Moment {
        Moment(
            numerator * other.denominator - other.numerator.negated * denominator,
            over: denominator * other.denominator)
    }

    /// k / rate < self, that is k * denominator < numerator * rate; `rate` finite and above 0.
    func isAfter(_ k: Int, _ rate: Double) -> Bool {
        // rate = whole * 2^power, exactly.
        let power = Int(rate.exponent) - 52
        let whole = Wide(Int64((rate.significand * 0x1p52)))
        let left = Wide(Int64(k)) * denominator, right = numerator * whole
        return power < 0 ? left.shifted(-power) < right : left < right.shifted(power)
    }
}

/// Whole numbers of any size, for a few products.
struct Wide: Equatable {
    let isNegative: Bool
    /// 32 bits each, the lowest first; none at the upper end is 0.
    let digits: [UInt32]

    init(_ value: Int64) {
        self.init(value < 0, [UInt32(truncatingIfNeeded: value.magnitude), UInt32(value.magnitude >> 32)])
    }

    private init(_ isNegative: Bool, _ digits: [UInt32]) {
        var kept = digits
        while kept.last == 0 { kept.removeLast() }
        self.digits = kept
        self.isNegative = isNegative && !kept.isEmpty
    }

    var negated: Wide { Wide(!isNegative, digits) }

    static func * (a: Wide, b: Wide) -> Wide {
        var made = [UInt32](repeating: 0, count: a.digits.count + b.digits.count)
        for (i, x) in a.digits.enumerated() {
            var carry: UInt64 = 0
            for (j, y) in b.digits.enumerated() {
                let sum = UInt64(x) * UInt64(y) + UInt64(made[i + j]) + carry
                made[i + j] = UInt32(truncatingIfNeeded: sum)
                carry = sum >> 32
            }
            made[i + b.digits.count] = UInt32(truncatingIfNeeded: carry)
        }
        return Wide(a.isNegative != b.isNegative, made)
    }

    static func - (a: Wide, b: Wide) -> Wide {
        if a.isNegative != b.isNegative { return Wide(a.isNegative, sum(a.digits, b.digits)) }
        return less(a.digits, b.digits)
            ? Wide(!a.isNegative, difference(b.digits, a.digits))
            : Wide(a.isNegative, difference(a.digits, b.digits))
    }

    static func < (a: Wide, b: Wide) -> Bool { (a - b).isNegative }

    func shifted(_ bits: Int) -> Wide {
        let low = UInt32(bits % 32)
        let padded = [UInt32](repeating: 0, count: bits / 32) + digits
        var made: [UInt32] = [], carry: UInt32 = 0
        for digit in padded {
            made.append(digit << low | carry)
            carry = low == 0 ? 0 : digit >> (32 - low)
        }
        return Wide(isNegative, made + [carry])
    }

    private static func less(_ a: [UInt32], _ b: [UInt32]) -> Bool {
        a.count != b.count ? a.count < b.count : a.reversed().lexicographicallyPrecedes(b.reversed())
    }

    private static func sum(_ a: [UInt32], _ b: [UInt32]) -> [UInt32] {
        var made: [UInt32] = [], carry: UInt64 = 0
        for k in 0..<max(a.count, b.count) {
            carry += UInt64(k < a.count ? a[k] : 0) + UInt64(k < b.count ? b[k] : 0)
            made.append(UInt32(truncatingIfNeeded: carry))
            carry >>= 32
        }
        return made + [UInt32(carry)]
    }

    /// a is not less than b.
    private static func difference(_ a: [UInt32], _ b: [UInt32]) -> [UInt32] {
        var made: [UInt32] = [], borrow: Int64 = 0
        for k in a.indices {
            let left = Int64(a[k]) - (k < b.count ? Int64(b[k]) : 0) - borrow
            made.append(UInt32(truncatingIfNeeded: left))
            borrow = left < 0 ? 1 : 0
        }
        return made
    }
}
