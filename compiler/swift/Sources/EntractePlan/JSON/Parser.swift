import Foundation

/// Why a text is not the JSON that every reader reads alike.
public struct JSONError: Error, Equatable, CustomStringConvertible, Sendable {
    public let message: String
    public var description: String { message }
}

/// Reads JSON: UTF-8, no key twice in an object, no NaN or infinity, no half of a surrogate pair.
///
/// Words and places in errors are those of Python's `json` module.
package struct Parser {
    private let bytes: UnsafeMutablePointer<UInt8>
    private let size: Int
    private let mostNodes: Int
    private var nodes: UnsafeMutablePointer<Tape.Node>
    private var room: Int
    private var count = 0
    private var at = 0
    private var halfPair = false

    /// Raises `JSONError`. `mostNodes`: how many values and keys may be in it.
    package static func parse(_ text: UnsafeRawBufferPointer, mostNodes: Int = 1 << 26) throws -> Tape {
        guard text.count < Int(UInt32.max) else { throw JSONError(message: "larger than 4 GiB") }
        guard let memory = malloc(text.count + 1) else { throw noMemory }
        let copy = memory.assumingMemoryBound(to: UInt8.self)
        if let base = text.baseAddress { memcpy(copy, base, text.count) }
        copy[text.count] = 0
        let room = min(text.count / 12 + 16, mostNodes)
        guard let nodes = malloc(room * MemoryLayout<Tape.Node>.stride) else {
            free(copy)
            throw noMemory
        }
        var parser = Parser(
            bytes: copy, size: text.count, mostNodes: mostNodes,
            nodes: nodes.assumingMemoryBound(to: Tape.Node.self), room: room)
        do {
            try parser.whole()
        } catch {
            free(copy)
            free(parser.nodes)
            throw error
        }
        return Tape(bytes: copy, size: text.count, nodes: parser.nodes, nodeCount: parser.count)
    }

    private static let noMemory = JSONError(message: "larger than the memory that is left")

    private init(
        bytes: UnsafeMutablePointer<UInt8>, size: Int, mostNodes: Int, nodes: UnsafeMutablePointer<Tape.Node>,
        room: Int
    ) {
        self.bytes = bytes
        self.size = size
        self.mostNodes = mostNodes
        self.nodes = nodes
        self.room = room
    }

    private mutating func whole() throws {
        if let bad = firstNotUTF8(UnsafeBufferPointer(start: bytes, count: size)) {
            throw JSONError(message: "byte \(bad) is not UTF-8")
        }
        if size >= 3, bytes[0] == 0xEF, bytes[1] == 0xBB, bytes[2] == 0xBF {
            throw fault("Unexpected UTF-8 BOM (decode using utf-8-sig)", 0)
        }
        skipSpace()
        try values()
        skipSpace()
        if at < size { throw fault("Extra data", at) }
        if halfPair { throw JSONError(message: "half of a surrogate pair stands in it") }
    }

    // MARK: structure

    /// One value with all it holds; open containers are kept in `open`, so that no stack can run out.
    private mutating func values() throws {
        var open: [Int] = []
        open.reserveCapacity(Tape.deepest)
        while true {
            var ended = try value(&open)
            while ended {
                guard let container = open.last else { return }
                ended = try behindValue(container, &open)
            }
        }
    }

    /// Begins a value; true where it ended as well.
    private mutating func value(_ open: inout [Int]) throws -> Bool {
        switch bytes[at] {
        case UInt8(ascii: "\""):
            at += 1
            try text(isKey: false)
        case UInt8(ascii: "{"): return try begin(.object, &open)
        case UInt8(ascii: "["): return try begin(.list, &open)
        case UInt8(ascii: "t"): try word("true", .yes)
        case UInt8(ascii: "f"): try word("false", .no)
        case UInt8(ascii: "n"): try word("null", .null)
        default: try number()
        }
        return true
    }

    private mutating func begin(_ kind: Tape.Kind, _ open: inout [Int]) throws -> Bool {
        if open.count == Tape.deepest { throw JSONError(message: "nested too deeply") }
        let node = try add(kind, at, 0)
        at += 1
        skipSpace()
        let close = kind == .object ? UInt8(ascii: "}") : UInt8(ascii: "]")
        if at < size, bytes[at] == close {
            at += 1
            return true
        }
        open.append(node)
        if kind == .object { try key() }
        return false
    }

    /// What follows a value in a container; true where the container ended.
    private mutating func behindValue(_ container: Int, _ open: inout [Int]) throws -> Bool {
        nodes[container].count += 1
        skipSpace()
        let isObject = nodes[container].kind == .object
        let c = bytes[at]
        if c == (isObject ? UInt8(ascii: "}") : UInt8(ascii: "]")), at < size {
            at += 1
            open.removeLast()
            nodes[container].next = UInt32(truncatingIfNeeded: count)
            if isObject { try checkOnce(container) }
            return true
        }
        if c != UInt8(ascii: ",") { throw fault("Expecting ',' delimiter", at) }
        at += 1
        skipSpace()
        if isObject { try key() }
        return false
    }

    private mutating func key() throws {
        guard bytes[at] == UInt8(ascii: "\"") else {
            throw fault("Expecting property name enclosed in double quotes", at)
        }
        at += 1
        try text(isKey: true)
        skipSpace()
        guard bytes[at] == UInt8(ascii: ":") else { throw fault("Expecting ':' delimiter", at) }
        at += 1
        skipSpace()
    }

    /// The text's byte behind its end is 0, which is no space.
    @inline(__always)
    private mutating func skipSpace() {
        while true {
            let c = bytes[at]
            guard c == 32 || c == 10 || c == 13 || c == 9 else { return }
            at += 1
        }
    }

    @inline(__always)
    private mutating func add(_ kind: Tape.Kind, _ start: Int, _ length: Int) throws -> Int {
        if count == room { try grow() }
        nodes[count] = Tape.Node(
            kind: kind, escaped: false, odd: false, start: UInt32(truncatingIfNeeded: start),
            count: UInt32(truncatingIfNeeded: length), next: UInt32(truncatingIfNeeded: count + 1))
        count += 1
        return count - 1
    }

    private mutating func grow() throws {
        if count >= mostNodes { throw JSONError(message: "more than \(mostNodes) values") }
        let more = min(room * 2, mostNodes)
        guard let moved = realloc(nodes, more * MemoryLayout<Tape.Node>.stride) else { throw Self.noMemory }
        nodes = moved.assumingMemoryBound(to: Tape.Node.self)
        room = more
    }

    // MARK: scalars

    private mutating func word(_ word: StaticString, _ kind: Tape.Kind) throws {
        guard isHere(word) else { throw fault("Expecting value", at) }
        _ = try add(kind, at, word.utf8CodeUnitCount)
        at += word.utf8CodeUnitCount
    }

    private func isHere(_ word: StaticString) -> Bool {
        at + word.utf8CodeUnitCount <= size
            && memcmp(bytes + at, word.utf8Start, word.utf8CodeUnitCount) == 0
    }

    private mutating func number() throws {
        let start = at
        if bytes[at] == UInt8(ascii: "-") { at += 1 }
        guard isDigit else {
            at = start
            throw noValue()
        }
        if bytes[at] == 48 { at += 1 } else { skipDigits() }
        var kind = Tape.Kind.whole
        if bytes[at] == UInt8(ascii: "."), bytes[at + 1] >= 48, bytes[at + 1] <= 57 {
            kind = .real
            at += 1
            skipDigits()
        }
        if bytes[at] | 32 == UInt8(ascii: "e") {
            let mark = at
            at += 1
            if bytes[at] == UInt8(ascii: "-") || bytes[at] == UInt8(ascii: "+") { at += 1 }
            if isDigit {
                kind = .real
                skipDigits()
            } else {
                at = mark
            }
        }
        _ = try add(kind, start, at - start)
    }

    private func noValue() -> JSONError {
        for name: StaticString in ["NaN", "Infinity", "-Infinity"] where isHere(name) {
            return JSONError(message: "\(name) is not finite, and JSON has no such number")
        }
        return fault("Expecting value", at)
    }

    private var isDigit: Bool { bytes[at] >= 48 && bytes[at] <= 57 }

    @inline(__always)
    private mutating func skipDigits() {
        while bytes[at] >= 48 && bytes[at] <= 57 { at += 1 }
    }

    /// Behind the quote.
    private mutating func text(isKey: Bool) throws {
        let start = at
        var odd = false
        var escaped = false
        while true {
            let c = bytes[at]
            if c == UInt8(ascii: "\"") { break }
            if c < 32 {
                let open = at >= size
                throw open ? fault("Unterminated string starting at", start - 1)
                    : fault("Invalid control character at", at)
            }
            if c == UInt8(ascii: "\\") {
                escaped = true
                odd = try escape(start) || odd
            } else {
                if c >= 127 { odd = true }
                at += 1
            }
        }
        let node = try add(.text, start, at - start)
        nodes[node].escaped = escaped
        nodes[node].odd = odd
        if isKey { nodes[node].next = mark(start, at - start) }
        at += 1
    }

    /// Some of a key's bytes, by which most different keys differ.
    @inline(__always)
    private func mark(_ start: Int, _ length: Int) -> UInt32 {
        guard length >= 4 else {
            return length == 0 ? 0 : UInt32(bytes[start]) << 8 | UInt32(bytes[start + length - 1])
        }
        let p = UnsafeRawPointer(bytes + start)
        let first = p.loadUnaligned(as: UInt32.self)
        let last = p.loadUnaligned(fromByteOffset: length - 4, as: UInt32.self)
        return first &* 0x9E37_79B1 ^ last &+ UInt32(truncatingIfNeeded: length)
    }

    /// Passes an escape; true where its character is not printable ASCII.
    private mutating func escape(_ start: Int) throws -> Bool {
        let c = bytes[at + 1]
        if at + 1 >= size { throw fault("Unterminated string starting at", start - 1) }
        switch c {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"):
            at += 2
            return false
        case UInt8(ascii: "b"), UInt8(ascii: "f"), UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
            at += 2
            return true
        case UInt8(ascii: "u"): return try unicode()
        default: throw fault("Invalid \\escape", at)
        }
    }

    private mutating func unicode() throws -> Bool {
        guard let unit = hex4(at + 2) else { throw fault("Invalid \\uXXXX escape", at + 1) }
        at += 6
        if unit >= 0xDC00, unit <= 0xDFFF { halfPair = true }
        if unit >= 0xD800, unit <= 0xDBFF {
            if bytes[at] == UInt8(ascii: "\\"), bytes[at + 1] == UInt8(ascii: "u"), let low = hex4(at + 2),
                low >= 0xDC00, low <= 0xDFFF
            {
                at += 6
            } else {
                halfPair = true
            }
        }
        return unit < 32 || unit > 126
    }

    private func hex4(_ start: Int) -> UInt32? {
        guard start + 4 <= size else { return nil }
        for k in start ..< start + 4 where hexDigit(bytes[k]) == nil { return nil }
        return hexValue(UnsafeBufferPointer(start: bytes, count: size), at: start)
    }

    // MARK: keys

    private func checkOnce(_ object: Int) throws {
        let members = Int(nodes[object].count)
        if members <= 32 {
            try checkFew(object)
        } else {
            try checkMany(object)
        }
    }

    private func checkFew(_ object: Int) throws {
        try withUnsafeTemporaryAllocation(of: Int.self, capacity: 32) { keys in
            var n = 0
            var key = object + 1
            var escaped = false
            let end = Int(nodes[object].next)
            while key < end {
                escaped = escaped || nodes[key].escaped
                for k in 0 ..< n where nodes[keys[k]].next == nodes[key].next {
                    if isSame(keys[k], key) { throw twice(object) }
                }
                keys[n] = key
                n += 1
                key = behindValue(key + 1)
            }
            if escaped { try checkMany(object) }
        }
    }

    private func isSame(_ one: Int, _ other: Int) -> Bool {
        let (a, b) = (nodes[one], nodes[other])
        return a.count == b.count && !a.escaped && !b.escaped
            && memcmp(bytes + Int(a.start), bytes + Int(b.start), Int(a.count)) == 0
    }

    private func checkMany(_ object: Int) throws {
        var seen: Set<[UInt8]> = []
        seen.reserveCapacity(Int(nodes[object].count))
        for key in keyTexts(object) where !seen.insert(key).inserted { throw twice(object) }
    }

    private func keyTexts(_ object: Int) -> [[UInt8]] {
        var found: [[UInt8]] = []
        var key = object + 1
        while key < Int(nodes[object].next) {
            let raw = UnsafeBufferPointer(
                start: bytes + Int(nodes[key].start), count: Int(nodes[key].count))
            found.append(nodes[key].escaped ? unescaped(raw) : Array(raw))
            key = behindValue(key + 1)
        }
        return found
    }

    private func behindValue(_ node: Int) -> Int {
        switch nodes[node].kind {
        case .list, .object: Int(nodes[node].next)
        default: node + 1
        }
    }

    /// The first key that stands there more than once.
    private func twice(_ object: Int) -> JSONError {
        if halfPair { return JSONError(message: "half of a surrogate pair stands in it") }
        let keys = keyTexts(object)
        var counts: [[UInt8]: Int] = [:]
        for key in keys { counts[key, default: 0] += 1 }
        let key = keys.first { counts[$0, default: 0] > 1 } ?? []
        let words = shortWords(.text(String(decoding: key, as: UTF8.self)))
        return JSONError(message: "\(words) stands in it twice")
    }

    // MARK: words

    private func fault(_ what: String, _ byte: Int) -> JSONError {
        var line = 1
        var column = 1
        var char = 0
        for i in 0 ..< min(byte, size) {
            if bytes[i] & 0xC0 == 0x80 { continue }
            char += 1
            column += 1
            if bytes[i] == 10 {
                line += 1
                column = 1
            }
        }
        return JSONError(message: "\(what): line \(line) column \(column) (char \(char))")
    }
}

/// The first byte that is not UTF-8; nil where all are.
func firstNotUTF8(_ bytes: UnsafeBufferPointer<UInt8>) -> Int? {
    let count = bytes.count
    guard let base = bytes.baseAddress else { return nil }
    let raw = UnsafeRawPointer(base)
    var i = 0
    while i < count {
        while i + 8 <= count {
            let eight = raw.loadUnaligned(fromByteOffset: i, as: UInt64.self)
            if eight & 0x8080_8080_8080_8080 != 0 { break }
            i += 8
        }
        guard i < count else { return nil }
        if base[i] < 0x80 {
            i += 1
            continue
        }
        guard let length = sequenceLength(base + i, count - i) else { return i }
        i += length
    }
    return nil
}

/// Bytes of the well-formed sequence that begins here and is not ASCII (Unicode, table 3-7).
private func sequenceLength(_ p: UnsafePointer<UInt8>, _ left: Int) -> Int? {
    func follows(_ k: Int, _ least: UInt8 = 0x80, _ most: UInt8 = 0xBF) -> Bool {
        k < left && p[k] >= least && p[k] <= most
    }
    switch p[0] {
    case 0xC2 ... 0xDF: return follows(1) ? 2 : nil
    case 0xE0: return follows(1, 0xA0) && follows(2) ? 3 : nil
    case 0xED: return follows(1, 0x80, 0x9F) && follows(2) ? 3 : nil
    case 0xE1 ... 0xEF: return follows(1) && follows(2) ? 3 : nil
    case 0xF0: return follows(1, 0x90) && follows(2) && follows(3) ? 4 : nil
    case 0xF1 ... 0xF3: return follows(1) && follows(2) && follows(3) ? 4 : nil
    case 0xF4: return follows(1, 0x80, 0x8F) && follows(2) && follows(3) ? 4 : nil
    default: return nil
    }
}
