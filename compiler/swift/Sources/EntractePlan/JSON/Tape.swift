#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

/// What a text of JSON holds, in the order in which it stands there: one node for each value and key.
///
/// Nothing is copied out of the text before somebody asks. A node's children follow it; `next` is the
/// node behind all of them. Owns both the bytes' copy of the text and the nodes.
package final class Tape {
    package enum Kind: UInt8 {
        case null, no, yes, whole, real, text, list, object
    }

    package struct Node {
        package var kind: Kind
        /// Of a text: it holds an escape.
        package var escaped: Bool
        /// Of a text: some of its characters are not printable ASCII, as they stand or by an escape.
        var odd: Bool
        /// First byte of a text (behind its quote) or number; of a list or object its bracket.
        package var start: UInt32
        /// Bytes of a text or number; values of a list, members of an object.
        package var count: UInt32
        /// The node behind this one and all it holds; of a key some of its bytes, to compare it by.
        package var next: UInt32
    }

    package let bytes: UnsafeMutablePointer<UInt8>
    package let size: Int
    package let nodes: UnsafeMutablePointer<Node>
    package let nodeCount: Int

    /// How many containers may lie in each other: what `compiler/entracte/codec.py` allows.
    static let deepest = 80

    /// Takes over both pieces of memory, which are of `malloc`.
    init(
        bytes: UnsafeMutablePointer<UInt8>, size: Int, nodes: UnsafeMutablePointer<Node>,
        nodeCount: Int
    ) {
        self.bytes = bytes
        self.size = size
        self.nodes = nodes
        self.nodeCount = nodeCount
    }

    deinit {
        free(bytes)
        free(nodes)
    }

    /// The node behind a value: a text's `next` is used otherwise where it is a key.
    @inline(__always)
    package func behind(_ node: Int) -> Int {
        switch nodes[node].kind {
        case .list, .object: Int(nodes[node].next)
        default: node + 1
        }
    }

    /// A text, its escapes looked up.
    package func text(_ node: Int) -> String {
        let n = nodes[node]
        let raw = UnsafeBufferPointer(start: bytes + Int(n.start), count: Int(n.count))
        if n.escaped { return String(decoding: unescaped(raw), as: UTF8.self) }
        return String(decoding: raw, as: UTF8.self)
    }

    /// The same as bytes of UTF-8.
    package func utf8(_ node: Int) -> [UInt8] {
        let n = nodes[node]
        let raw = UnsafeBufferPointer(start: bytes + Int(n.start), count: Int(n.count))
        return n.escaped ? unescaped(raw) : Array(raw)
    }

    /// Whether a key is this one.
    @inline(__always)
    package func isKey(_ node: Int, _ name: UnsafeBufferPointer<UInt8>) -> Bool {
        let n = nodes[node]
        if n.escaped { return utf8(node).elementsEqual(name) }
        return Int(n.count) == name.count
            && (name.count == 0 || memcmp(bytes + Int(n.start), name.baseAddress!, name.count) == 0)
    }

    /// A whole number; nil where it does not fit into 64 bits with a sign.
    package func whole(_ node: Int) -> Int? {
        let n = nodes[node]
        var p = bytes + Int(n.start)
        let end = p + Int(n.count)
        let negative = p.pointee == UInt8(ascii: "-")
        if negative { p += 1 }
        var value = 0
        while p < end {
            let (tens, over) = value.multipliedReportingOverflow(by: 10)
            let digit = Int(p.pointee &- 48)
            let (sum, more) =
                negative ? tens.subtractingReportingOverflow(digit) : tens.addingReportingOverflow(digit)
            if over || more { return nil }
            value = sum
            p += 1
        }
        return value
    }

    /// A number as double precision, rounded as everybody rounds; what is too large is infinite.
    func real(_ node: Int) -> Double {
        let n = nodes[node]
        return readDouble(UnsafeBufferPointer(start: bytes + Int(n.start), count: Int(n.count)))
    }
}

/// Powers of ten that are exact in double precision.
private let tens: [Double] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
]

/// A JSON number's text (whose form was checked) as double precision.
///
/// Up to 2^53 times or by an exact power of ten is exact after one rounding; the rest is the library's.
func readDouble(_ text: UnsafeBufferPointer<UInt8>) -> Double {
    var mantissa: UInt64 = 0
    var digits = 0
    var scale = 0
    var i = 0
    let negative = text.first == UInt8(ascii: "-")
    if negative { i = 1 }
    var fraction = false
    while i < text.count {
        let c = text[i]
        if c == UInt8(ascii: ".") {
            fraction = true
        } else if c >= 48 && c <= 57 {
            if digits >= 18 { return slowDouble(text) }
            if mantissa != 0 || c != 48 { digits += 1 }
            mantissa = mantissa &* 10 &+ UInt64(c &- 48)
            if fraction { scale -= 1 }
        } else {
            break
        }
        i += 1
    }
    if i < text.count {
        guard let exponent = readExponent(text, from: i + 1) else { return slowDouble(text) }
        scale += exponent
    }
    guard mantissa <= 1 << 53, scale >= -22, scale <= 22 else { return slowDouble(text) }
    let value = scale < 0 ? Double(mantissa) / tens[-scale] : Double(mantissa) * tens[scale]
    return negative ? -value : value
}

private func readExponent(_ text: UnsafeBufferPointer<UInt8>, from start: Int) -> Int? {
    var i = start
    var sign = 1
    if i < text.count, text[i] == UInt8(ascii: "-") || text[i] == UInt8(ascii: "+") {
        if text[i] == UInt8(ascii: "-") { sign = -1 }
        i += 1
    }
    if text.count - i > 4 { return nil }
    var value = 0
    while i < text.count {
        value = value * 10 + Int(text[i] &- 48)
        i += 1
    }
    return sign * value
}

private func slowDouble(_ text: UnsafeBufferPointer<UInt8>) -> Double {
    Double(String(decoding: text, as: UTF8.self)) ?? .nan
}

/// A JSON string's bytes with its escapes looked up. Their form was checked, halves of surrogate pairs too.
func unescaped(_ raw: UnsafeBufferPointer<UInt8>) -> [UInt8] {
    var out: [UInt8] = []
    out.reserveCapacity(raw.count)
    var i = 0
    while i < raw.count {
        let c = raw[i]
        guard c == UInt8(ascii: "\\"), i + 1 < raw.count else {
            out.append(c)
            i += 1
            continue
        }
        if raw[i + 1] == UInt8(ascii: "u") {
            let (scalar, length) = escapedScalar(raw, at: i)
            out.append(contentsOf: String(scalar).utf8)
            i += length
        } else {
            out.append(plainEscape(raw[i + 1]))
            i += 2
        }
    }
    return out
}

private func plainEscape(_ c: UInt8) -> UInt8 {
    switch c {
    case UInt8(ascii: "b"): 8
    case UInt8(ascii: "f"): 12
    case UInt8(ascii: "n"): 10
    case UInt8(ascii: "r"): 13
    case UInt8(ascii: "t"): 9
    default: c
    }
}

/// The character of `\uXXXX`, or of a pair of them, and the bytes it stands in.
private func escapedScalar(_ raw: UnsafeBufferPointer<UInt8>, at i: Int) -> (Character, Int) {
    let high = hexValue(raw, at: i + 2)
    if let scalar = Unicode.Scalar(high) { return (Character(scalar), 6) }
    let low = i + 11 < raw.count ? hexValue(raw, at: i + 8) : 0
    let joined = 0x10000 + ((high & 0x3FF) << 10) + (low & 0x3FF)
    return (Character(Unicode.Scalar(joined) ?? "\u{FFFD}"), 12)
}

/// Of four hexadecimal digits.
func hexValue(_ raw: UnsafeBufferPointer<UInt8>, at i: Int) -> UInt32 {
    var value: UInt32 = 0
    for k in i ..< min(i + 4, raw.count) {
        value = value << 4 | UInt32(hexDigit(raw[k]) ?? 0)
    }
    return value
}

func hexDigit(_ c: UInt8) -> UInt8? {
    switch c {
    case 48 ... 57: c &- 48
    case 97 ... 102: c &- 87
    case 65 ... 70: c &- 55
    default: nil
    }
}
