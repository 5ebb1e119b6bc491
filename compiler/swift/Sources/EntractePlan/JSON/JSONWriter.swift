import Foundation

extension JSON {
    public enum Order: Sendable {
        /// Names of objects as they were given.
        case given
        /// Names of objects sorted by their characters' numbers.
        case sorted
    }

    /// This value as UTF-8, without a line feed behind it.
    ///
    /// Fractions are spelled by the fewest digits that give them back, with a point or an exponent, so
    /// that they stay fractions; what is not finite becomes `null`. `indent`: spaces by which what lies
    /// in something is moved; nil: all in one line. `isCompact`: no spaces in that line either.
    public func data(order: Order = .given, indent: Int? = nil, isCompact: Bool = false) -> Data {
        var writer = Writer(order: order, indent: indent, isCompact: isCompact)
        writer.write(self, depth: 0)
        return Data(writer.out)
    }

    /// The same as a text.
    public func text(order: Order = .given, indent: Int? = nil, isCompact: Bool = false) -> String {
        String(decoding: data(order: order, indent: indent, isCompact: isCompact), as: UTF8.self)
    }
}

private struct Writer {
    let order: JSON.Order
    let indent: Int?
    let comma: String
    let colon: String
    var out: [UInt8] = []

    init(order: JSON.Order, indent: Int?, isCompact: Bool) {
        self.order = order
        self.indent = indent
        comma = isCompact || indent != nil ? "," : ", "
        colon = isCompact ? ":" : ": "
    }

    mutating func write(_ value: JSON, depth: Int) {
        switch value {
        case .null: add("null")
        case .flag(let x): add(x ? "true" : "false")
        case .whole(let x): add(String(x))
        case .number(let x): add(x.isFinite ? words(x) : "null")
        case .text(let x): write(x)
        case .list(let items): write(items, depth)
        case .object(let members): write(members, depth)
        }
    }

    private mutating func write(_ items: [JSON], _ depth: Int) {
        if items.isEmpty { return add("[]") }
        add("[")
        for (k, item) in items.enumerated() {
            if k > 0 { add(comma) }
            newLine(depth + 1)
            write(item, depth: depth + 1)
        }
        newLine(depth)
        add("]")
    }

    private mutating func write(_ members: [JSON.Member], _ depth: Int) {
        if members.isEmpty { return add("{}") }
        add("{")
        for (k, member) in ordered(members).enumerated() {
            if k > 0 { add(comma) }
            newLine(depth + 1)
            write(member.name)
            add(colon)
            write(member.value, depth: depth + 1)
        }
        newLine(depth)
        add("}")
    }

    private func ordered(_ members: [JSON.Member]) -> [JSON.Member] {
        guard order == .sorted else { return members }
        return members.sorted {
            $0.name.unicodeScalars.lexicographicallyPrecedes($1.name.unicodeScalars)
        }
    }

    private mutating func newLine(_ depth: Int) {
        guard let indent else { return }
        out.append(10)
        out.append(contentsOf: repeatElement(32, count: indent * depth))
    }

    private mutating func add(_ text: String) { out.append(contentsOf: text.utf8) }

    /// A text; what is not printable ASCII by escapes, as Python writes it.
    private mutating func write(_ text: String) {
        out.append(UInt8(ascii: "\""))
        defer { out.append(UInt8(ascii: "\"")) }
        if text.utf8.allSatisfy({ $0 >= 32 && $0 < 127 && $0 != 0x22 && $0 != 0x5C }) {
            out.append(contentsOf: text.utf8)
            return
        }
        for unit in text.utf16 {
            switch unit {
            case 0x22: add("\\\"")
            case 0x5C: add("\\\\")
            case 10: add("\\n")
            case 13: add("\\r")
            case 9: add("\\t")
            case 8: add("\\b")
            case 12: add("\\f")
            case 32 ..< 127: out.append(UInt8(truncatingIfNeeded: unit))
            default:
                let digits = String(unit, radix: 16)
                add("\\u" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits)
            }
        }
    }
}
