import EntractePlan
import EntracteSupport
import Foundation
import Testing

@testable import EntracteText

struct TokenizerTableTests {
    private static func table() throws -> [String: Any] {
        let data = try Vectors.data("tokenizer_characters.json")
        return try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    }

    /// All but halves of surrogate pairs, U+0002 and `|`, as the vectors have them: Unicode 14.0.
    private static func known(_ table: [String: Any]) throws -> [UInt32] {
        try #require(Self.points(table, "known"))
    }

    private static func points(_ table: [String: Any], _ name: String) -> [UInt32]? {
        guard let runs = table[name] as? [Int], runs.count % 2 == 0 else { return nil }
        return stride(from: 0, to: runs.count, by: 2).flatMap { (UInt32(runs[$0]) ... UInt32(runs[$0 + 1])) }
    }

    private static let patterns = [
        "space": #"\s"#, "word": #"\w"#, "digit": #"\d"#, "letter": #"\p{L}"#, "number": #"\p{N}"#,
        "mark": #"\p{M}"#, "punctuation": #"\p{P}"#, "symbol": #"\p{S}"#, "upper": #"\p{Lu}"#,
        "lower": #"\p{Ll}"#, "title": #"\p{Lt}"#, "modifier": #"\p{Lm}"#, "other_letter": #"\p{Lo}"#,
        "separator": #"\p{Z}"#, "not_space": #"[^\S]"#, "dot": ".", "folded": "(?i:[sdmtk])",
    ]

    @Test func classesOfCharactersAreThoseOfTheLibrary() throws {
        let table = try Self.table()
        let known = try Self.known(table)
        #expect(known.count > 280_000)
        for (name, text) in Self.patterns {
            let pattern = try TokenPattern(parsing: text)
            guard case .take(let set) = pattern.steps[0] else {
                Issue.record("\(name) takes more than a character")
                continue
            }
            #expect(known.filter(set.takes) == Self.points(table, name), "\(name)")
        }
        #expect(known.filter(Characters.isWhiteSpace) == Self.points(table, "white_space"))
        #expect(known.filter(Characters.isNumeric) == Self.points(table, "numeric"))
        #expect(known.filter(Characters.isWord) == Self.points(table, "word_of_rust"))
    }

    @Test func normalFormsOfAllCharactersAreThoseOfTheLibrary() throws {
        let table = try Self.table()
        let known = try Self.known(table)
        let normalizers: [(String, Normalizer)] = [
            ("Lowercase", .lowercase), ("NFC", .form(.nfc)), ("NFD", .form(.nfd)), ("NFKC", .form(.nfkc)),
            ("NFKD", .form(.nfkd)),
        ]
        for (name, normalizer) in normalizers {
            var text = Stretch("")
            text.scalars = Array(known.map { [$0] }.joined(separator: [0x7C]))
            text.begins = [Int32](repeating: 0, count: text.scalars.count)
            text.ends = text.begins
            try normalizer.apply(to: &text)
            #expect(hashed(text.scalars.lazy.map(Int.init)) == table[name] as? Int, "\(name)")
        }
    }

    @Test func scoresAreRoundedAsTheLibraryRoundsThem() throws {
        let pairs = try #require(
            try JSONSerialization.jsonObject(with: Vectors.data("tokenizer_scores.json")) as? [[String]])
        #expect(pairs.count > 300)
        var others = 0
        for pair in pairs {
            let value = Array(pair[0].utf8).withUnsafeBufferPointer(readScore)
            #expect(value?.bitPattern == UInt64(pair[1], radix: 16), "\(pair)")
            if Double(pair[0])?.bitPattern != value?.bitPattern { others += 1 }
        }
        #expect(others > 20, "all are what everybody reads")
        for large in ["1e309", "-1e400", "9e308"] {
            #expect(Array(large.utf8).withUnsafeBufferPointer(readScore) == nil)
        }
    }
}
