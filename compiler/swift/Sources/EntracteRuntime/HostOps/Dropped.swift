import EntractePlan
import EntracteText

/// Tells what of a text its ids leave out, and the word that the cut goes through.
struct Dropped {
    /// Characters of what was dropped that a note shows: a record's notes are lines of 2000 at most.
    private static let most = 1000
    /// Of a word that is named: texts of some languages have no spaces.
    private static let longestWord = 100

    private let text: [Unicode.Scalar]
    private let side: TruncationSide

    init(_ text: String, _ side: TruncationSide) {
        self.text = Array(text.unicodeScalars)
        self.side = side
    }

    /// `whole`: all tokens; `made`: those that were kept.
    func told(_ whole: Encoding, _ made: Encoding) -> String {
        let own = whole.isMark.indices.filter { !whole.isMark[$0] }
        let kept = made.isMark.count { !$0 }
        guard kept < own.count else { return "dropped are marks" }
        let cut: Int
        switch side {
        case .left: cut = inText(whole.ends, own[own.count - kept - 1])
        case .right: cut = inText(whole.begins, own[kept])
        }
        let lost = side == .left ? text[..<cut] : text[cut...]
        let words = Dropped.stripped(lost)
        let shown = Dropped.shown(words)
        let rest = words.count - shown.count
        let more = rest > 0 ? " and \(rest) characters more" : ""
        let word = wordAt(cut)
        let quoted = quote(word)
        let named = quoted.unicodeScalars.count <= Dropped.longestWord ? quoted : "a word"
        let inside = word.isEmpty ? "" : ", in the middle of \(named)"
        return "dropped from its \(side == .left ? "beginning" : "end"): \(quote(shown))\(more)\(inside)"
    }

    private func inText(_ places: [Int], _ index: Int) -> Int {
        index < places.count ? min(max(places[index], 0), text.count) : text.count
    }

    /// The word that a cut goes through; empty where it goes between two.
    private func wordAt(_ cut: Int) -> ArraySlice<Unicode.Scalar> {
        guard cut > 0, cut < text.count, !isSpace(text[cut - 1]), !isSpace(text[cut]) else { return [] }
        let begin = text[..<cut].lastIndex(where: isSpace).map { $0 + 1 } ?? 0
        let end = text[cut...].firstIndex(where: isSpace) ?? text.count
        return text[begin..<end]
    }

    private func quote(_ part: some Sequence<Unicode.Scalar>) -> String { Dropped.quote(part) }

    private static func quote(_ part: some Sequence<Unicode.Scalar>) -> String {
        words(String(String.UnicodeScalarView(part)))
    }

    /// As much as has room on a note's line, where some characters are spelled by several.
    static func shown(_ text: String) -> String {
        String(String.UnicodeScalarView(shown(Array(text.unicodeScalars)[...])))
    }

    private static func shown(_ given: ArraySlice<Unicode.Scalar>) -> ArraySlice<Unicode.Scalar> {
        var part = given.prefix(most)
        while true {
            let length = quote(part).unicodeScalars.count
            if length <= most + 2 { return part }
            part = part.prefix(part.count * most / length)
        }
    }

    /// Without white space around it.
    static func stripped(_ text: String) -> String {
        String(String.UnicodeScalarView(stripped(Array(text.unicodeScalars)[...])))
    }

    private static func stripped(_ part: ArraySlice<Unicode.Scalar>) -> ArraySlice<Unicode.Scalar> {
        guard let first = part.firstIndex(where: { !isSpace($0) }),
            let last = part.lastIndex(where: { !isSpace($0) })
        else { return [] }
        return part[first...last]
    }
}

private func isSpace(_ sign: Unicode.Scalar) -> Bool { TextRule.isSpace(sign) }
