/// The text of a piece of HTML, as Beautiful Soup with Python's own parser gives it: docs/prompts.md,
/// "HTML". Read once from its begin to its end.
struct Page {
    /// Elements whose text is none of the page's.
    private static let hidden = names("script style template rt rp")
    /// Elements in which white space is kept as it is.
    private static let keeping = names("pre textarea")
    /// Elements in which there are no tags but their own end.
    private static let raw = names("script style")
    /// Elements that have no text and no end.
    private static let empty = names(
        "area base basefont bgsound br col command embed frame hr image img input isindex keygen link "
            + "menuitem meta nextid param source spacer track wbr")

    private static func names(_ words: String) -> Set<Scalars> {
        Set(words.split(separator: " ").map { String($0).scalars })
    }

    private let places: Places
    private var tags: Tags
    private var place = 0
    /// Something had no end already.
    private var isAgain = false
    private var open: [Scalars] = []
    /// How often each name is open, and how many of them hide or keep.
    private var openCounts: [Scalars: Int] = [:]
    private var hiding = 0
    private var keeps = 0
    /// Of empty elements that came and have not been ended.
    private var emptyCounts: [Scalars: Int] = [:]
    private var run = Scalars()
    private var hasRun = false
    private var made = Scalars()

    /// What a reader of it would see: no tags, comments or declarations; references read.
    static func text(of markup: Scalars) -> Scalars {
        var page = Page(markup)
        page.read()
        return page.made
    }

    private init(_ markup: Scalars) {
        places = Places(markup)
        tags = Tags(places)
    }

    private mutating func read() {
        while place < places.count {
            let sign = places.text[place]
            if sign == 0x3C {
                readTag()
            } else if sign == 0x26 {
                if places.at(place + 1) == 0x23 { readNumber() } else { readName() }
            } else {
                take(place + 1)
            }
        }
        endRun()
    }

    // MARK: Text

    /// As it stands, up to there.
    private mutating func take(_ end: Int) {
        guard end > place else { return }
        add(places.text[place..<end])
        place = end
    }

    private mutating func add(_ text: some Sequence<UInt32>) {
        run += text
        hasRun = true
    }

    /// A tag ends a run of text. One of nothing but white space is a line break or a space.
    private mutating func endRun(isMarked: Bool = false) {
        guard hasRun else { return }
        defer {
            run.removeAll(keepingCapacity: true)
            hasRun = false
        }
        guard isMarked || hiding == 0 else { return }
        let isBlank = run.allSatisfy { $0 == 0x20 || $0 == 0x0A || $0 == 0x09 || $0 == 0x0C || $0 == 0x0D }
        if isBlank, keeps == 0 { made.append(run.contains(0x0A) ? 0x0A : 0x20) } else { made += run }
    }

    // MARK: Tags

    private mutating func readTag() {
        if let start = tags.start(place) { return readStart(start) }
        if let end = tags.end(place) { return readEnd(end.name, end.end) }
        if let kept = tags.kept(place) {
            endRun()
            add(places.text[kept.inside])
            place = kept.end
            return endRun(isMarked: true)
        }
        if let end = tags.dropped(place) {
            // </> ends no run.
            if end != place + 3 || places.at(place + 1) != 0x2F { endRun() }
            place = end
            return
        }
        switch places.at(place + 1) {
        case 0x2F, 0x21, 0x3F: takeUnended()
        default: take(place + 1)
        }
    }

    /// What is no tag because it does not end is text: up to the next `>`, else the next `<`.
    private mutating func takeUnended() {
        isAgain = true
        let ends = places.greater[place + 1]
        let begins = places.less[place + 1]
        take(ends < places.count ? ends + 1 : begins < places.count ? begins : place + 1)
    }

    private mutating func readStart(_ start: Tags.Start) {
        guard start.isEnded else {
            let after = places.at(start.end)
            let isSign = start.end == places.count || after == 0x3D || after == 0x2F
            return isSign || Kinds.isAsciiLetter(after) ? takeUnended() : take(start.end)
        }
        endRun()
        place = start.end
        guard start.isOpening else { return }
        let name = Scalars(places.text[start.name]).lowered()
        if Page.empty.contains(name) {
            emptyCounts[name, default: 0] += 1
            return
        }
        opened(name, by: 1)
        open.append(name)
        if Page.raw.contains(name) { skip(name) }
    }

    private mutating func opened(_ name: Scalars, by change: Int) {
        openCounts[name, default: 0] += change
        if Page.hidden.contains(name) { hiding += change }
        if Page.keeping.contains(name) { keeps += change }
    }

    /// To the end of an element in which there are no tags, else the text's.
    private mutating func skip(_ name: Scalars) {
        var begin = places.less[place]
        while begin < places.count {
            if isEnd(begin, of: name) { break }
            begin = places.less[begin + 1]
        }
        place = begin
    }

    /// `</name>` with white space around the name, in which `ſ` is an s and `ı` an i as well.
    private func isEnd(_ begin: Int, of name: Scalars) -> Bool {
        guard places.at(begin + 1) == 0x2F else { return false }
        let first = places.unspaced[begin + 2]
        let last = first + name.count
        guard last < places.count else { return false }
        let isNamed = zip(places.text[first..<last], name).allSatisfy { Page.isSame($0, $1) }
        return isNamed && places.at(places.unspaced[last]) == 0x3E
    }

    private static func isSame(_ code: UInt32, _ small: UInt32) -> Bool {
        switch code {
        case 0x17F: small == 0x73
        case 0x130, 0x131: small == 0x69
        case 0x41...0x5A: code + 0x20 == small
        default: code == small
        }
    }

    private mutating func readEnd(_ spelled: Range<Int>, _ end: Int) {
        place = end
        let name = Scalars(places.text[spelled]).lowered()
        if let count = emptyCounts[name], count > 0 {
            emptyCounts[name] = count - 1
            return
        }
        endRun()
        guard openCounts[name, default: 0] > 0 else { return }
        while let last = open.popLast() {
            opened(last, by: -1)
            if last == name { break }
        }
    }

    // MARK: References

    private mutating func readNumber() {
        if let (code, end) = number() {
            add([code])
            place = end
        } else if isAgain || places.semicolon[place] == places.count {
            // The parser gives up at its second one, and what is left stays as it is.
            take(places.count)
        } else {
            isAgain = true
            take(place + 2)
        }
    }

    /// Of `&#` and digits before a `;` or another character that is no hexadecimal digit.
    private func number() -> (UInt32, Int)? {
        let isHex = places.at(place + 2) | 0x20 == 0x78
        let begin = isHex ? place + 3 : place + 2
        var end = begin
        while isHex ? Kinds.hexValue(places.at(end)) != nil : Kinds.isAsciiDigit(places.at(end)) { end += 1 }
        guard end > begin, end < places.count, Kinds.hexValue(places.text[end]) == nil else { return nil }
        let code = References.value(places.text[begin..<end], radix: isHex ? 16 : 10)
        return (Page.character(code), places.text[end] == 0x3B ? end + 1 : end)
    }

    private static func character(_ code: UInt32) -> UInt32 {
        switch code {
        case 0, 0xD800...0xDFFF, 0x110000...: 0xFFFD
        default: References.windows1252(code) ?? code
        }
    }

    private mutating func readName() {
        guard places.isLetter(place + 1) else { return take(place + 1) }
        if let end = nameEnd() {
            let name = places.text[(place + 1)..<end]
            add(References.named(name) ?? References.named(name + [0x3B]) ?? [0x26] + name)
            place = places.at(end) == 0x3B ? end + 1 : end
        } else {
            // The parser loses the & of one letter at the end.
            if place + 2 == places.count { place += 1 }
            take(places.count)
        }
    }

    /// Of `[a-zA-Z][-.a-zA-Z0-9]*`, before a `;` or another character that is no letter or digit.
    private func nameEnd() -> Int? {
        var end = place + 2
        while Page.isNamePart(places.at(end)) { end += 1 }
        if end < places.count { return end }
        let lastSign = places.text[(place + 2)...].lastIndex { $0 == 0x2D || $0 == 0x2E }
        return lastSign
    }

    private static func isNamePart(_ code: UInt32) -> Bool {
        Kinds.isAsciiLetter(code) || Kinds.isAsciiDigit(code) || code == 0x2D || code == 0x2E
    }
}
