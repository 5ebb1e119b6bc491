import EntractePlan
import Foundation

/// What a written file says of how it was made: a comment of JSON, without dates, as `run/metadata.py` of the
/// Python side writes it.
public struct Metadata: Equatable, Sendable {
    /// `entracte` and a version.
    public let madeBy: String
    public let pipeline: String
    /// The plan's SHA-256.
    public let plan: String
    /// As a record names them.
    public let inputs: [NamedTold]
    /// What the engine is called in a record.
    public let device: String
    public let arithmetic: String
    public let versions: [NamedText]

    /// Bytes of a comment: what formats have room for ends below 64 KiB.
    static let mostBytes = 60_000
    /// Letters of a text that cannot be told in full.
    private static let short = 200

    public init(
        madeBy: String, pipeline: String, plan: String, inputs: [NamedTold], device: String, arithmetic: String,
        versions: [NamedText]
    ) {
        self.madeBy = madeBy
        self.pipeline = pipeline
        self.plan = plan
        self.inputs = inputs
        self.device = device
        self.arithmetic = arithmetic
        self.versions = versions
    }

    /// Of a run of a plan on an engine. Whose machine it was is no matter of whoever is given the file.
    public init(_ plan: Plan, _ inputs: [NamedTold], engine: String) {
        self.init(
            madeBy: "entracte \(RunRecord.version)", pipeline: plan.pipeline, plan: plan.sha256, inputs: inputs,
            device: engine, arithmetic: "", versions: RunRecord.versions().filter { $0.name != "system" })
    }

    /// The comment, in ASCII. Long texts stand there by their SHA-256 where it would be too long; empty where it
    /// still is.
    public var text: String {
        let whole = written(inputs)
        if whole.utf8.count <= Self.mostBytes { return whole }
        let brief = written(inputs.map { NamedTold(name: $0.name, value: Self.brief($0.value)) })
        return brief.utf8.count <= Self.mostBytes ? brief : ""
    }

    private static func brief(_ value: Told) -> Told {
        guard case .text(let text) = value, text.unicodeScalars.count > short else { return value }
        return .text("sha256:\(SHA256.hex(Data(text.utf8)))")
    }

    private func written(_ inputs: [NamedTold]) -> String {
        func object(_ members: [(String, JSON)]) -> JSON { .object(members.map { JSON.Member($0.0, $0.1) }) }
        let body = object([
            ("made_by", .text(madeBy)), ("pipeline", .text(pipeline)), ("plan", .text(plan)),
            ("inputs", object(inputs.map { ($0.name, $0.value.encoded) })), ("device", .text(device)),
            ("arithmetic", .text(arithmetic)), ("versions", object(versions.map { ($0.name, .text($0.text)) })),
        ])
        return body.text(isCompact: true)
    }
}
