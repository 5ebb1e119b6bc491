import Foundation
import Testing

@testable import EntractePlan
@testable import EntracteRuntime

/// Models that serve one function are loaded again for another, before the step begins.
@Suite struct SwitchTests {
    /// A loop of one chunk that stays in memory: `first` in two iterations, then `main`.
    private func machine(_ engine: OneFunction, _ listener: Counting) throws -> Machine {
        let table = try Table(
            units: [Table.Unit(chunk: "c", page: 0, sizeBytes: 10, loadNs: 5, coldNs: 0)],
            segments: [TableSegment(count: 5, steps: [TableStep(chunk: "c", needBytes: 1, execNs: 3)])],
            budgetBytes: 20, kept: [])
        let call = Call(
            stage: "c", chunk: "c", inputs: [], outputs: [], repeat: 1, frees: [], function: "main",
            switch: [Switch(function: "first", below: 2)], at: [], restsBy: "")
        let segment = Segment(
            name: "loop", count: 5, steps: [.call(call)], state: [], frees: [], until: nil, sliced: false)
        let program = Program(inputs: [], constants: [], tensors: [], segments: [segment], outputs: [])
        let loader = try Loader(
            engine, [Drawn.package("c")], program, in: URL(fileURLWithPath: "/"), table: table)
        return Machine(try OnlineRule(table), loader, Steps(log: engine.log), listener)
    }

    @Test func aModelOfOneFunctionIsLoadedAgain() async throws {
        let engine = OneFunction(servesOneFunction: true), listener = Counting()
        try await machine(engine, listener).run()
        #expect(
            engine.log.told == [
                "load first", "step 0 first", "step 1 first", "free first", "load main", "step 2 main",
                "step 3 main", "step 4 main", "free main",
            ])
        #expect(listener.loaded == [0, 0] && listener.freed == [0, 0])
        #expect(listener.stepped == [0, 1, 2, 3, 4] && listener.waits == 6)
    }

    @Test func aModelOfAllFunctionsIsNot() async throws {
        let engine = OneFunction(servesOneFunction: false), listener = Counting()
        try await machine(engine, listener).run()
        #expect(engine.log.told.filter { $0.hasPrefix("load") } == ["load first"])
        #expect(listener.loaded == [0] && listener.waits == 5)
    }

    @Test func aFailingSwitchEndsTheRunAndLeavesNothing() async throws {
        let engine = OneFunction(servesOneFunction: true, failing: "main"), listener = Counting()
        let machine = try machine(engine, listener)
        await #expect(throws: Fault.run("no main")) { try await machine.run() }
        #expect(engine.log.told == ["load first", "step 0 first", "step 1 first", "free first", "load main"])
    }

    final class Log: @unchecked Sendable {
        private let lock = NSLock()
        private(set) var told: [String] = []

        func add(_ what: String) { lock.withLock { told.append(what) } }
    }

    struct OneFunction: Engine {
        let name = "one"
        let servesOneFunction: Bool
        var failing = ""
        let log = Log()

        func load(_ package: Package, in folder: URL, function: String) async throws -> any LoadedModel {
            log.add("load \(function)")
            if function == failing { throw Fault.run("no \(function)") }
            return Model(function: function, log: log)
        }

        func availableBytes() async -> Int? { nil }
    }

    struct Model: LoadedModel {
        let function: String
        let log: Log

        func call(_ function: String, _ inputs: [String: Tensor]) async throws -> [String: Tensor] { [:] }

        func free() async { log.add("free \(function)") }
    }

    struct Steps: Performing {
        let log: Log

        func perform(_ number: Int, _ model: (any LoadedModel)?) async throws -> Bool {
            log.add("step \(number) \((model as? Model)?.function ?? "none")")
            return false
        }
    }
}
