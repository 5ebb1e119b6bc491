import EntractePlan

/// One chunk in a run: the sums over all its loads and calls.
public struct ChunkRun: Equatable, Sendable {
    public let chunk: String
    public let loads: Int
    public let calls: Int
    public let loadSeconds: Double
    public let execSeconds: Double
    public let peakActivationBytes: Int
}

/// (loop, iterations) or (output, pieces).
public struct NamedCount: Equatable, Sendable {
    public let name: String
    public let count: Int
}

/// (stage, seconds).
public struct NamedSeconds: Equatable, Sendable {
    public let name: String
    public let seconds: Double
}

/// An input as a record names it.
public enum Told: Equatable, Sendable {
    case text(String)
    case whole(Int)
    case number(Double)
}

public struct NamedTold: Equatable, Sendable {
    public let name: String
    public let value: Told
}

public struct NamedText: Equatable, Sendable {
    public let name: String
    public let text: String
}

/// What one run did: run.json, field for field `Run` of `compiler/entracte/ir.py`.
public struct RunRecord: Equatable, Sendable {
    public let device: String
    public let wallSeconds: Double
    /// Weights and tensors that were held at once.
    public let peakBytes: Int
    public let stallSeconds: Double
    public let loadedBytes: Int
    public let chunks: [ChunkRun]
    public let stageSeconds: [NamedSeconds]
    /// Of the loops that may end early.
    public let iterations: [NamedCount]
    /// By end.
    public let bars: [Bar]
    /// Most memory of the whole process, above what it had when the run began.
    public let anonymousPeakBytes: Int?
    /// Of that, what the process kept when the run had given everything back.
    public let startBytes: Int?
    public let notes: [String]
    public let outputs: [NamedCount]
    /// The plan's SHA-256.
    public var plan = ""
    public var inputs: [NamedTold] = []
    /// When it began, UTC: 2026-11-28T09:30:00Z.
    public var date = ""
    public var versions: [NamedText] = []

    /// The text of run.json.
    public var json: String { JSONText(self).text + "\n" }
}

/// Writes a record as `codec.encode` does.
private struct JSONText {
    private(set) var text = ""

    init(_ run: RunRecord) {
        text = object("Run", [
            ("device", quoted(run.device)),
            ("wall_s", number(run.wallSeconds)),
            ("peak_bytes", String(run.peakBytes)),
            ("stall_s", number(run.stallSeconds)),
            ("loaded_bytes", String(run.loadedBytes)),
            ("chunks", list(run.chunks.map(chunk))),
            ("stage_s", list(run.stageSeconds.map { list([quoted($0.name), number($0.seconds)]) })),
            ("iterations", list(run.iterations.map(count))),
            ("bars", list(run.bars.map(bar))),
            ("anonymous_peak_bytes", run.anonymousPeakBytes.map { String($0) } ?? "null"),
            ("start_bytes", run.startBytes.map { String($0) } ?? "null"),
            ("plan", quoted(run.plan)),
            ("inputs", list(run.inputs.map { list([quoted($0.name), told($0.value)]) })),
            ("date", quoted(run.date)),
            ("versions", list(run.versions.map { list([quoted($0.name), quoted($0.text)]) })),
            ("notes", list(run.notes.map(quoted))),
            ("outputs", list(run.outputs.map(count))),
            ("arithmetic", quoted("")),
        ])
    }

    private func chunk(_ c: ChunkRun) -> String {
        object("ChunkRun", [
            ("chunk", quoted(c.chunk)), ("loads", String(c.loads)), ("calls", String(c.calls)),
            ("load_s", number(c.loadSeconds)), ("exec_s", number(c.execSeconds)),
            ("peak_activation_bytes", String(c.peakActivationBytes)),
        ])
    }

    private func bar(_ b: Bar) -> String {
        object("Bar", [
            ("queue", quoted(b.queue)), ("label", quoted(b.label)), ("segment", String(b.segment)),
            ("iteration", String(b.iteration)), ("step", String(b.step)), ("start_s", number(b.startSeconds)),
            ("end_s", number(b.endSeconds)), ("size_bytes", String(b.sizeBytes)),
        ])
    }

    private func count(_ x: NamedCount) -> String { list([quoted(x.name), String(x.count)]) }

    private func told(_ value: Told) -> String {
        switch value {
        case .text(let text): quoted(text)
        case .whole(let whole): String(whole)
        case .number(let real): number(real)
        }
    }

    private func object(_ type: String, _ fields: [(String, String)]) -> String {
        let all = [("type", quoted(type))] + fields
        return "{" + all.map { quoted($0.0) + ":" + $0.1 }.joined(separator: ",") + "}"
    }

    private func list(_ items: [String]) -> String { "[" + items.joined(separator: ",") + "]" }

    /// JSON has no number that is not finite.
    private func number(_ x: Double) -> String { x.isFinite ? "\(x)" : "0.0" }

    private func quoted(_ text: String) -> String {
        var made = "\""
        for c in text.unicodeScalars {
            switch c {
            case "\"": made += "\\\""
            case "\\": made += "\\\\"
            case "\n": made += "\\n"
            case "\r": made += "\\r"
            case "\t": made += "\\t"
            case _ where c.value < 0x20 || c.value == 0x7F:
                let hex = String(c.value, radix: 16)
                made += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: made.unicodeScalars.append(c)
            }
        }
        return made + "\""
    }
}
