import EntractePlan

/// A value in a tokenizer's file, with its place for messages.
struct Field {
    let tape: Tape
    let node: Int
    let place: String

    var kind: Tape.Kind { tape.nodes[node].kind }
    var isNull: Bool { kind == .null }

    func fault(_ given: String, allowed: String) -> Fault {
        Fault.plan("\(place): \(given); allowed: \(allowed); give a tokenizer.json that has that")
    }

    private func wrong(_ allowed: String) -> Fault { fault("\(shortWords(tape, node))", allowed: allowed) }

    // MARK: objects

    /// Names and values in their order.
    func members() throws -> [(name: String, field: Field)] {
        guard kind == .object else { throw wrong("an object") }
        var made: [(String, Field)] = []
        var key = node + 1
        while key < Int(tape.nodes[node].next) {
            let name = tape.text(key)
            made.append((name, Field(tape: tape, node: key + 1, place: "\(place).\(name)")))
            key = tape.behind(key + 1)
        }
        return made
    }

    /// Refuses members that are none of these.
    func only(_ names: String...) throws {
        for (name, _) in try members() where !names.contains(where: { $0.utf8.elementsEqual(name.utf8) }) {
            throw fault("`\(name)` is not known", allowed: names.joined(separator: ", "))
        }
    }

    /// Nil where there is none.
    func member(_ name: String) throws -> Field? {
        guard kind == .object else { throw wrong("an object") }
        var key = node + 1
        let wanted = Array(name.utf8)
        while key < Int(tape.nodes[node].next) {
            if wanted.withUnsafeBufferPointer({ tape.isKey(key, $0) }) {
                return Field(tape: tape, node: key + 1, place: "\(place).\(name)")
            }
            key = tape.behind(key + 1)
        }
        return nil
    }

    /// Nil where there is none, or null.
    func optional(_ name: String) throws -> Field? {
        try member(name).flatMap { $0.isNull ? nil : $0 }
    }

    subscript(_ name: String) -> Field {
        get throws {
            guard let found = try member(name) else {
                throw fault("there is no `\(name)`", allowed: "with it")
            }
            return found
        }
    }

    /// The member `type`.
    var type: String { get throws { try self["type"].text() } }

    // MARK: values

    func items() throws -> [Field] {
        guard kind == .list else { throw wrong("a list") }
        var made: [Field] = []
        made.reserveCapacity(Int(tape.nodes[node].count))
        var child = node + 1
        while child < Int(tape.nodes[node].next) {
            made.append(Field(tape: tape, node: child, place: "\(place)[\(made.count)]"))
            child = tape.behind(child)
        }
        return made
    }

    func text() throws -> String {
        guard kind == .text else { throw wrong("a text") }
        return tape.text(node)
    }

    func utf8() throws -> [UInt8] {
        guard kind == .text else { throw wrong("a text") }
        return tape.utf8(node)
    }

    func scalars() throws -> [UInt32] { UTF8Text.scalars(try utf8()) }

    func character() throws -> UInt32 {
        let found = try scalars()
        guard found.count == 1 else { throw wrong("a text of one character") }
        return found[0]
    }

    func flag() throws -> Bool {
        switch kind {
        case .yes: return true
        case .no: return false
        default: throw wrong("true or false")
        }
    }

    func whole(upTo most: Int = Int(Int32.max)) throws -> Int {
        guard kind == .whole, let value = tape.whole(node), value >= 0, value <= most else {
            throw wrong("a whole number from 0 to \(most)")
        }
        return value
    }

    func id() throws -> Int32 { Int32(try whole()) }

    /// A number as the library reads it, which now and then is its neighbour (`readScore`).
    func score() throws -> Double {
        let n = tape.nodes[node]
        guard kind == .whole || kind == .real else { throw wrong("a number") }
        let text = UnsafeBufferPointer(start: tape.bytes + Int(n.start), count: Int(n.count))
        guard let value = readScore(text) else { throw wrong("a number in double precision") }
        return value
    }
}

/// A number of JSON in double precision, as serde_json makes one: its digits as a whole number, rounded,
/// times or by a power of ten, rounded again. Nil where it is too large.
func readScore(_ text: UnsafeBufferPointer<UInt8>) -> Double? {
    var digits: UInt64 = 0
    var exponent = 0
    var full = false
    var fraction = false
    var i = text.first == UInt8(ascii: "-") ? 1 : 0
    while i < text.count, text[i] | 32 != UInt8(ascii: "e") {
        defer { i += 1 }
        guard text[i] != UInt8(ascii: ".") else {
            fraction = true
            // Digits that had no room before the point do not end the reading behind it.
            full = false
            continue
        }
        let (tens, over) = digits.multipliedReportingOverflow(by: 10)
        let (sum, more) = tens.addingReportingOverflow(UInt64(text[i] &- 48))
        if full || over || more {
            full = true
            if !fraction { exponent += 1 }
        } else {
            digits = sum
            if fraction { exponent -= 1 }
        }
    }
    if i < text.count { exponent = exponent &+ exponentOf(text, from: i + 1) }
    guard let value = scaled(Double(digits), by: exponent) else { return nil }
    return text.first == UInt8(ascii: "-") ? -value : value
}

private func exponentOf(_ text: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
    var value = 0
    for c in text[start...] where c >= 48 && c <= 57 { value = min(value * 10 + Int(c - 48), 1 << 30) }
    return text[start] == UInt8(ascii: "-") ? -value : value
}

private func scaled(_ value: Double, by exponent: Int) -> Double? {
    var (value, exponent) = (value, exponent)
    while abs(exponent) > 308 {
        if value == 0 { return 0 }
        if exponent > 0 { return nil }
        value /= 1e308
        exponent += 308
    }
    let power = powers[abs(exponent)]
    let made = exponent < 0 ? value / power : value * power
    return made.isFinite ? made : nil
}

/// 1e0 to 1e308, each the nearest.
private let powers: [Double] = (0 ... 308).map { Double("1e\($0)") ?? .infinity }
