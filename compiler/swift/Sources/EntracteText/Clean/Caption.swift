/// `clean: caption`: docs/prompts.md, "clean: caption", whose tables stand here row for row.
enum Caption {
    private struct Rule: Sendable {
        let what: Expression
        let made: Scalars
        /// What stands in the expression's group is kept, before `made`.
        let keepsGroup: Bool

        init(_ what: String, _ made: String, keepsGroup: Bool = false) {
            self.what = Expression(what)
            self.made = made.scalars
            self.keepsGroup = keepsGroup
        }
    }

    private static let host = #"[a-zA-Z0-9.\-]+\.(?:com|co|ru|net|org|edu|gov|it)[\w/-]*\b/?(?!@)"#
    private static let begin = "(?:/{1,3}|[a-zA-Z0-9%])"
    private static let files = "(?:png|jpg|jpeg|bmp|webp|eps|pdf|apk|mp4)"
    private static let dashes =
        "\u{2D}\u{58A}\u{5BE}\u{1400}\u{1806}\u{2010}-\u{2015}\u{2E17}\u{2E1A}\u{2E3A}\u{2E3B}\u{2E40}"
        + "\u{301C}\u{3030}\u{30A0}\u{FE31}\u{FE32}\u{FE58}\u{FE63}\u{FF0D}"

    private static let addresses = [
        Rule("<person>", "person"),
        Rule(#"\b(?:https?:\#(begin)|\#(host))"#, ""),
        Rule(#"\b(?:www:\#(begin)|\#(host))"#, ""),
    ]
    private static let signs = [
        Rule(#"@\w+\b"#, ""),
        Rule("[\u{31C0}-\u{9FFF}]+", ""),
        Rule("[\(dashes)]+", "-"),
        Rule("[`´«»“”¨]", "\""),
        Rule("[‘’]", "'"),
        Rule("&quot;?", ""),
        Rule("&amp", ""),
        Rule(#"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}"#, " "),
        Rule(#"\d:\d\d\s+\Z"#, ""),
        Rule(#"\\n"#, " "),
        Rule(#"#\d{1,3}\b"#, ""),
        Rule(#"#\d{5,}\b"#, ""),
        Rule(#"\b\d{6,}\b"#, ""),
        Rule(#"\S+\.\#(files)"#, ""),
        Rule(#"["']{2,}"#, "\""),
        Rule(#"\.{2,}"#, " "),
        Rule(#"[#®•©™&@·º½¾¿¡§~)(\]\[}{|\\/*]+"#, " "),
        Rule(#"\s+\.\s+"#, " "),
    ]
    /// Signs that join words, and how many of them a caption may keep.
    private static let joints: Set<UInt32> = [0x2D, 0x5F]
    private static let fewJoints = 3
    private static let words = [
        Rule(#"\b[a-zA-Z]{1,3}\d{3,15}\b"#, ""),
        Rule(#"\b[a-zA-Z]+\d+[a-zA-Z]+\b"#, ""),
        Rule(#"\b\d+[a-zA-Z]+\d+\b"#, ""),
        Rule(#"(?:worldwide\s+)?(?:free\s+)?shipping"#, ""),
        Rule(#"(?:free\s)?download(?:\sfree)?"#, ""),
        Rule(#"\bclick\b\s(?:for|on)\s\w+"#, ""),
        Rule(#"\b\#(files)(?:\simages?)?"#, ""),
        Rule(#"\bpage\s+\d+\b"#, ""),
        Rule(#"\b\d*[a-zA-Z]+\d+[a-zA-Z]+\d+[a-zA-Z\d]*\b"#, " "),
        Rule(#"\b\d+\.?\d*[x\#u{445}\#u{D7}]\d+\.?\d*\b"#, ""),
        Rule(#"\b\s+:\s+"#, ": "),
        Rule(#"(\D[,./])\b"#, " ", keepsGroup: true),
        Rule(#"\s+"#, " "),
    ]
    private static let ends = [
        Rule(#"\A["']([\w\W]+)["']\Z"#, "", keepsGroup: true),
        Rule(#"\A['_,\-:;]"#, ""),
        Rule(#"['_,\-:+]\Z"#, ""),
        Rule(#"\A\.\S+\Z"#, ""),
    ]

    /// Without addresses, markup, numbers of articles, names of files and the like, once.
    static func clean(_ caption: Scalars) -> Scalars {
        var text = applied(addresses, unquoted(caption).stripped().lowered())
        text = applied(signs, Page.text(of: text))
        if text.count(where: joints.contains) > fewJoints {
            text = text.map { joints.contains($0) ? 0x20 : $0 }
        }
        text = References.read(References.read(Mend.mend(text)))
        return applied(ends, applied(words, text)).stripped()
    }

    private static func applied(_ rules: [Rule], _ text: Scalars) -> Scalars {
        rules.reduce(text) { $1.what.replacing(in: $0, with: $1.made, keeping: $1.keepsGroup) }
    }

    /// `+` as a space, and each run of `%` and two hexadecimal digits as the UTF-8 that it spells.
    private static func unquoted(_ text: Scalars) -> Scalars {
        var made = Scalars()
        made.reserveCapacity(text.count)
        var bytes: [UInt8] = []
        var place = 0
        while place < text.count {
            if let byte = byte(text, place) {
                bytes.append(byte)
                place += 3
                continue
            }
            made += UTF8Text.scalars(bytes)
            bytes = []
            made.append(text[place] == 0x2B ? 0x20 : text[place])
            place += 1
        }
        return made + UTF8Text.scalars(bytes)
    }

    private static func byte(_ text: Scalars, _ place: Int) -> UInt8? {
        guard text[place] == 0x25, place + 2 < text.count, let high = Kinds.hexValue(text[place + 1]),
            let low = Kinds.hexValue(text[place + 2])
        else { return nil }
        return UInt8(truncatingIfNeeded: high << 4 | low)
    }
}
