/// Where in a piece of HTML the next sign of a kind stands, for every place: each found once, so that
/// reading takes time in proportion to the text, however many tags have no end.
struct Places {
    let text: Scalars
    let greater: [Int]
    let less: [Int]
    let semicolon: [Int]
    let single: [Int]
    let double: [Int]
    /// The next that is no white space.
    let unspaced: [Int]
    /// The next that is neither white space nor `/`.
    let unslashed: [Int]
    /// The ends of a tag's name, of an attribute's name, of a value without quotes.
    let tagName: [Int]
    let attribute: [Int]
    let value: [Int]

    init(_ text: Scalars) {
        self.text = text
        let next = { (stops: (UInt32) -> Bool) in Places.next(text.count) { stops(text[$0]) } }
        greater = next { $0 == 0x3E }
        less = next { $0 == 0x3C }
        semicolon = next { $0 == 0x3B }
        single = next { $0 == 0x27 }
        double = next { $0 == 0x22 }
        unspaced = next { !Kinds.isSpace($0) }
        unslashed = next { $0 != 0x2F && !Kinds.isSpace($0) }
        tagName = next(Places.endsTagName)
        attribute = next { $0 == 0x2F || $0 == 0x3D || $0 == 0x3E || Kinds.isSpace($0) }
        value = next { $0 == 0x3E || Kinds.isSpace($0) }
    }

    /// For each place from 0 to `count`: the first at or behind it that holds; `count` where none does.
    static func next(_ count: Int, _ holds: (Int) -> Bool) -> [Int] {
        var made = Array(repeating: count, count: count + 1)
        for place in stride(from: count - 1, through: 0, by: -1) {
            made[place] = holds(place) ? place : made[place + 1]
        }
        return made
    }

    private static func endsTagName(_ code: UInt32) -> Bool {
        switch code {
        case 0x00, 0x09, 0x0A, 0x0C, 0x0D, 0x20, 0x2F, 0x3E: true
        default: false
        }
    }

    var count: Int { text.count }

    /// The character there; 0x110000, which is none, behind the end.
    func at(_ place: Int) -> UInt32 { place < text.count ? text[place] : 0x110000 }

    func isLetter(_ place: Int) -> Bool { Kinds.isAsciiLetter(at(place)) }
}
