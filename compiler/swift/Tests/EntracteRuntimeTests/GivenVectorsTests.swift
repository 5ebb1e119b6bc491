import EntracteSupport
import Foundation
import Testing

@testable import EntractePlan
@testable import EntracteRuntime

/// `tests/vectors/given.jsonl`: what is given to inputs becomes what it does on the Python side, or is
/// refused in the same words.
@Suite struct GivenVectorsTests {
    static let lines: [String] = {
        guard let data = try? Vectors.data("given.jsonl") else { return [] }
        return String(decoding: data, as: UTF8.self).split(separator: "\n").dropFirst().map(String.init)
    }()

    @Test func thereAreVectors() { #expect(Self.lines.count > 100) }

    @Test(arguments: lines) func whatIsGivenIsTakenOrRefused(_ line: String) async throws {
        let made = try JSON(parsing: line)
        let members = made["given"]?.asMembers ?? []
        let given = Dictionary(
            uniqueKeysWithValues: members.map { ($0.name, GivenVectorsTests.value($0.value)) })
        do {
            let found = try await Given(try GivenVectorsTests.program(made["inputs"] ?? .null), given)
            #expect(made["fault"] == nil)
            let told = found.told.map { "\($0.name) \(GivenVectorsTests.words($0.value))" }
            let wanted = made["told"]?.asList?.map {
                "\($0[0]?.asText ?? "") \(GivenVectorsTests.words($0[1] ?? .null))"
            }
            #expect(told == wanted)
            for member in made["values"]?.asMembers ?? [] {
                let is_ = found.values[member.name].map { GivenVectorsTests.words($0) }
                #expect(is_ == GivenVectorsTests.wanted(member.value), "\(member.name)")
            }
        } catch let fault as Fault {
            #expect(fault.message == made["fault"]?.asText)
            #expect(fault.kind == .run)
        }
    }

    private static func value(_ json: JSON) -> GivenValue {
        switch json {
        case .whole(let whole): .whole(whole)
        case .number(let number): .number(number)
        default: .text(json.asText ?? "")
        }
    }

    private static func program(_ inputs: JSON) throws -> Program {
        let fields: [(String, JSON)] = [
            ("inputs", inputs), ("constants", .list([])), ("tensors", .list([])), ("segments", .list([])),
            ("outputs", .list([])),
        ]
        let text = JSON.object(fields.map { JSON.Member($0.0, $0.1) }).data()
        let tape = try text.withUnsafeBytes { try Parser.parse($0) }
        return try EntractePlan.Decoder(tape).program(0)
    }

    private static func words(_ told: Told) -> String {
        switch told {
        case .text(let text): "text \(text)"
        case .whole(let whole): "\(whole)"
        case .number(let number): "number \(number)"
        }
    }

    private static func words(_ json: JSON) -> String {
        switch json {
        case .whole(let whole): "\(whole)"
        case .number(let number): "number \(number)"
        default: "text \(json.asText ?? "?")"
        }
    }

    private static func words(_ value: HostValue) -> String {
        switch value {
        case .text(let text): "text \(text)"
        case .seed(let seed): "seed \(seed)"
        case .tensor(let tensor): "\(tensor.dtype.rawValue) \(tensor.shape) \(Toy.hex(Toy.crc(tensor)))"
        }
    }

    private static func wanted(_ json: JSON) -> String {
        let kind = json[0]?.asText ?? ""
        if kind == "text" { return "text \(json[1]?.asText ?? "?")" }
        if kind == "seed" { return "seed \(json[1]?.asWhole ?? 0)" }
        return "\(kind) \(json[1]?.asList?.compactMap(\.asWhole) ?? []) \(json[2]?.asText ?? "")"
    }
}
