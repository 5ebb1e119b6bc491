/// A text in quotes as Python spells it: single ones unless only they stand in it, what is not
/// printable by its number.
public func spelled(_ text: String) -> String {
    let signs = text.unicodeScalars
    let quote: Unicode.Scalar = signs.contains("'") && !signs.contains("\"") ? "\"" : "'"
    var made = String.UnicodeScalarView([quote])
    for sign in signs {
        switch sign {
        case quote, "\\": made += ["\\", sign]
        case "\n": made += ["\\", "n"]
        case "\r": made += ["\\", "r"]
        case "\t": made += ["\\", "t"]
        default: made += Kinds.isPrintable(sign.value) ? [sign] : escaped(sign.value)
        }
    }
    made.append(quote)
    return String(made)
}

private func escaped(_ code: UInt32) -> [Unicode.Scalar] {
    let (mark, width) = code < 0x100 ? ("x", 2) : code < 0x10000 ? ("u", 4) : ("U", 8)
    let digits = String(code, radix: 16)
    let zeros = String(repeating: "0", count: max(0, width - digits.utf8.count))
    return Array(("\\" + mark + zeros + digits).unicodeScalars)
}
