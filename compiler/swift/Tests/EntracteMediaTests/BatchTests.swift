import EntracteRuntime
import Foundation
import Testing

@testable import EntracteMedia
@testable import EntractePlan

/// What a file says of how it was made is what the other side says of the same.
@Test(arguments: try Record.all("metadata"))
func filesSayHowTheyWereMade(_ record: Record) throws {
    func pairs(_ name: String) -> [(String, JSON)] {
        (record.json[name]?.asList ?? []).compactMap { pair in
            pair[0]?.asText.map { ($0, pair[1] ?? .null) }
        }
    }
    let made = Metadata(
        madeBy: record.text("made_by"), pipeline: record.text("pipeline"), plan: record.text("plan"),
        inputs: try pairs("inputs").map { NamedTold(name: $0.0, value: try #require(Told($0.1))) },
        device: record.text("device"), arithmetic: record.text("arithmetic"),
        versions: pairs("versions").map { NamedText(name: $0.0, text: $0.1.asText ?? "") })
    let text = made.text
    if let wanted = record.gives["comment"]?.asText {
        #expect(text.utf8.elementsEqual(wanted.utf8))
    } else {
        #expect(text.utf8.count == record.gives["bytes"]?.asWhole && agrees(Array(text.utf8), record.gives))
    }
}

extension Told {
    /// A letter and how often it stands in a text, or the value itself.
    init?(_ json: JSON) {
        switch json {
        case .text(let text): self = .text(text)
        case .whole(let whole): self = .whole(whole)
        case .number(let number): self = .number(number)
        case .list: self = .text(String(repeating: json[0]?.asText ?? "", count: json[1]?.asWhole ?? 0))
        default: return nil
        }
    }
}

@Test(arguments: try Record.all("batch"))
func runsAndTheirFilesAreNamedAsTheOtherSideNamesThem(_ record: Record) throws {
    let values = (record.json["values"]?.asList ?? []).map { pair in
        BatchValues(
            input: pair[0]?.asText ?? "",
            options: (pair[1]?.asList ?? []).map { $0.asText.map { .text($0) } ?? .whole($0.asWhole ?? -1) })
    }
    do {
        let runs = try batch(same: [:], values)
        let wanted = record.gives["runs"]?.asList ?? []
        #expect(runs.count == wanted.count)
        for (run, want) in zip(runs, wanted) {
            #expect(run.name == want["name"]?.asText)
            #expect(Out.file(record.text("out")).of(run) == .file(want["out"]?.asText ?? ""))
            #expect(run.differing == (want["differing"]?.asList ?? []).compactMap(\.asText))
            let inputs = want["inputs"]?.asList ?? []
            #expect(run.inputs.count == inputs.count)
            for pair in inputs { #expect(run.inputs[pair[0]?.asText ?? ""].map(json) == pair[1]) }
        }
    } catch let fault as Fault {
        #expect(fault.message == record.gives["fault"]?.asText)
    }
}

private func json(_ value: GivenValue) -> JSON {
    switch value {
    case .text(let text): .text(text)
    case .whole(let whole): .whole(whole)
    default: .null
    }
}

private func seed(_ text: String, least: Double? = nil, most: Double? = nil) throws -> GivenValue {
    try Seed.of(seedInput(least, most), text)
}

/// The message of what is refused.
private func refusal(_ act: () throws -> Void) -> String? {
    do { try act() } catch { return (error as? Fault)?.message }
    return nil
}

private func seedInput(_ least: Double?, _ most: Double?) -> Input {
    Input(
        name: "s", kind: .seed, default: nil, port: nil, choices: [], least: least, most: most, low: 0, high: 1,
        fit: "crop", rate: 0)
}

@Test func seedsAsTheyAreTyped() throws {
    #expect(json(try seed(" 12 ")) == .whole(12))
    #expect(json(try seed("9223372036854775808")) == .text("9223372036854775808"))
    for (text, said) in [
        ("-1", "--seed -1: give a whole number from 0, or `random`, which draws one and says which "
            + "(`--input s=-1` means just that number)"),
        ("x", "--seed x: is no whole number; give a whole number from 0, or `random`, which draws one and says which"),
    ] {
        #expect(refusal { _ = try seed(text) } == said)
    }
    for _ in 0..<50 {
        guard case .whole(let drawn) = try seed("random", least: -5, most: 2) else { Issue.record(); return }
        #expect((0...2).contains(drawn))
    }
    let drawn = Set((0..<20).map { _ in Seed.drawn(for: seedInput(nil, 1e300)) })
    #expect(drawn.count == 20 && drawn.allSatisfy { $0 >= 0 })
    #expect(Seed.drawn(for: seedInput(7, 7)) == 7)
}

@Test func rangesOfSeeds() throws {
    #expect(try Seed.ranges("0-3, 8 ,5", most: 10) == [0, 1, 2, 3, 8, 5])
    for text in ["", "1,", "3-1", "1-2-3", "-1", "a", "0-10", "1234567890123456789", "0x1"] {
        #expect(throws: Fault.self) { _ = try Seed.ranges(text, most: 10) }
    }
}

@Test func aFileOfPrompts() async throws {
    try await withFolder { folder in
        let path = folder + "/p.txt"
        try Data([0xEF, 0xBB, 0xBF] + Array("a red\u{A0}\r\n\n \t\n b\u{2028}c\u{1F}\rd".utf8)).write(
            to: URL(fileURLWithPath: path))
        #expect(try prompts(in: path) == ["a red", "b", "c", "d"])
        for (bytes, said) in [
            ([0x61, 0xFF], "is no text in UTF-8; save it so"),
            ([0x20, 0x0A], "there is no prompt in it; write one in each line"),
        ] as [([UInt8], String)] {
            try Data(bytes).write(to: URL(fileURLWithPath: path))
            #expect(refusal { _ = try prompts(in: path) } == "--prompts \(path): \(said)")
        }
        #expect(throws: Fault.self) { _ = try prompts(in: folder) }
        let there = try MediaOutputs(codecs, text: { _, _ in "" }).sinks([], .nothing)
        try checkNew(there)
    }
}
