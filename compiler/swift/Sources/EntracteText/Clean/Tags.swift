/// Finds tags, ends, comments and the like at a `<`: docs/prompts.md, "HTML".
struct Tags {
    /// `<name ...`, with its end `>` or `/>` if it has one.
    struct Start {
        let name: Range<Int>
        let end: Int
        let isOpening: Bool
        let isEnded: Bool
    }

    private static let keptBegin = "<![cdata[".scalars

    private let places: Places
    /// For each place where attributes may begin, once known: where they and what follows end.
    private var attributesEnd: [Int: Int] = [:]
    /// Where `]]>` and `-->` begin, white space in them or not.
    private let keptEnd: [Int]
    private let commentEnd: [Int]

    init(_ places: Places) {
        self.places = places
        keptEnd = Places.next(places.count) { Tags.keptClose(places, $0) != nil }
        commentEnd = Places.next(places.count) { Tags.commentClose(places, $0) != nil }
    }

    // MARK: Begins

    /// A tag at a `<`; nil where no letter follows it.
    mutating func start(_ place: Int) -> Start? {
        guard places.isLetter(place + 1) else { return nil }
        let nameEnd = places.tagName[place + 2]
        let end = afterAttributes(places.unslashed[nameEnd])
        let name = (place + 1)..<nameEnd
        if places.at(end) == 0x3E { return Start(name: name, end: end + 1, isOpening: true, isEnded: true) }
        if places.at(end) == 0x2F, places.at(end + 1) == 0x3E {
            return Start(name: name, end: end + 2, isOpening: false, isEnded: true)
        }
        return Start(name: name, end: end, isOpening: false, isEnded: false)
    }

    /// Behind all attributes from there on, and white space.
    private mutating func afterAttributes(_ begin: Int) -> Int {
        var seen: [Int] = []
        var place = begin
        while attributesEnd[place] == nil, let next = attribute(place) {
            seen.append(place)
            place = next
        }
        let end = attributesEnd[place] ?? places.unspaced[place]
        for place in seen { attributesEnd[place] = end }
        return end
    }

    /// Behind the attribute that begins there, and all white space and `/` (but one before `>`) behind it.
    private func attribute(_ place: Int) -> Int? {
        guard place > 0, place < places.count, Tags.isBeforeAttribute(places.text[place - 1]),
            !Tags.isNoAttribute(places.text[place])
        else { return nil }
        let nameEnd = places.attribute[place + 1]
        let end = places.unslashed[value(nameEnd) ?? nameEnd]
        // A / before the > is the tag's.
        return places.at(end) == 0x3E && end > nameEnd && places.text[end - 1] == 0x2F
            ? max(end - 1, value(nameEnd) ?? nameEnd) : end
    }

    private static func isBeforeAttribute(_ code: UInt32) -> Bool {
        code == 0x27 || code == 0x22 || code == 0x2F || Kinds.isSpace(code)
    }

    private static func isNoAttribute(_ code: UInt32) -> Bool {
        code == 0x2F || code == 0x3E || Kinds.isSpace(code)
    }

    /// Behind `=`, a value and white space. A quote that has no end is no value: of the white space
    /// before it, or of several `=`, the last goes back to make one of it.
    private func value(_ place: Int) -> Int? {
        let begin = places.unspaced[place]
        guard places.at(begin) == 0x3D else { return nil }
        var signs = begin
        while places.at(signs) == 0x3D { signs += 1 }
        let first = places.unspaced[signs]
        let quote = places.at(first)
        guard quote == 0x27 || quote == 0x22 else { return places.unspaced[places.value[first]] }
        let close = (quote == 0x27 ? places.single : places.double)[first + 1]
        if close < places.count { return places.unspaced[close + 1] }
        if first > signs { return first }
        return signs > begin + 1 ? places.unspaced[places.value[signs - 1]] : nil
    }

    // MARK: Ends

    /// The name and the end of `</name ...>`.
    func end(_ place: Int) -> (name: Range<Int>, end: Int)? {
        guard places.at(place + 1) == 0x2F else { return nil }
        let begin = places.unspaced[place + 2]
        if places.isLetter(begin) {
            var nameEnd = begin + 1
            while Tags.isEndName(places.at(nameEnd)) { nameEnd += 1 }
            let close = places.unspaced[nameEnd]
            if places.at(close) == 0x3E { return (begin..<nameEnd, close + 1) }
        }
        guard places.isLetter(place + 2) else { return nil }
        let nameEnd = places.tagName[place + 3]
        let close = places.greater[nameEnd]
        return close < places.count ? ((place + 2)..<nameEnd, close + 1) : nil
    }

    private static func isEndName(_ code: UInt32) -> Bool {
        Kinds.isAsciiLetter(code) || Kinds.isAsciiDigit(code) || code == 0x2D || code == 0x2E
            || code == 0x3A || code == 0x5F
    }

    // MARK: Declarations and comments

    /// What is inside `<![cdata[` and `]]>`, and their end.
    func kept(_ place: Int) -> (inside: Range<Int>, end: Int)? {
        let begin = Tags.keptBegin
        let inside = place + begin.count
        guard inside <= places.count else { return nil }
        guard Scalars(places.text[place..<inside]).lowered() == begin else { return nil }
        let close = keptEnd[inside]
        return close < places.count ? Tags.keptClose(places, close).map { (inside..<close, $0) } : nil
    }

    /// The end of a comment, or of any other `<!`, `<?` and `</`.
    func dropped(_ place: Int) -> Int? {
        let sign = places.at(place + 1)
        let isComment = sign == 0x21 && places.at(place + 2) == 0x2D && places.at(place + 3) == 0x2D
        if isComment {
            let close = commentEnd[min(place + 4, places.count)]
            return close < places.count ? Tags.commentClose(places, close) : nil
        }
        guard sign == 0x21 || sign == 0x3F || sign == 0x2F else { return nil }
        let close = places.greater[place + 2]
        return close < places.count ? close + 1 : nil
    }

    private static func keptClose(_ places: Places, _ place: Int) -> Int? {
        guard places.at(place) == 0x5D else { return nil }
        let second = places.unspaced[place + 1]
        guard places.at(second) == 0x5D else { return nil }
        let close = places.unspaced[second + 1]
        return places.at(close) == 0x3E ? close + 1 : nil
    }

    private static func commentClose(_ places: Places, _ place: Int) -> Int? {
        guard places.at(place) == 0x2D, places.at(place + 1) == 0x2D else { return nil }
        let close = places.unspaced[place + 2]
        return places.at(close) == 0x3E ? close + 1 : nil
    }
}
