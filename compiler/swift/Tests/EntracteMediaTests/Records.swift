import Testing
import EntractePlan
import EntracteSupport
import Foundation

/// A record of `tests/vectors/media.jsonl`.
struct Record: CustomTestStringConvertible {
    let json: JSON

    static func all(_ does: String) throws -> [Record] {
        try Vectors.data("media.jsonl").split(separator: 0x0A)
            .map { Record(json: try JSON(parsing: Data($0))) }
            .filter { $0.json["does"]?.asText == does }
    }

    var testDescription: String { text("what") + " " + text("ending") }

    var gives: JSON { json["gives"] ?? .null }
    func text(_ name: String) -> String { json[name]?.asText ?? "" }
    func whole(_ name: String) -> Int { json[name]?.asWhole ?? 0 }
    func number(_ name: String) -> Double { json[name]?.asNumber ?? 0 }
    func wholes(_ name: String) -> [Int] { (json[name]?.asList ?? []).compactMap(\.asWhole) }
}

extension JSON {
    var bytes: [UInt8] { Data(base64Encoded: asText ?? "").map { [UInt8]($0) } ?? [] }
}

/// Whether bytes are what `tensor`, `file` or `sha256` says.
func agrees(_ bytes: [UInt8], _ gives: JSON) -> Bool {
    for name in ["tensor", "file"] {
        if let wanted = gives[name] { return wanted.bytes == bytes }
    }
    return gives["sha256"]?.asText == SHA256.hex(Data(bytes))
}

func agrees(_ tensor: Tensor, _ gives: JSON) -> Bool { agrees(Array(tensor.bytes), gives) }

/// Runs with a folder of its own, which goes afterwards.
func withFolder<T>(_ use: (String) async throws -> T) async throws -> T {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("entracte-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    return try await use(folder.path)
}
