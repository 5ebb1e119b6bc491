#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

/// What a plan's values are made of, out of parsed JSON, strictly: unknown or missing fields, wrong types,
/// numbers that are not finite or too large are refused with the place where they stand.
///
/// Words, places and order of checks are those of `compiler/entracte/codec.py`. Values are numbers of
/// nodes of a `Tape`; nothing is made of them but what a plan keeps.
final class Decoder {
    let tape: Tape
    /// What the root is called in places.
    let root: String
    /// The nodes of the fields of all objects that are open, one behind the other; below 0: not there.
    private let slots: UnsafeMutablePointer<Int32>
    private let top: UnsafeMutablePointer<Int>
    private let guesses: UnsafeMutablePointer<UInt8>

    private static let room = 4096
    static let deepest = 40

    init(_ tape: Tape, root: String = "plan") {
        self.tape = tape
        self.root = root
        slots = .allocate(capacity: Self.room)
        top = .allocate(capacity: 1)
        top.initialize(to: 0)
        guesses = .allocate(capacity: Schema.guessCount)
        guesses.initialize(repeating: 0, count: Schema.guessCount)
    }

    deinit {
        slots.deallocate()
        top.deallocate()
        guesses.deallocate()
    }

    // MARK: objects

    /// The fields of an object, by their place in the schema; `closed` gives their room back.
    func opened(_ node: Int, _ schema: Schema) throws -> Fields {
        let n = tape.nodes[node]
        guard n.kind == .object else { throw wants("a \(schema.name)", node) }
        let base = top.pointee
        guard base + schema.names.count <= Self.room else { throw fault("nested too deeply", node) }
        let fields = Fields(base: base, node: node, schema: schema)
        for k in 0 ..< schema.names.count { slots[base + k] = -1 }
        top.pointee = base + schema.names.count
        try fill(fields, end: Int(n.next))
        return fields
    }

    func closed(_ fields: Fields) { top.pointee = fields.base }

    struct Fields {
        let base: Int
        let node: Int
        let schema: Schema
    }

    /// Where the members of the object last seen of this kind stood, these mostly stand too.
    private func fill(_ fields: Fields, end: Int) throws {
        let schema = fields.schema
        let guess = guesses + schema.guessBase
        var isClean = true
        var tag = -1
        var key = fields.node + 1
        var member = 0
        while key < end {
            let found = place(key, schema, member < Schema.guessed ? Int(guess[member]) : 0)
            if found == Schema.tag {
                tag = key + 1
            } else if found < 0 {
                isClean = false
            } else {
                slots[fields.base + found] = Int32(truncatingIfNeeded: key + 1)
            }
            if found >= 0, member < Schema.guessed { guess[member] = UInt8(truncatingIfNeeded: found) }
            member += 1
            key = tape.behind(key + 1)
        }
        if tag >= 0 { try checkTag(tag, fields) }
        if !isClean { throw stray(fields, end: end) }
    }

    @inline(__always)
    private func place(_ key: Int, _ schema: Schema, _ guess: Int) -> Int {
        if guess < schema.names.count, tape.isKey(key, schema.names[guess]) { return guess }
        return search(key, schema)
    }

    private func search(_ key: Int, _ schema: Schema) -> Int {
        for k in 0 ..< schema.names.count where tape.isKey(key, schema.names[k]) { return k }
        return tape.isKey(key, Schema.tagName) ? Schema.tag : -1
    }

    private func checkTag(_ tag: Int, _ fields: Fields) throws {
        if tape.nodes[tag].kind == .text, tape.isKey(tag, fields.schema.utf8) { return }
        throw fault("wants a \(fields.schema.name), finds a \(shortWords(tape, tag))", fields.node)
    }

    private func stray(_ fields: Fields, end: Int) -> Fault {
        var names: [String] = []
        var key = fields.node + 1
        while key < end {
            if search(key, fields.schema) < 0 { names.append(tape.text(key)) }
            key = tape.behind(key + 1)
        }
        let first = names.min { $0.unicodeScalars.lexicographicallyPrecedes($1.unicodeScalars) } ?? ""
        return fault("\(fields.schema.name) has no field \(words(first))", fields.node)
    }

    /// The node of a field; nil where it is not there.
    @inline(__always)
    func node(_ fields: Fields, _ k: Int) -> Int? {
        let found = slots[fields.base + k]
        return found < 0 ? nil : Int(found)
    }

    /// The same of a field that must be there.
    @inline(__always)
    func needed(_ fields: Fields, _ k: Int) throws -> Int {
        let found = slots[fields.base + k]
        if found < 0 { throw lacks(fields, k) }
        return Int(found)
    }

    private func lacks(_ fields: Fields, _ k: Int) -> Fault {
        let name = String(decoding: fields.schema.names[k], as: UTF8.self)
        return fault("\(fields.schema.name) lacks \(words(name))", fields.node)
    }

    // MARK: single values

    func text(_ node: Int) throws -> String {
        if tape.nodes[node].kind == .text { return tape.text(node) }
        try checkNumber(node)
        throw wants("str", node)
    }

    func whole(_ node: Int, _ range: Range = .notNegative) throws -> Int {
        guard tape.nodes[node].kind == .whole, let value = tape.whole(node) else {
            try checkNumber(node)
            throw wants("a whole number", node)
        }
        if value < 1 || range != .notNegative, let what = range.fault(value) {
            throw fault("\(value) is \(what)", node)
        }
        return value
    }

    func number(_ node: Int, _ range: Range = .notNegative) throws -> Double {
        let value: Double
        switch tape.nodes[node].kind {
        case .real: value = tape.real(node)
        case .whole: value = tape.whole(node).map(Double.init) ?? .infinity
        default: throw wants("float", node)
        }
        guard value.isFinite else {
            try checkNumber(node)
            throw wants("float", node)
        }
        if let what = range.fault(value) { throw fault("\(words(value)) is \(what)", node) }
        return value
    }

    func flag(_ node: Int) throws -> Bool {
        switch tape.nodes[node].kind {
        case .yes: return true
        case .no: return false
        default:
            try checkNumber(node)
            throw wants("bool", node)
        }
    }

    /// One of the names of an enumeration.
    func choice<T: RawRepresentable & CaseIterable>(_ node: Int) throws -> T where T.RawValue == String {
        if tape.nodes[node].kind == .text, let found = T(rawValue: tape.text(node)) { return found }
        let names = T.allCases.map(\.rawValue).joined(separator: ", ")
        throw fault("\(shortWords(tape, node)) is not one of \(names)", node)
    }

    /// A number is finite and fits into 64 bits.
    func checkNumber(_ node: Int) throws {
        switch tape.nodes[node].kind {
        case .real:
            let value = tape.real(node)
            if !value.isFinite { throw fault("\(words(value)) is not finite", node) }
        case .whole:
            if tape.whole(node) == nil {
                throw fault("\(wholeWords(tape, node)) does not fit into 64 bits", node)
            }
        default: break
        }
    }

    // MARK: lists

    /// Every item by `read`.
    @inline(__always)
    func list<T>(_ node: Int, _ read: (Int) throws -> T) throws -> [T] {
        let n = tape.nodes[node]
        guard n.kind == .list else { throw wants("a list", node) }
        var items: [T] = []
        if n.count == 0 { return items }
        items.reserveCapacity(Int(n.count))
        var child = node + 1
        while child < Int(n.next) {
            items.append(try read(child))
            child = tape.behind(child)
        }
        return items
    }

    /// Of a list of exactly two items.
    func pair(_ node: Int) throws -> (Int, Int) {
        try checkItems(node, 2)
        return (node + 1, tape.behind(node + 1))
    }

    /// Of a list of exactly three items.
    func triple(_ node: Int) throws -> (Int, Int, Int) {
        try checkItems(node, 3)
        let second = tape.behind(node + 1)
        return (node + 1, second, tape.behind(second))
    }

    private func checkItems(_ node: Int, _ count: Int) throws {
        let n = tape.nodes[node]
        guard n.kind == .list else { throw wants("a list", node) }
        guard Int(n.count) == count else { throw fault("wants \(count) items, finds \(n.count)", node) }
    }

    // MARK: faults

    func wants(_ what: String, _ node: Int) -> Fault {
        fault("wants \(what), finds \(shortWords(tape, node))", node)
    }

    func fault(_ what: String, _ node: Int) -> Fault { .plan("\(place(node)): \(what)") }

    /// The way from the root to a value: `plan.program.segments[0].steps[1]`.
    func place(_ node: Int) -> String {
        var at = 0
        var out = root
        while at != node {
            switch tape.nodes[at].kind {
            case .list:
                var child = at + 1
                var k = 0
                while tape.behind(child) <= node {
                    child = tape.behind(child)
                    k += 1
                }
                out += "[\(k)]"
                at = child
            case .object:
                var key = at + 1
                while tape.behind(key + 1) <= node { key = tape.behind(key + 1) }
                out += "." + tape.text(key)
                at = key + 1
            default: return out
            }
        }
        return out
    }
}

/// A type's name and its fields, in the order in which the dataclass declares them.
struct Schema: Sendable {
    let name: String
    nonisolated(unsafe) let names: UnsafeBufferPointer<UnsafeBufferPointer<UInt8>>
    nonisolated(unsafe) let utf8: UnsafeBufferPointer<UInt8>
    let guessBase: Int

    static let tag = 255
    static let guessed = 32
    static let guessCount = 64 * guessed
    nonisolated(unsafe) static let tagName = lasting("type")

    /// `number`: another one for each schema, below 64.
    init(_ number: Int, _ name: String, _ fields: String) {
        self.name = name
        utf8 = lasting(name)
        let all = fields.split(separator: " ").map { lasting(String($0)) }
        let memory = UnsafeMutableBufferPointer<UnsafeBufferPointer<UInt8>>.allocate(capacity: all.count)
        _ = memory.initialize(from: all)
        names = UnsafeBufferPointer(memory)
        guessBase = number * Self.guessed
    }
}

/// Bytes of a name that stay as long as the process: schemas are few, and never go.
private func lasting(_ text: String) -> UnsafeBufferPointer<UInt8> {
    let memory = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: max(text.utf8.count, 1))
    _ = memory.initialize(from: text.utf8)
    return UnsafeBufferPointer(rebasing: memory[..<text.utf8.count])
}
