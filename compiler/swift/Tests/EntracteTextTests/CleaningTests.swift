import EntractePlan
import EntracteSupport
import Foundation
import Testing

@testable import EntracteText

private struct Preprocessed: Decodable {
    let text: String
    let once: String
    let out: String

    enum CodingKeys: String, CodingKey {
        case text = "in"
        case once = "clean_once"
        case out
    }
}

/// A text; nil where the file has a list of them.
private struct OneText: Decodable {
    let text: String?

    init(from decoder: any Swift.Decoder) throws {
        text = try? decoder.singleValueContainer().decode(String.self)
    }
}

private struct OpenSoraPair: Decodable {
    let text: String
    let aes: Double?
    let flow: Double?
    let camera: String?
    let out: OneText?
    let loops: [String: String]?
    let appended: OneText?

    enum CodingKeys: String, CodingKey {
        case text = "in"
        case aes, flow, out, appended
        case camera = "camera_motion"
        case loops = "loop_prompts"
    }

    var scores: [String] {
        var made: [String] = []
        if let aes { made.append("aesthetic score: \(aes)") }
        if let flow { made.append("motion score: \(flow)") }
        if let camera { made.append("camera motion: \(camera)") }
        return made
    }
}

private struct OpenSora: Decodable {
    let pairs: [OpenSoraPair]
    let text_preprocessing: [Preprocessed]
}

private struct More: Decodable {
    let caption: [[String]]
    let prompt: [[String]]
    let mojibake: [[String]]
}

private struct Template: Decodable {
    struct Pair: Decodable {
        let text: String
        let out: String

        enum CodingKeys: String, CodingKey {
            case text = "in"
            case out
        }
    }

    let positive_template: String
    let prompts: [Pair]
}

private func read<T: Decodable>(_ type: T.Type, _ name: String) throws -> T {
    try JSONDecoder().decode(type, from: Vectors.data(name))
}

/// What the thread has computed: others may have the machine meanwhile.
private func threadSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// Equal scalar by scalar: Swift's texts are equal where they are canonically equivalent.
private func isSame(_ one: String, _ other: String) -> Bool {
    one.unicodeScalars.elementsEqual(other.unicodeScalars)
}

struct CleaningTests {
    @Test func scoresAndCleaningAreThoseOfUpstream() throws {
        for pair in try read(OpenSora.self, "text_cleaning.json").pairs {
            let loops = pair.loops ?? ["0": pair.out?.text ?? ""]
            for (loop, out) in loops {
                let rule = TextRule(segment: Int(loop), scores: pair.scores, clean: .caption)
                #expect(isSame(try rule.written(pair.text), out), "\(pair.text)")
            }
            guard pair.loops == nil, let appended = pair.appended?.text else { continue }
            let rule = TextRule(segment: 0, scores: pair.scores, clean: .lower)
            let small = String(scalars: appended.scalars.lowered().stripped())
            #expect(isSame(try rule.written(pair.text), small))
        }
    }

    @Test func aCaptionIsCleanedTwice() throws {
        for pair in try read(OpenSora.self, "text_cleaning.json").text_preprocessing {
            #expect(isSame(String(scalars: Caption.clean(pair.text.scalars)), pair.once))
            #expect(isSame(Cleaning.caption.clean(pair.text), pair.out))
        }
    }

    @Test func aTemplateIsWhatStandsAroundAPrompt() throws {
        let template = try read(Template.self, "osp13_text.json")
        let parts = template.positive_template.components(separatedBy: "{}")
        #expect(parts.count == 2)
        let rule = TextRule(prefix: parts[0], suffix: parts[1])
        for pair in template.prompts { #expect(isSame(try rule.written(pair.text), pair.out)) }
    }

    @Test func allElseIsAsTheLibrariesHaveIt() throws {
        let more = try read(More.self, "text_cleaning_more.json")
        #expect(more.caption.count == 400 && more.prompt.count == 400)
        for pair in more.caption { #expect(isSame(Cleaning.caption.clean(pair[0]), pair[1]), "\(pair[0])") }
        for pair in more.prompt { #expect(isSame(Cleaning.prompt.clean(pair[0]), pair[1]), "\(pair[0])") }
        let left = more.mojibake.filter { !isSame(String(scalars: Mend.mend($0[0].scalars)), $0[1]) }
        #expect(more.mojibake.count == 90)
        #expect(
            Set(left.map { $0[0] }) == ["âœ”", "â™¥", "í•œêµ\u{AD}ì–´", "gÄ™Å›lÄ…", "×¢×‘×¨×™×ª"])
    }

    @Test func drawnTextsAreCleanedAsThePythonSideDoes() throws {
        let lines = try Vectors.data("cleaning_drawn.jsonl").split(separator: 0x0A)
        #expect(lines.count == 1500)
        let rules: [Cleaning] = [.lower, .caption, .prompt]
        for (number, line) in lines.enumerated() {
            let row = try JSONDecoder().decode([String].self, from: line)
            for (rule, out) in zip(rules, row.dropFirst()) {
                let made = rule.clean(row[0])
                #expect(isSame(made, out), "\(number + 1) \(rule): \(words(made)) is not \(words(out))")
            }
        }
    }

    @Test(arguments: ["|0|a|1", "|0|a|x|b", "|0|a|0|b", "|0|a|2|b|1|c", "|0|a||b"])
    func segmentsAreNumberedUpward(_ text: String) throws {
        #expect(throws: Fault.self) { try TextRule(segment: 0).written(text) }
        #expect(try TextRule().written(text) == text)
        #expect(try TextRule(segment: 6).written("|0| a |7|b") == "a")
    }

    @Test func aTextTooLongToCleanIsRefused() throws {
        let long = String(repeating: "a", count: 10_001)
        let refused = Fault.run(
            "tokenize: a text of 10001 characters is to be cleaned (caption); give at most 10000")
        #expect(throws: refused) { try TextRule(clean: .caption).written(long) }
        #expect(try TextRule().written(long) == long)
    }

    /// What a search with backtracking, or one that looks ahead from each sign, takes minutes for.
    @Test(arguments: [
        "<", "&", "<a ", "<a", "<a b='", "</ a", "<!--", "<![cdata[", "&#1", "a.", "http:a-", "page 1", "Ã©",
        "Σ", "&amp;", "amp;",
    ])
    func aTextIsCleanedInTimeInProportionToIt(_ piece: String) {
        let count = 10_000 / piece.unicodeScalars.count
        let text = "&" + String(repeating: piece, count: count - 1)
        let begin = threadSeconds()
        _ = Cleaning.caption.clean(text)
        _ = Cleaning.prompt.clean(text)
        let took = threadSeconds() - begin
        #expect(took < 5, "\(words(piece)) takes \(took)")
    }
}
