/// A piece of a text on its way to tokens: scalars, and the part of the given text that each stands for.
///
/// Places count Unicode scalars of the given text. They follow the library's rules, also where these
/// look odd: notes on what was cut from a text are made of them.
struct Stretch {
    var scalars: [UInt32]
    var begins: [Int32]
    var ends: [Int32]
    /// Where the piece began in the given text when it was cut out.
    var shift: Int32

    init(_ text: String) {
        scalars = text.unicodeScalars.map(\.value)
        begins = (0 ..< Int32(scalars.count)).map { $0 }
        ends = begins.map { $0 + 1 }
        shift = 0
    }

    init(scalars: [UInt32], begins: [Int32], ends: [Int32], shift: Int32) {
        self.scalars = scalars
        self.begins = begins
        self.ends = ends
        self.shift = shift
    }

    var isEmpty: Bool { scalars.isEmpty }
    var count: Int { scalars.count }

    func cut(_ range: Range<Int>) -> Stretch {
        Stretch(
            scalars: Array(scalars[range]), begins: Array(begins[range]), ends: Array(ends[range]),
            shift: range.isEmpty ? shift : begins[range.lowerBound])
    }

    // MARK: changes

    /// A scalar of a new text, and how it came about: 0 where it replaces the next scalar, 1 where it
    /// is new, -n where it replaces the next and n behind that go.
    struct Change {
        let scalar: UInt32
        let by: Int

        init(_ scalar: UInt32, _ by: Int) {
            self.scalar = scalar
            self.by = by
        }
    }

    /// Takes the new text; the first `dropped` scalars go.
    mutating func become(_ changes: [Change], dropping dropped: Int = 0) {
        var newBegins: [Int32] = []
        var newEnds: [Int32] = []
        newBegins.reserveCapacity(changes.count)
        newEnds.reserveCapacity(changes.count)
        var at = dropped
        for change in changes {
            let place = change.by > 0 ? at - 1 : at
            let inside = min(place, count - 1)
            newBegins.append(inside < 0 ? shift : begins[inside])
            newEnds.append(inside < 0 ? shift : ends[inside])
            if change.by <= 0 { at += 1 - change.by }
        }
        scalars = changes.map(\.scalar)
        begins = newBegins
        ends = newEnds
    }

    mutating func filter(_ keep: (UInt32) -> Bool) {
        guard !scalars.allSatisfy(keep) else { return }
        let kept = scalars.indices.filter { keep(scalars[$0]) }
        begins = kept.map { begins[$0] }
        ends = kept.map { ends[$0] }
        scalars = kept.map { scalars[$0] }
    }

    mutating func map(_ change: (UInt32) -> UInt32) {
        for i in scalars.indices { scalars[i] = change(scalars[i]) }
    }

    /// Every scalar becomes some.
    mutating func expand(_ change: (UInt32, inout [UInt32]) -> Void) {
        var made: [UInt32] = []
        var newBegins: [Int32] = []
        var newEnds: [Int32] = []
        made.reserveCapacity(count)
        for i in scalars.indices {
            change(scalars[i], &made)
            while newBegins.count < made.count {
                newBegins.append(begins[i])
                newEnds.append(ends[i])
            }
        }
        scalars = made
        begins = newBegins
        ends = newEnds
    }

    /// Nothing is put before what is empty.
    mutating func prepend(_ text: [UInt32]) {
        guard let begin = begins.first, let end = ends.first else { return }
        scalars.insert(contentsOf: text, at: 0)
        begins.insert(contentsOf: repeatElement(begin, count: text.count), at: 0)
        ends.insert(contentsOf: repeatElement(end, count: text.count), at: 0)
    }

    /// Each match, none of which is empty, becomes `content`, which stands where the match ended.
    mutating func replace(_ matches: [Range<Int>], by content: [UInt32]) {
        guard !matches.isEmpty else { return }
        var made = Stretch(scalars: [], begins: [], ends: [], shift: shift)
        var at = 0
        for match in matches {
            made.append(self, at ..< match.lowerBound)
            made.scalars += content
            made.begins += repeatElement(begins[match.upperBound - 1], count: content.count)
            made.ends += repeatElement(ends[match.upperBound - 1], count: content.count)
            at = match.upperBound
        }
        made.append(self, at ..< count)
        self = made
    }

    private mutating func append(_ other: Stretch, _ range: Range<Int>) {
        scalars += other.scalars[range]
        begins += other.begins[range]
        ends += other.ends[range]
    }

    /// White space at the ends goes.
    mutating func strip(left: Bool, right: Bool) {
        var low = 0
        var high = count
        if left { while low < high, Characters.isWhiteSpace(scalars[low]) { low += 1 } }
        if right { while high > low, Characters.isWhiteSpace(scalars[high - 1]) { high -= 1 } }
        guard low > 0 || high < count else { return }
        scalars = Array(scalars[low ..< high])
        begins = Array(begins[low ..< high])
        ends = Array(ends[low ..< high])
    }
}

/// A stretch that is to be cut further, or the token that it is.
struct Piece {
    var stretch: Stretch
    /// The id of the added token that was found here whole.
    var added: Int32?
}

// MARK: - UTF-8

/// The UTF-8 of a stretch, and the scalar that each byte is of.
struct Spelling {
    var bytes: [UInt8] = []
    /// One more than there are bytes.
    var scalarOf: [Int32] = []

    init(_ scalars: [UInt32]) {
        bytes.reserveCapacity(scalars.count * 2)
        scalarOf.reserveCapacity(scalars.count * 2 + 1)
        for (i, scalar) in scalars.enumerated() {
            UTF8Text.append(scalar, to: &bytes)
            while scalarOf.count < bytes.count { scalarOf.append(Int32(i)) }
        }
        scalarOf.append(Int32(scalars.count))
    }
}

/// UTF-8 that is known to be well formed, as what came out of a `String` is.
enum UTF8Text {
    @inline(__always)
    static func append(_ scalar: UInt32, to bytes: inout [UInt8]) {
        switch scalar {
        case ..<0x80: bytes.append(UInt8(truncatingIfNeeded: scalar))
        case ..<0x800:
            bytes.append(UInt8(truncatingIfNeeded: 0xC0 | scalar >> 6))
            bytes.append(UInt8(truncatingIfNeeded: 0x80 | scalar & 0x3F))
        case ..<0x10000:
            bytes.append(UInt8(truncatingIfNeeded: 0xE0 | scalar >> 12))
            bytes.append(UInt8(truncatingIfNeeded: 0x80 | scalar >> 6 & 0x3F))
            bytes.append(UInt8(truncatingIfNeeded: 0x80 | scalar & 0x3F))
        default:
            bytes.append(UInt8(truncatingIfNeeded: 0xF0 | scalar >> 18))
            bytes.append(UInt8(truncatingIfNeeded: 0x80 | scalar >> 12 & 0x3F))
            bytes.append(UInt8(truncatingIfNeeded: 0x80 | scalar >> 6 & 0x3F))
            bytes.append(UInt8(truncatingIfNeeded: 0x80 | scalar & 0x3F))
        }
    }

    static func isValid(_ bytes: [UInt8]) -> Bool {
        String(decoding: bytes, as: UTF8.self).utf8.elementsEqual(bytes)
    }

    static func bytes(_ scalars: some Sequence<UInt32>) -> [UInt8] {
        var made: [UInt8] = []
        for scalar in scalars { append(scalar, to: &made) }
        return made
    }

    static func scalars(_ bytes: some Collection<UInt8>) -> [UInt32] {
        String(decoding: bytes, as: UTF8.self).unicodeScalars.map(\.value)
    }

    /// Bytes of the scalar that begins with this one.
    @inline(__always)
    static func length(_ first: UInt8) -> Int {
        first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4
    }
}
