import EntractePlan
import Foundation

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

    public init(name: String, value: Told) {
        self.name = name
        self.value = value
    }
}

public struct NamedText: Equatable, Sendable {
    public let name: String
    public let text: String

    public init(name: String, text: String) {
        self.name = name
        self.text = text
    }
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
    /// Waits for freed memory before loads, in their order; within the loads' seconds.
    public var settled: [SettleRecord] = []

    /// The bytes of run.json.
    public var data: Data { encoded.data() + Data("\n".utf8) }

    /// As `codec.encode` writes it.
    public var encoded: JSON {
        tagged("Run", [
            ("device", .text(device)),
            ("wall_s", .number(wallSeconds)),
            ("peak_bytes", .whole(peakBytes)),
            ("stall_s", .number(stallSeconds)),
            ("loaded_bytes", .whole(loadedBytes)),
            ("chunks", .list(chunks.map(\.encoded))),
            ("stage_s", .list(stageSeconds.map { .list([.text($0.name), .number($0.seconds)]) })),
            ("iterations", .list(iterations.map(\.encoded))),
            ("bars", .list(bars.map(encodedBar))),
            ("anonymous_peak_bytes", anonymousPeakBytes.map { .whole($0) } ?? .null),
            ("start_bytes", startBytes.map { .whole($0) } ?? .null),
            ("plan", .text(plan)),
            ("inputs", .list(inputs.map { .list([.text($0.name), $0.value.encoded]) })),
            ("date", .text(date)),
            ("versions", .list(versions.map { .list([.text($0.name), .text($0.text)]) })),
            ("notes", .list(notes.map { .text($0) })),
            ("outputs", .list(outputs.map(\.encoded))),
            ("arithmetic", .text("")),
            ("settled", .list(settled.map(\.encoded))),
        ])
    }
}

extension RunRecord {
    /// Of this runner: that of Entracte, which it is a part of.
    public static let version = "0.1.0"

    /// The time, as records have it.
    static func now() -> String {
        let format = ISO8601DateFormatter()
        format.timeZone = TimeZone(identifier: "UTC")
        return format.string(from: Date())
    }

    /// Of the runner and the system.
    static func versions() -> [NamedText] {
        [
            NamedText(name: "runner", text: "swift"),
            NamedText(name: "system", text: ProcessInfo.processInfo.operatingSystemVersionString),
        ]
    }
}

private func tagged(_ name: String, _ members: [(String, JSON)]) -> JSON {
    .object([JSON.Member("type", .text(name))] + members.map { JSON.Member($0.0, $0.1) })
}

private func encodedBar(_ b: Bar) -> JSON {
    tagged("Bar", [
        ("queue", .text(b.queue)), ("label", .text(b.label)), ("segment", .whole(b.segment)),
        ("iteration", .whole(b.iteration)), ("step", .whole(b.step)), ("start_s", .number(b.startSeconds)),
        ("end_s", .number(b.endSeconds)), ("size_bytes", .whole(b.sizeBytes)),
    ])
}

extension SettleRecord {
    fileprivate var encoded: JSON {
        tagged("Settled", [
            ("chunks", .list(chunks.map { .text($0) })), ("expected_bytes", .whole(expectedBytes)),
            ("returned_bytes", .whole(returnedBytes)), ("wait_s", .number(seconds)),
        ])
    }
}

extension ChunkRun {
    fileprivate var encoded: JSON {
        tagged("ChunkRun", [
            ("chunk", .text(chunk)), ("loads", .whole(loads)), ("calls", .whole(calls)),
            ("load_s", .number(loadSeconds)), ("exec_s", .number(execSeconds)),
            ("peak_activation_bytes", .whole(peakActivationBytes)),
        ])
    }
}

extension NamedCount {
    fileprivate var encoded: JSON { .list([.text(name), .whole(count)]) }
}

extension Told {
    var encoded: JSON {
        switch self {
        case .text(let text): .text(text)
        case .whole(let whole): .whole(whole)
        case .number(let real): .number(real)
        }
    }
}
