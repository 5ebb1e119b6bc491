import EntractePlan
import EntracteSupport
import Foundation
import Testing

@testable import EntracteRuntime

/// Plans whose host steps are none: refused by the table of host operations, in the Python side's words.
@Test func hostileHostStepsAreRefused() throws {
    let vectors = try HostilePlans.shared.get()
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("plan-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let path = folder.appendingPathComponent("plan.json")
    let records = vectors.records.filter { $0["by"]?.asText == "host" }
    #expect(records.count > 10)
    for record in records {
        try vectors.file(record).write(to: path)
        let message = try #require(record["message"]?.asText)
        #expect(throws: Fault.plan(message), "\(record["edits"]?.text() ?? "")") {
            try Plan.read(path, rows: HostTable.rows)
        }
    }
    for (name, plan) in vectors.plans {
        try HostilePlans.framed(HostilePlans.written(plan)).write(to: path)
        #expect(throws: Never.self, "\(name)") { try Plan.read(path, rows: HostTable.rows) }
    }
}
