import EntractePlan
import EntracteSupport
import Foundation
import Testing

@testable import EntracteText

/// SplitMix64, to draw the same each time.
private struct Drawn {
    var state: UInt64

    mutating func next(_ below: Int) -> Int {
        state &+= 0x9E37_79B9_7F4A_7C15
        var x = state
        x = (x ^ x >> 30) &* 0xBF58_476D_1CE4_E5B9
        x = (x ^ x >> 27) &* 0x94D0_49BB_1331_11EB
        return Int((x ^ x >> 31) % UInt64(below))
    }
}

struct TokenizerRefusalTests {
    private static var plain: [String: Any] {
        ["version": "1.0", "model": ["type": "WordLevel", "vocab": ["a": 0, "?": 1], "unk_token": "?"]]
    }

    /// The plain one with another section.
    private static func file(_ section: String, _ value: Any) throws -> Data {
        try JSONSerialization.data(withJSONObject: plain.merging([section: value]) { $1 })
    }

    @Test func whatIsNotImplementedIsRefusedWithItsPlace() throws {
        let lines = try Vectors.data("tokenizer_refused.jsonl").split(separator: 10)
        #expect(lines.count > 70)
        for line in lines {
            let record = try #require(try JSONSerialization.jsonObject(with: line) as? [Any])
            let section = try #require(record[0] as? String)
            let file = try Self.file(section, record[1])
            do {
                _ = try Tokenizer(file, name: "t.json")
                Issue.record("taken: \(record)")
            } catch let fault as Fault {
                #expect(fault.kind == .plan)
                let message = fault.message
                let place = try #require(record[2] as? String)
                let says = try #require(record[3] as? String)
                #expect(message.prefix { $0 != ":" }.hasSuffix(place), "\(message)")
                #expect(message.contains(says), "\(message)")
                #expect(message.contains("; allowed: ") && message.contains("; give "), "\(message)")
            }
        }
        _ = try Tokenizer(JSONSerialization.data(withJSONObject: Self.plain))
    }

    @Test func otherFilesAreNone() throws {
        for text in ["", "{", "[]", "{}", "nul", "{\"model\":null}", "\u{FEFF}{}", "{\"a\":1,\"a\":1}"] {
            #expect(throws: Fault.self) { try Tokenizer(Data(text.utf8)) }
        }
        #expect(throws: Fault.self) { try Tokenizer(Data([0xFF, 0xFE])) }
        let none = URL(fileURLWithPath: "/no/such/tokenizer.json")
        #expect(throws: Fault.self) { try Tokenizer(contentsOf: none) }
        let large = Data(count: Tokenizer.mostBytes + 1)
        #expect(throws: Fault.self) { try Tokenizer(large) }
    }

    /// Whatever a file says, it is refused or it is read, and a text is encoded or that is refused.
    @Test func noDamagedFileStopsTheRunner() throws {
        var drawn = Drawn(state: 16)
        let text = "A na\u{EF}ve <|endoftext|> \u{1100}\u{1161}e\u{301} \u{1F44D}\u{1F3FD} it's 123 </s>\n"
        var read = 0
        let names = [
            "clip", "t5_saved", "bert_cased", "pieces_bytes", "flags_prepend", "pieces_symbols", "cut_gpt4o",
        ]
        for name in names {
            let whole = try Vectors.data("tokenizers/\(name).json")
            for _ in 0 ..< 60 {
                var data = whole
                for _ in 0 ... drawn.next(3) { Self.damage(&data, &drawn) }
                guard let tokenizer = try? Tokenizer(data) else { continue }
                read += 1
                let made = try? tokenizer.encode(text, addSpecialTokens: true)
                _ = try? tokenizer.text(of: made?.ids ?? [1, 2, 3])
            }
        }
        #expect(read > 20)
    }

    /// A byte becomes another, or one of the signs of JSON, or a stretch goes or is doubled.
    private static func damage(_ data: inout Data, _ drawn: inout Drawn) {
        let at = drawn.next(min(data.count, drawn.next(2) == 0 ? 1500 : data.count))
        switch drawn.next(4) {
        case 0: data[at] = UInt8(drawn.next(256))
        case 1: data[at] = Array("0123456789-.,:[]{}\"\\eunlltruefalse ".utf8)[drawn.next(35)]
        case 2: data.removeSubrange(at ..< min(at + drawn.next(20), data.count))
        default: data.insert(contentsOf: data[at ..< min(at + drawn.next(20), data.count)], at: at)
        }
    }

    /// A trie that leads out of itself is told when it is followed.
    @Test func aDamagedMapOfCharactersIsTold() throws {
        var drawn = Drawn(state: 5)
        let file = try JSONSerialization.jsonObject(with: Vectors.data("tokenizers/pieces_unigram.json"))
        var spelled = ""
        func find(_ value: Any) {
            if let object = value as? [String: Any] {
                if let found = object["precompiled_charsmap"] as? String { spelled = found }
                object.values.forEach(find)
            }
            (value as? [Any])?.forEach(find)
        }
        find(file)
        let map = [UInt8](try #require(Data(base64Encoded: spelled)))
        #expect(map.count > 500)
        var taken = 0
        for _ in 0 ..< 400 {
            var bytes = map
            for _ in 0 ... drawn.next(30) { bytes[4 + drawn.next(bytes.count - 4)] = UInt8(drawn.next(256)) }
            let body = ["type": "Precompiled", "precompiled_charsmap": Data(bytes).base64EncodedString()]
            guard let tokenizer = try? Tokenizer(Self.file("normalizer", body)) else { continue }
            taken += 1
            let text = "\u{FF21}\u{FF22} \u{2460} e\u{301} \u{FB01} a\u{327}"
            _ = try? tokenizer.encode(text, addSpecialTokens: false)
        }
        #expect(taken > 10)
    }

    @Test func aPatternThatNeverEndsIsGivenUp() throws {
        let pattern = try TokenPattern(parsing: "(?:a|aa)+b")
        let text = [UInt32](repeating: 97, count: 200)
        #expect(throws: Fault.self) { try pattern.found(in: text) }
    }
}
