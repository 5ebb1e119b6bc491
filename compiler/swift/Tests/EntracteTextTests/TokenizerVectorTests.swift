import EntractePlan
import EntracteSupport
import Foundation
import Testing

@testable import EntracteText

/// FNV-1a, 32 bits, of the numbers as four bytes each: as tools/make_tokenizer_vectors.py has it.
func hashed(_ numbers: some Sequence<Int>) -> Int {
    var value: UInt32 = 0x811C_9DC5
    for number in numbers {
        let word = UInt32(truncatingIfNeeded: number)
        for shift in stride(from: 0, to: 32, by: 8) {
            value = (value ^ (word >> UInt32(shift) & 0xFF)) &* 0x0100_0193
        }
    }
    return Int(value)
}

private struct Long: Equatable {
    let count: Int
    let hash: Int
}

/// A line of `tokenizations.jsonl`.
private struct Case {
    let tokenizer: String
    let text: Int?
    let rest: [Any]

    static func all() throws -> [Case] {
        let lines = try Vectors.data("tokenizations.jsonl").split(separator: 10)
        return try lines.map { line in
            let record = try #require(try JSONSerialization.jsonObject(with: line) as? [Any])
            return Case(
                tokenizer: try #require(record.first as? String), text: record[1] as? Int,
                rest: Array(record.dropFirst(2)))
        }
    }
}

/// Whether numbers are those of a record, which spells short ones and counts and hashes long ones.
private func isSame(_ made: [Int], _ wanted: Any) -> Bool {
    if let ids = wanted as? [Int] { return ids == made }
    guard let long = wanted as? [String: Int] else { return false }
    return long["count"] == made.count && long["hash"] == hashed(made)
}

private func isSame(_ made: String, _ wanted: Any) -> Bool {
    if let text = wanted as? String { return text.unicodeScalars.elementsEqual(made.unicodeScalars) }
    return isSame(made.unicodeScalars.map { Int($0.value) }, wanted)
}

struct TokenizerVectorTests {
    static func tokenizer(_ name: String) throws -> Tokenizer {
        try Tokenizer(Vectors.data("tokenizers/\(name).json"), name: "\(name).json")
    }

    static func texts() throws -> [String] {
        let data = try Vectors.data("tokenizer_texts.json")
        return try #require(try JSONSerialization.jsonObject(with: data) as? [String])
    }

    @Test func idsPlacesAndTextsAreThoseOfTheLibrary() throws {
        let texts = try Self.texts()
        var tokenizers: [String: Tokenizer] = [:]
        var wrong: [String] = []
        var count = 0
        for one in try Case.all() {
            let tokenizer = try tokenizers[one.tokenizer] ?? Self.tokenizer(one.tokenizer)
            tokenizers[one.tokenizer] = tokenizer
            count += 1
            if let number = one.text, let cut = one.rest[0] as? [Any], cut.last is String {
                let made = try tokenizer.encode(
                    texts[number], addSpecialTokens: true, atMost: try #require(cut[0] as? Int),
                    droppingFrom: cut[1] as? String == "left" ? .left : .right)
                let same = isSame(made.ids, one.rest[1]) && hashed(Self.places(made)) == one.rest[2] as? Int
                if !same { wrong.append("\(one.tokenizer) \(number) \(cut): \(made)") }
            } else if let number = one.text {
                // Without marks only some: that is the same work again.
                if let what = Self.difference(tokenizer, texts[number], one.rest, plainly: number % 8 == 0) {
                    let text = texts[number].debugDescription.prefix(60)
                    wrong.append("\(one.tokenizer) \(number) \(what) \(text)")
                }
            } else if let ids = one.rest[0] as? [Int] {
                let made = try? tokenizer.decode(ids, skipSpecialTokens: true)
                let same = made.map { isSame($0, one.rest[1]) } ?? (one.rest[1] is NSNull)
                if !same { wrong.append("\(one.tokenizer) \(ids): \(made ?? "none")") }
            }
        }
        #expect(count > 5000 && tokenizers.count > 40)
        #expect(wrong.isEmpty, "\(wrong.count): \(wrong.prefix(60).joined(separator: "\n"))")
    }

    private static func places(_ made: EntracteText.Encoding) -> [Int] {
        made.ids.indices.flatMap { [made.begins[$0], made.ends[$0], made.isMark[$0] ? 1 : 0] }
    }

    private static func difference(
        _ tokenizer: Tokenizer, _ text: String, _ wanted: [Any], plainly: Bool
    ) -> String? {
        guard let made = try? tokenizer.encode(text, addSpecialTokens: true) else {
            return wanted[0] is NSNull ? nil : "fails"
        }
        guard !(wanted[0] is NSNull) else { return "does not fail" }
        guard isSame(made.ids, wanted[0]) else { return "ids \(made.ids.prefix(20)) not \(wanted[0])" }
        guard hashed(places(made)) == wanted[1] as? Int else { return "places \(places(made).prefix(30))" }
        let plain =
            plainly ? try? tokenizer.encode(text, addSpecialTokens: false).ids.count : wanted[2] as? Int
        guard plain == wanted[2] as? Int else { return "\(plain ?? -1) without marks" }
        guard let decoded = try? tokenizer.decode(made.ids, skipSpecialTokens: true) else {
            return "undecoded"
        }
        let same = isSame(decoded, wanted.count > 3 ? wanted[3] : text)
        return same ? nil : "decoded \(decoded.debugDescription)"
    }
}
