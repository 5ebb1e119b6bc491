// Deflate (RFC 1951) and its zlib frame (RFC 1950), read strictly: what a stranger packed never gives
// more than was asked for.

/// Undoes deflate.
struct Inflate {
    private let data: [UInt8]
    private var at: Int
    private let end: Int
    private var bits: UInt64 = 0
    private var bitCount = 0
    private let most: Int
    private(set) var out: [UInt8] = []

    private static let damaged = MediaFault("its packed bytes are damaged")

    private init(_ data: [UInt8], _ range: Range<Int>, _ most: Int) {
        self.data = data
        at = range.lowerBound
        end = range.upperBound
        self.most = most
    }

    /// The first `most` bytes of what `data[range]` holds, or fewer where it ends before. Throws
    /// `MediaFault` for damage in what was read.
    static func raw(_ data: [UInt8], _ range: Range<Int>, most: Int) throws -> [UInt8] {
        var state = Inflate(data, range, most)
        try state.run()
        return state.out
    }

    /// Of a zlib stream that must hold exactly `size` bytes.
    static func zlib(_ data: [UInt8], size: Int) throws -> [UInt8] {
        guard data.count >= 6, data[0] & 15 == 8, data[0] >> 4 <= 7, data[1] & 32 == 0,
            (Int(data[0]) << 8 | Int(data[1])) % 31 == 0
        else { throw damaged }
        var state = Inflate(data, 2..<data.count, size)
        try state.run()
        guard state.out.count == size else {
            throw MediaFault("ends after \(state.out.count) of \(size) bytes")
        }
        return state.out
    }

    private mutating func run() throws {
        var isLast = false
        while !isLast, out.count < most {
            isLast = try take(1) == 1
            switch try take(2) {
            case 0: try stored()
            case 1: try block(Huffman.fixedLengths, Huffman.fixedDistances)
            case 2: try dynamic()
            default: throw Self.damaged
            }
        }
    }

    // ------------------------------------------------------------ bits

    private mutating func take(_ count: Int) throws -> Int {
        if bitCount < count { refill() }
        guard bitCount >= count else { throw Self.damaged }
        let value = bits & ((1 << UInt64(count)) - 1)
        bits >>= UInt64(count)
        bitCount -= count
        return Int(value)
    }

    private mutating func refill() {
        while bitCount <= 48, at < end {
            bits |= UInt64(data[at]) << UInt64(bitCount)
            at += 1
            bitCount += 8
        }
    }

    private mutating func symbol(_ code: Huffman) throws -> Int {
        if bitCount < 15 { refill() }
        let entry = code.short[Int(bits & 511)]
        guard entry == 0 || entry & 15 > bitCount else {
            bits >>= UInt64(entry & 15)
            bitCount -= entry & 15
            return entry >> 4
        }
        var value = 0, first = 0, index = 0
        for length in 1...15 {
            value |= try take(1)
            let count = code.counts[length]
            if value - count < first { return code.symbols[index + value - first] }
            index += count
            first = (first + count) << 1
            value <<= 1
        }
        throw Self.damaged
    }

    // ------------------------------------------------------------ blocks

    private mutating func stored() throws {
        // To the next whole byte, which may have been taken up already.
        at -= bitCount / 8
        bits = 0
        bitCount = 0
        guard end - at >= 4 else { throw Self.damaged }
        let length = Int(data[at]) | Int(data[at + 1]) << 8
        let other = Int(data[at + 2]) | Int(data[at + 3]) << 8
        at += 4
        guard length == ~other & 0xFFFF, end - at >= length else { throw Self.damaged }
        out += data[at..<at + min(length, most - out.count)]
        at += length
    }

    private mutating func dynamic() throws {
        let lengths = try take(5) + 257, distances = try take(5) + 1, codes = try take(4) + 4
        guard lengths <= 286, distances <= 30 else { throw Self.damaged }
        let order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]
        var own = [Int](repeating: 0, count: 19)
        for place in order.prefix(codes) { own[place] = try take(3) }
        let code = try Huffman.given(own, mayLack: false)
        var all: [Int] = []
        while all.count < lengths + distances {
            let found = try symbol(code)
            if found < 16 {
                all.append(found)
                continue
            }
            guard found != 16 || !all.isEmpty else { throw Self.damaged }
            let value = found == 16 ? all[all.count - 1] : 0
            let times = try found == 16 ? 3 + take(2) : found == 17 ? 3 + take(3) : 11 + take(7)
            guard all.count + times <= lengths + distances else { throw Self.damaged }
            all += [Int](repeating: value, count: times)
        }
        guard all[256] > 0 else { throw Self.damaged }
        let far = try Huffman.given(Array(all[lengths...]), mayLack: true)
        try block(Huffman.given(Array(all[..<lengths]), mayLack: true), far)
    }

    static let lengthBase = [
        3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163,
        195, 227, 258,
    ]
    static let lengthBits = [
        0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
    ]
    static let distanceBase = [
        1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073,
        4097, 6145, 8193, 12289, 16385, 24577,
    ]

    private mutating func block(_ lengths: Huffman, _ distances: Huffman) throws {
        while out.count < most {
            let found = try symbol(lengths)
            if found < 256 {
                out.append(UInt8(found))
                continue
            }
            if found == 256 { return }
            guard found - 257 < Self.lengthBase.count else { throw Self.damaged }
            let length = try Self.lengthBase[found - 257] + take(Self.lengthBits[found - 257])
            let far = try symbol(distances)
            guard far < Self.distanceBase.count else { throw Self.damaged }
            let distance = try Self.distanceBase[far] + take(max(0, far / 2 - 1))
            guard distance <= out.count else { throw Self.damaged }
            for _ in 0..<min(length, most - out.count) { out.append(out[out.count - distance]) }
        }
    }
}

/// A canonical code: how many symbols have each length, and the symbols in the order of their codes.
private struct Huffman {
    let counts: [Int]
    let symbols: [Int]
    /// By the next 9 bits: symbol * 16 + length of a code that is no longer; 0: it is longer.
    let short: [Int]
    /// Codes of 15 bits that no symbol has; below 0: there are too many symbols.
    let left: Int

    static let fixedLengths = Huffman(
        [Int](repeating: 8, count: 144) + [Int](repeating: 9, count: 112)
            + [Int](repeating: 7, count: 24) + [Int](repeating: 8, count: 8))
    static let fixedDistances = Huffman([Int](repeating: 5, count: 30))

    /// Of the lengths that a stranger gives, 0 to 15. `mayLack`: codes may be left over, as where there
    /// is one distance only.
    static func given(_ lengths: [Int], mayLack: Bool) throws -> Huffman {
        let made = Huffman(lengths)
        guard made.left == 0 || (mayLack && made.left > 0) else {
            throw MediaFault("its packed bytes are damaged")
        }
        return made
    }

    private init(_ lengths: [Int]) {
        var counts = [Int](repeating: 0, count: 16)
        for length in lengths where length > 0 { counts[length] += 1 }
        var at = [0], next = [0], code = 0, left = 1 << 15
        for length in 1...15 {
            code = (code + counts[length - 1]) << 1
            next.append(code)
            at.append(at[length - 1] + counts[length - 1])
            left -= counts[length] << (15 - length)
        }
        var symbols = [Int](repeating: 0, count: lengths.count)
        var short = [Int](repeating: 0, count: 512)
        for (symbol, length) in lengths.enumerated() where length > 0 && left >= 0 {
            symbols[at[length]] = symbol
            at[length] += 1
            if length <= 9 {
                let reversed = (0..<length).reduce(0) { $0 | (next[length] >> $1 & 1) << (length - 1 - $1) }
                for k in stride(from: reversed, to: 512, by: 1 << length) {
                    short[k] = symbol << 4 | length
                }
            }
            next[length] += 1
        }
        self.counts = counts
        self.symbols = symbols
        self.short = short
        self.left = left
    }
}
