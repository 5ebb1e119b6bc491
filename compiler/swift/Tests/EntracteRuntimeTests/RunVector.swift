import EntracteSupport
import Foundation
import Testing

@testable import EntractePlan
@testable import EntracteRuntime

/// A line of `tests/vectors/runs.jsonl`: a program, how long things take, and what happens.
struct RunVector: Sendable, CustomTestStringConvertible {
    let name: String
    let plan: Plan
    let ends: [Int: Int]
    let loads: [Int]
    let steps: [Int]
    let gamma: Gamma
    let log: [String]
    /// [name, shape, type, CRC], as words.
    let outputs: [String]
    let peakBytes: Int

    var testDescription: String { name }

    static let lines = lines(of: "runs.jsonl")

    static let all: [RunVector] = lines.compactMap { try? RunVector($0) }

    /// Of programs whose calls may rest by a tensor.
    static let asking: [RunVector] = lines(of: "rests_by.jsonl").compactMap { try? RunVector($0) }

    private static func lines(of file: String) -> [String] {
        guard let data = try? Vectors.data(file) else { return [] }
        return String(decoding: data, as: UTF8.self).split(separator: "\n").dropFirst().map(String.init)
    }

    init(_ line: String) throws {
        let made = try JSON(parsing: line)
        name = made["name"]?.asText ?? ""
        plan = try RunVector.plan(made)
        let wholes = { (x: JSON?) in x?.asList?.compactMap(\.asWhole) ?? [] }
        let pairs = (made["ends"]?.asList ?? []).map { wholes($0) }
        ends = Dictionary(uniqueKeysWithValues: pairs.map { ($0[0], $0[1]) })
        loads = wholes(made["loads"])
        steps = wholes(made["steps"])
        let pair = wholes(made["gamma"])
        gamma = Gamma(above: pair[0], below: pair[1])
        log = made["log"]?.asList?.compactMap(\.asText) ?? []
        outputs = (made["outputs"]?.asList ?? []).map { told in
            let shape = wholes(told[1]).map { String($0) }.joined(separator: "x")
            return "\(told[0]?.asText ?? "") \(shape) \(told[2]?.asText ?? "") \(told[3]?.asText ?? "")"
        }
        peakBytes = made["peak"]?.asWhole ?? 0
    }

    /// A plan around what stands in the line.
    private static func plan(_ made: JSON) throws -> Plan {
        let facts = made["facts"]?.asList ?? []
        let packages = (made["packages"]?.asList ?? []).enumerated().map { n, own in
            let chunk = own["chunk"] ?? .null
            let figures: [(String, JSON)] = [
                ("path", chunk), ("digest", .text("")), ("file_bytes", .whole(0)),
                ("weight_bytes", facts[n]["weight_bytes"] ?? .null),
                ("activation_bytes", facts[n]["activation_bytes"] ?? .null), ("precision", .text("fp16")),
                ("compression", .text("none")),
            ]
            return JSON.object((own.asMembers ?? []) + figures.map { JSON.Member($0.0, $0.1) })
        }
        let fields: [(String, JSON)] = [
            ("version", .whole(PlanFormat.version)), ("entracte", .text("0")), ("built", .flag(true)),
            ("pipeline", .text("toy")), ("title", .text("toy")), ("target", target),
            ("settings", .text("{}")),
            ("program", made["program"] ?? .null), ("chunks", .list([])), ("packages", .list(packages)),
            ("facts", .list(facts)), ("schedule", made["schedule"] ?? .null), ("forecast", forecast),
        ]
        let text = object(fields).data()
        let tape = try text.withUnsafeBytes { try Parser.parse($0) }
        return try Decoder(tape).plan(0, sha256: String(repeating: "0", count: 64))
    }

    private static func object(_ fields: [(String, JSON)]) -> JSON {
        .object(fields.map { JSON.Member($0.0, $0.1) })
    }

    private static let target = object([
        ("name", .text("toy")), ("title", .text("toy")), ("memory_bytes", .whole(1)),
        ("base_footprint_bytes", .whole(0)), ("settle_fraction", .number(0)),
        ("chunk_limit_bytes", .whole(1)),
        ("deployment", .text("iOS18")), ("compute_unit", .text("all")), ("load_bandwidth", .number(1)),
        ("load_overhead_s", .number(0)), ("compute_flops", .number(1)), ("memory_bandwidth", .number(1)),
        ("call_overhead_s", .number(0)),
    ])

    private static let forecast = object([
        ("makespan_s", .number(0)), ("compute_s", .number(0)), ("loading_s", .number(0)),
        ("stall_s", .number(0)),
        ("loaded_bytes", .whole(0)), ("loads", .whole(0)), ("peak_bytes", .whole(0)),
        ("peak_step", .text("")),
        ("lower_bound_s", .number(0)), ("lower_bound", .text("")), ("stage_s", .list([])),
        ("bars", .list([])),
    ])
}
