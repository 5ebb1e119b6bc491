import EntractePlan
import Foundation
import Testing

@testable import EntracteRuntime

/// `tests/test_swift_record.py` names a build folder; a run of its plan on the toy device is recorded there.
@Suite struct RecordForPython {
    static let folder = ProcessInfo.processInfo.environment["ENTRACTE_RECORD_BUILD"]

    @Test(.enabled(if: folder != nil)) func aRunIsRecorded() async throws {
        let folder = URL(fileURLWithPath: try #require(Self.folder))
        let plan = try Plan.read(folder: folder)
        let loops = plan.program.segments.enumerated().filter { $0.element.until != nil }
        let ends = loops.map { ($0.offset, 3) }
        let world = ToyWorld(plan.program, ends: Dictionary(uniqueKeysWithValues: ends))
        let runner = Runner(
            plan, in: folder, ToyEngine(world: world), ToyHostSteps(program: plan.program, world: world))
        var options = RunOptions()
        options.probe = ProcessMemory()
        let outcome = try await runner.run([:], constants: Toy.constants(plan.program), options)
        try outcome.record.data.write(to: folder.appendingPathComponent("run.json"))
        #expect(outcome.alarm == nil)
        #expect(Set(outcome.outputs.keys) == Set(plan.program.outputs.map { $0.name }))
    }
}
