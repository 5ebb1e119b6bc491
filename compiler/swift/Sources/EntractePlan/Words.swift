/// How messages spell values: as the Python side does, so that both say the same of the same fault.
///
/// A text in quotes, its control characters escaped; the rest of a long value is cut off.

/// A JSON value in at most 40 characters.
func shortWords(_ value: JSON) -> String { shortened(words(value)) }

/// At most 40 characters of a value's words.
func shortened(_ text: String) -> String {
    let scalars = text.unicodeScalars
    guard scalars.count > 40 else { return text }
    var cut = String.UnicodeScalarView()
    cut.append(contentsOf: scalars.prefix(37))
    return String(cut) + "..."
}

/// A value of a text that was parsed, in at most 40 characters. Looks at no more of it than that takes.
package func shortWords(_ tape: Tape, _ node: Int) -> String {
    var out = ""
    append(tape, node, to: &out)
    return shortened(out)
}

/// A value of a text that was parsed, all of it.
func words(_ tape: Tape, _ node: Int) -> String {
    var out = ""
    append(tape, node, to: &out, most: .max)
    return out
}

/// A number of any length in at most 40 characters.
func wholeWords(_ tape: Tape, _ node: Int) -> String { shortened(digits(tape, node, 60)) }

private func digits(_ tape: Tape, _ node: Int, _ most: Int) -> String {
    let n = tape.nodes[node]
    let raw = UnsafeBufferPointer(start: tape.bytes + Int(n.start), count: min(Int(n.count), most))
    return String(decoding: raw, as: UTF8.self)
}

private func append(_ tape: Tape, _ node: Int, to out: inout String, most: Int = 200) {
    let n = tape.nodes[node]
    switch n.kind {
    case .null: out += "None"
    case .no: out += "False"
    case .yes: out += "True"
    case .whole: out += tape.whole(node).map(String.init) ?? digits(tape, node, most)
    case .real: out += words(tape.real(node))
    case .text: out += words(tape.text(node))
    case .list: appendItems(tape, node, to: &out, most)
    case .object: appendMembers(tape, node, to: &out, most)
    }
}

private func appendItems(_ tape: Tape, _ node: Int, to out: inout String, _ most: Int) {
    out += "["
    var child = node + 1
    while child < Int(tape.nodes[node].next), out.utf8.count < most {
        if child > node + 1 { out += ", " }
        append(tape, child, to: &out, most: most)
        child = tape.behind(child)
    }
    out += "]"
}

private func appendMembers(_ tape: Tape, _ node: Int, to out: inout String, _ most: Int) {
    out += "{"
    var key = node + 1
    while key < Int(tape.nodes[node].next), out.utf8.count < most {
        if key > node + 1 { out += ", " }
        out += words(tape.text(key)) + ": "
        append(tape, key + 1, to: &out, most: most)
        key = tape.behind(key + 1)
    }
    out += "}"
}

private func words(_ value: JSON) -> String {
    switch value {
    case .null: "None"
    case .flag(let x): x ? "True" : "False"
    case .whole(let x): String(x)
    case .number(let x): words(x)
    case .text(let x): words(x)
    case .list(let x): "[" + x.map(words).joined(separator: ", ") + "]"
    case .object(let x):
        "{" + x.map { words($0.name) + ": " + words($0.value) }.joined(separator: ", ") + "}"
    }
}

/// A text in quotes; single ones unless only they stand in it.
package func words(_ text: String) -> String {
    let hasOnlySingle = text.unicodeScalars.contains("'") && !text.unicodeScalars.contains("\"")
    let quote: Unicode.Scalar = hasOnlySingle ? "\"" : "'"
    var out = String.UnicodeScalarView()
    out.append(quote)
    for c in text.unicodeScalars {
        switch c {
        case quote, "\\":
            out.append("\\")
            out.append(c)
        case "\n": out.append(contentsOf: "\\n".unicodeScalars)
        case "\r": out.append(contentsOf: "\\r".unicodeScalars)
        case "\t": out.append(contentsOf: "\\t".unicodeScalars)
        default:
            if isShown(c) { out.append(c) } else { out.append(contentsOf: escape(c).unicodeScalars) }
        }
    }
    out.append(quote)
    return String(out)
}

/// Whether it stands in a text for itself: no control, format, private or unassigned character, and of
/// separators only the space.
private func isShown(_ c: Unicode.Scalar) -> Bool {
    if c.isASCII { return c.value >= 32 && c.value < 127 }
    switch c.properties.generalCategory {
    case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator,
        .spaceSeparator:
        return false
    default: return true
    }
}

private func escape(_ c: Unicode.Scalar) -> String {
    let digits = String(c.value, radix: 16)
    let (mark, width) = c.value < 0x100 ? ("\\x", 2) : c.value < 0x10000 ? ("\\u", 4) : ("\\U", 8)
    return mark + String(repeating: "0", count: max(0, width - digits.count)) + digits
}

/// A shape: `(6, 4)`, `(1,)`.
package func words(_ shape: [Int]) -> String { tupleWords(shape.map(String.init)) }

/// A tensor's type and shape.
func words(_ port: Port) -> String { "\(port.dtype) \(words(port.shape))" }

/// A declared tensor's, and how it lies.
func words(_ decl: TensorDecl) -> String {
    if decl.streamed != 0 { return "\(words(decl.port)) streamed in \(decl.streamed) pieces" }
    return words(decl.port) + (decl.slots != 1 ? " in \(decl.slots) slots" : "")
}

/// Texts in a list: `['a', 'b']`.
func words(_ names: [String]) -> String { "[" + names.map { words($0) }.joined(separator: ", ") + "]" }

/// Spelled items in parentheses.
package func tupleWords(_ items: [String]) -> String {
    "(" + items.joined(separator: ", ") + (items.count == 1 ? ",)" : ")")
}

/// A number, by the fewest digits that give it back; with an exponent below 1e-4 and from 1e16 on.
///
/// Infinity is `inf`, and what is no number `nan`.
package func words(_ value: Double) -> String {
    guard value.isFinite else { return value.isNaN ? "nan" : value < 0 ? "-inf" : "inf" }
    if value == 0 { return value.sign == .minus ? "-0.0" : "0.0" }
    let (digits, point) = shortest(abs(value))
    let sign = value < 0 ? "-" : ""
    if point > 16 || point < -3 {
        let exponent = point - 1
        let rest = digits.dropFirst()
        let body = digits.prefix(1) + (rest.isEmpty ? "" : "." + rest)
        let power = abs(exponent) < 10 ? "0\(abs(exponent))" : "\(abs(exponent))"
        return sign + body + "e" + (exponent < 0 ? "-" : "+") + power
    }
    if point <= 0 { return sign + "0." + String(repeating: "0", count: -point) + digits }
    if point >= digits.count {
        return sign + digits + String(repeating: "0", count: point - digits.count) + ".0"
    }
    return sign + digits.prefix(point) + "." + digits.dropFirst(point)
}

/// The digits of a number above 0, none of them 0 at either end, and how many stand before its point.
private func shortest(_ value: Double) -> (digits: String, point: Int) {
    let text = value.description
    let parts = text.split(separator: "e", maxSplits: 1)
    let exponent = parts.count > 1 ? Int(parts[1]) ?? 0 : 0
    let body = parts.first ?? ""
    let dot = body.firstIndex(of: ".") ?? body.endIndex
    let before = body[..<dot]
    let after = dot < body.endIndex ? body[body.index(after: dot)...] : ""
    let all = String(before + after)
    let stripped = all.drop { $0 == "0" }
    let leading = all.count - stripped.count
    var digits = String(stripped)
    while digits.last == "0" { digits.removeLast() }
    return (digits, before.count - leading + exponent)
}
