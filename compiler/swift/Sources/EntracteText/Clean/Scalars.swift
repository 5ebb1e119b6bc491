import Foundation

/// A text as its code points: rules of cleaning count, cut and compare those.
typealias Scalars = [UInt32]

extension String {
    var scalars: Scalars { unicodeScalars.map(\.value) }

    /// Of code points, none of which is half of one of UTF-16.
    init(scalars: some Sequence<UInt32>) {
        var view = String.UnicodeScalarView()
        for code in scalars { view.append(Unicode.Scalar(code) ?? "\u{FFFD}") }
        self.init(view)
    }
}

/// What docs/prompts.md means by `\s`, `\d` and `\w`, by Unicode's tables.
enum Kinds {
    /// White_Space and U+001C to U+001F.
    static func isSpace(_ code: UInt32) -> Bool {
        0x1C...0x1F ~= code || Characters.isWhiteSpace(code)
    }

    /// Category Nd.
    static func isDigit(_ code: UInt32) -> Bool {
        if code < 0x80 { return isAsciiDigit(code) }
        return Characters.categoryBit(code) & Characters.decimals != 0
    }

    /// The categories L and N, and `_`.
    static func isWord(_ code: UInt32) -> Bool {
        if code < 0x80 { return isAsciiLetter(code) || isAsciiDigit(code) || code == 0x5F }
        return Characters.categoryBit(code) & (Characters.letters | Characters.numbers) != 0
    }

    static func isAsciiLetter(_ code: UInt32) -> Bool {
        0x61...0x7A ~= code || 0x41...0x5A ~= code
    }

    static func isAsciiDigit(_ code: UInt32) -> Bool { 0x30...0x39 ~= code }

    /// What a hexadecimal digit stands for; nil of what is none.
    static func hexValue(_ code: UInt32) -> UInt32? {
        switch code {
        case 0x30...0x39: code - 0x30
        case 0x41...0x46: code - 0x41 + 10
        case 0x61...0x66: code - 0x61 + 10
        default: nil
        }
    }
}

extension Array where Element == UInt32 {
    /// Without white space around it.
    func stripped(_ isSpace: (UInt32) -> Bool = Kinds.isSpace) -> Scalars {
        guard let first = firstIndex(where: { !isSpace($0) }),
            let last = lastIndex(where: { !isSpace($0) })
        else { return [] }
        return Scalars(self[first...last])
    }

    /// Unicode's toLowercase of the whole, with its rule for the final sigma.
    func lowered() -> Scalars {
        var made = Scalars()
        made.reserveCapacity(count)
        for (place, code) in enumerated() {
            if code == 0x3A3, isFinalSigma(at: place) {
                made.append(0x3C2)
            } else {
                Characters.appendLowercase(code, to: &made)
            }
        }
        return made
    }

    /// Unicode's toUppercase.
    func uppered() -> Scalars {
        flatMap { code in
            (Unicode.Scalar(code)?.properties.uppercaseMapping ?? "").unicodeScalars.map(\.value)
        }
    }

    /// A cased letter before it and none behind it, case-ignorable ones left out.
    private func isFinalSigma(at place: Int) -> Bool {
        let isIgnored = { (code: UInt32) in
            Unicode.Scalar(code)?.properties.isCaseIgnorable ?? false
        }
        let isCased = { (code: UInt32) in Unicode.Scalar(code)?.properties.isCased ?? false }
        guard let before = self[..<place].last(where: { !isIgnored($0) }), isCased(before) else {
            return false
        }
        guard let after = self[(place + 1)...].first(where: { !isIgnored($0) }) else { return true }
        return !isCased(after)
    }

    // Normal forms are the system's: docs/prompts.md wants Unicode 14.0 or later. Those of tokenizers
    // (`NormalForm`) are by older tables, as their library has them, and tell where each character was.

    /// The canonical composition. What lies below U+0300 is its own.
    func composed() -> Scalars {
        guard contains(where: { $0 >= 0x300 }) else { return self }
        return String(scalars: self).precomposedStringWithCanonicalMapping.scalars
    }

    /// The compatibility composition.
    func compatible() -> Scalars {
        String(scalars: self).precomposedStringWithCompatibilityMapping.scalars
    }

    /// Whether another one is a part of it.
    func holds(_ part: Scalars) -> Bool {
        guard let first = part.first, part.count <= count else { return part.isEmpty }
        return (0...(count - part.count)).contains { place in
            self[place] == first && self[place..<(place + part.count)].elementsEqual(part)
        }
    }
}
