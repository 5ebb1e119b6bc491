/// Numbers as Python reads them from text: spaces around, `_` between digits, digits of any script.
enum TypedNumber {
    enum Whole: Equatable {
        case none
        case fits(Int)
        /// Beyond 64 bits.
        case large(String)
    }

    static func real(_ text: String) -> Double? {
        guard let plain = plain(text) else { return nil }
        let body = plain.drop { $0 == "+" || $0 == "-" }
        guard body.utf8.count + 1 >= plain.utf8.count, let first = body.utf8.first else { return nil }
        // Not what Swift reads beside it: hexadecimal, infinities, what is no number.
        guard (48...57).contains(first) || first == 46 else { return nil }
        guard !body.contains(where: { $0 == "x" || $0 == "X" }) else { return nil }
        // Swift wants digits on both sides of a point.
        var made = String(plain)
        if let dot = made.firstIndex(of: ".") {
            let before = dot > made.startIndex && made[made.index(before: dot)].isASCIIDigit
            let next = made.index(after: dot)
            let after = next < made.endIndex && made[next].isASCIIDigit
            guard before || after else { return nil }
            if !after { made.insert("0", at: next) }
            if !before { made.insert("0", at: dot) }
        }
        return Double(made)
    }

    static func whole(_ text: String) -> Whole {
        guard let plain = plain(text) else { return .none }
        let body = plain.drop { $0 == "+" || $0 == "-" }
        guard body.utf8.count + 1 >= plain.utf8.count, !body.isEmpty, body.allSatisfy(\.isASCIIDigit) else {
            return .none
        }
        if let whole = Int(plain) { return .fits(whole) }
        let digits = body.drop { $0 == "0" }
        return .large((plain.first == "-" ? "-" : "") + digits)
    }

    /// Without spaces around it and `_` between digits; digits as ASCII. nil where a `_` stands elsewhere.
    private static func plain(_ text: String) -> String? {
        let scalars = Array(text.unicodeScalars)
        guard let first = scalars.firstIndex(where: { !$0.properties.isWhitespace }),
            let last = scalars.lastIndex(where: { !$0.properties.isWhitespace })
        else { return nil }
        var made = "", before: Unicode.Scalar?
        for (n, c) in scalars[first...last].enumerated() {
            let next = first + n + 1
            if c == "_" {
                guard let before, digit(before) != nil, next <= last, digit(scalars[next]) != nil else {
                    return nil
                }
            } else if let digit = digit(c) {
                made += String(digit)
            } else {
                made.unicodeScalars.append(c)
            }
            before = c
        }
        return made
    }

    private static func digit(_ c: Unicode.Scalar) -> Int? {
        guard c.properties.numericType == .decimal, let value = c.properties.numericValue else { return nil }
        return Int(value)
    }
}

extension Character {
    fileprivate var isASCIIDigit: Bool { isASCII && isNumber }
}
