import Foundation
import Testing

@testable import EntractePlan
@testable import EntracteRuntime

/// Drawn programs on a fake engine: whatever the timings, the budget holds and nothing is left.
@Suite(.timeLimit(.minutes(5))) struct MachineTests {
    @Test func everyStepIsDoneWithinTheBudget() async throws {
        var early = 0, tight = 0
        for seed in 0..<300 {
            for gates in [false, true] {
                let drawn = try Drawn(seed), world = FakeWorld(drawn), listener = Counting()
                try await drawn.machine(world, gates: gates, listener: listener).run()
                #expect(world.steps == drawn.expected, "\(seed)")
                #expect(world.isAtRest(), "\(seed) \(world.faults)")
                #expect(listener.stepped == drawn.expected && listener.waits == drawn.expected.count)
                #expect(listener.loaded.sorted() == listener.freed.sorted())
                #expect(listener.loaded.count == world.loads)
                early += drawn.expected.count < drawn.table.end ? 1 : 0
                tight += world.peakBytes == drawn.table.budgetBytes ? 1 : 0
            }
        }
        #expect(early > 50 && tight > 50, "the draw shows too little: \(early), \(tight)")
    }

    @Test func theClockAndTheMachineDoTheSameSteps() throws {
        for seed in 0..<300 {
            let drawn = try Drawn(seed)
            var rule = try OnlineRule(drawn.table)
            let made = try simulate(&rule, Truth(ends: drawn.ends))
            #expect(made.intervals.filter { $0.queue == .compute }.map(\.what) == drawn.expected)
            #expect(made.peakBytes <= drawn.table.budgetBytes)
            var gates = try Gates(drawn.table, drawn.program, drawn.oneByOne)
            _ = try simulate(&gates, Truth(ends: drawn.ends))
        }
    }

    @Test func aFailingLoadEndsTheRunWithItsError() async throws {
        var seen = 0
        for seed in 0..<150 {
            let drawn = try Drawn(seed), whole = FakeWorld(drawn)
            try await drawn.machine(whole).run()
            if whole.loads == 0 { continue }
            let world = FakeWorld(drawn, failingLoad: seed % whole.loads)
            do {
                try await drawn.machine(world).run()
                // Other timings, fewer loads.
                #expect(world.loads <= world.failingLoad)
            } catch let error as FakeWorld.Told {
                #expect(error.what == "load")
                seen += 1
            }
            #expect(world.isAtRest(), "\(seed) \(world.faults)")
        }
        #expect(seen > 80)
    }

    @Test func aFailingStepEndsTheRunWithItsError() async throws {
        for seed in 0..<150 {
            let drawn = try Drawn(seed), steps = drawn.expected
            let world = FakeWorld(drawn, failingStep: steps[seed % steps.count])
            await #expect(throws: FakeWorld.Told(what: "step")) { try await drawn.machine(world).run() }
            #expect(world.isAtRest(), "\(seed) \(world.faults)")
            #expect(world.steps.last == world.failingStep)
        }
    }

    @Test func whatIsToldOfALoadMayRefuseIt() async throws {
        let drawn = try Drawn.withALoad(), world = FakeWorld(drawn)
        let machine = try drawn.machine(world) { throw Fault.plan("\($0.chunk) was changed") }
        await #expect(throws: Fault.plan("\(drawn.table.chunks[0]) was changed")) { try await machine.run() }
        #expect(world.loads == 0 && world.isAtRest())
    }

    @Test func cancellationEndsItAfterTheStep() async throws {
        for seed in 0..<100 {
            let drawn = try Drawn(seed), last = drawn.expected[seed % drawn.expected.count]
            let box = TaskBox()
            let world = FakeWorld(drawn) { kind, number in
                if kind == "step" && number == last { box.cancel() }
            }
            let machine = try drawn.machine(world)
            let task = Task { try await machine.run() }
            box.set(task)
            await #expect(throws: CancellationError.self) { try await task.value }
            #expect(world.steps.last == last, "\(seed)")
            #expect(world.isAtRest(), "\(seed) \(world.faults)")
        }
    }

    @Test func cancelledBeforeItBeginsItDoesNothing() async throws {
        let drawn = try Drawn(1), world = FakeWorld(drawn), machine = try drawn.machine(world)
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            try await machine.run()
        }
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(world.steps.isEmpty && world.loads == 0)
    }

    @Test func nothingBeginsWhileThePauseIsClosed() async throws {
        for seed in 0..<40 {
            let drawn = try Drawn(seed), steps = drawn.expected
            guard steps.count > 2 else { continue }
            let at = steps[seed % (steps.count - 1)], pause = Pause()
            let world = FakeWorld(drawn) { kind, number in
                if kind == "step" && number == at { pause.close("memory") }
            }
            let task = Task { [machine = try drawn.machine(world, pause: pause)] in try await machine.run() }
            try await waits { world.steps.last == at && pause.isClosed && !pause.isIdle }
            let loads = world.loads
            try await Task.sleep(nanoseconds: 2_000_000)
            #expect(world.steps.last == at && world.loads == loads)
            pause.open("memory")
            try await task.value
            #expect(world.steps == steps && world.isAtRest(), "\(seed) \(world.faults)")
        }
    }

    @Test func aPausedRunCanBeCancelledAndCanFail() async throws {
        let drawn = try Drawn.withALoad(), pause = Pause(), world = FakeWorld(drawn)
        pause.close()
        let task = Task { [machine = try drawn.machine(world, pause: pause)] in try await machine.run() }
        try await waits { !pause.isIdle }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(world.steps.isEmpty && world.loads == 0 && pause.isIdle)
    }

    /// The step fails while a fetch is held up: nobody waits for the pause to open.
    @Test func aStepThatFailsDuringAPauseEndsTheRun() async throws {
        for seed in 0..<150 {
            let drawn = try Drawn(seed), pause = Pause(), steps = drawn.expected
            let world = FakeWorld(drawn, failingStep: steps[seed % steps.count]) { kind, number in
                if kind == "step" && number == steps[seed % steps.count] {
                    pause.close()
                    try? await Task.sleep(nanoseconds: 200_000)
                }
            }
            await #expect(throws: FakeWorld.Told(what: "step")) { try await drawn.machine(world, pause: pause).run() }
            #expect(world.isAtRest() && pause.isIdle)
        }
    }

    /// The last loop ends while a load for its next iteration is in flight: it is finished and dropped.
    @Test func aLoadInFlightAtTheEndIsFinishedAndDropped() async throws {
        let steps = ["a", "b"].map { TableStep(chunk: $0, needBytes: 1, execNs: 1) }
        let units = ["a", "b"].map { Table.Unit(chunk: $0, page: 0, sizeBytes: 10, loadNs: 1000) }
        let drawn = try Drawn(units, [TableSegment(count: 3, steps: steps)], 22, ends: [0: 1])
        let listener = Counting()
        let world = FakeWorld(drawn) { kind, number in
            // The last step's end comes before the end of the third load, that of `a` again.
            if kind == "load" && number == 2 { try? await Task.sleep(nanoseconds: 3_000_000) }
            if kind == "step" && number == 1 { try? await Task.sleep(nanoseconds: 1_000_000) }
        }
        let gates = try Gates(drawn.table, drawn.program, Drawn.aheadOfTime)
        let loader = try Loader(
            FakeEngine(world: world, drawn: drawn), drawn.packages, drawn.program,
            in: URL(fileURLWithPath: "/"), table: drawn.table)
        try await Machine(gates, loader, FakeSteps(world: world, drawn: drawn), listener).run()
        #expect(listener.loaded == [0, 1, 0] && listener.freed == [0, 1, 0] && listener.stepped == [0, 1])
        #expect(world.isAtRest(), "\(world.faults)")
    }

    @Test func aDriverThatIsWrongIsRefused() async throws {
        let drawn = try Drawn.withALoad(), world = FakeWorld(drawn)
        let loader = try Loader(
            FakeEngine(world: world, drawn: drawn), drawn.packages, drawn.program,
            in: URL(fileURLWithPath: "/"), table: drawn.table)
        for (first, message) in Wrong.cases {
            let driver = Wrong(table: drawn.table, first: first)
            let machine = Machine(driver, loader, FakeSteps(world: world, drawn: drawn), Counting())
            await #expect(throws: Fault.run("driver: \(message)")) { try await machine.run() }
            #expect(world.isAtRest())
        }
    }
}

/// A driver that decides what is wrong.
private struct Wrong: Driver {
    static let cases: [([Decision], String)] = [
        ([.evict(0)], "unit 0 is evicted but not there"), ([.start(1)], "step 1 is out of order"),
        ([.fetch(99)], "there is no unit 99"), ([.fetch(0), .fetch(0)], "two loads at once"),
        ([.fetch(0), .evict(0)], "unit 0 is evicted in flight"), ([], "deadlock before step 0"),
    ]
    let table: Table
    let first: [Decision]

    func begin() -> [Decision] { first }
    func react(_ event: Event) -> [Decision] { [] }
}

/// Cancels a task that may not be known yet.
private final class TaskBox: @unchecked Sendable {
    private let lock = NSLock()
    private var task: Task<Void, any Error>?
    private var isCancelled = false

    func set(_ task: Task<Void, any Error>) {
        lock.withLock {
            self.task = task
            if isCancelled { task.cancel() }
        }
    }

    func cancel() {
        lock.withLock {
            isCancelled = true
            task?.cancel()
        }
    }
}

/// Until something is so; fails after ten seconds.
private func waits(_ isSo: () -> Bool) async throws {
    for _ in 0..<10_000 {
        if isSo() { return }
        try await Task.sleep(nanoseconds: 1_000_000)
    }
    Issue.record("it never came to be")
}

extension Drawn {
    /// The first one whose first step calls a chunk.
    static func withALoad() throws -> Drawn {
        for seed in 0..<100 {
            let drawn = try Drawn(seed)
            if drawn.table.chunk(0) != nil && drawn.table.chunk(1) != nil && drawn.table.end > 2 { return drawn }
        }
        throw FakeWorld.Told(what: "no draw")
    }

    init(_ units: [Table.Unit], _ segments: [TableSegment], _ budgetBytes: Int, ends: [Int: Int]) throws {
        table = try Table(units: units, segments: segments, budgetBytes: budgetBytes)
        program = Drawn.program(segments)
        packages = units.map { Drawn.package($0.chunk) }
        self.ends = ends
        seed = 0
    }

    /// Of a loop of `a` and `b`: the next iteration's `a` is loaded while `b` runs.
    static var aheadOfTime: Schedule {
        func load(_ chunk: String, _ iterations: String, _ step: Int, _ gate: Gate?) -> Load {
            Load(
                chunk: chunk, segment: 0, iterations: iterations, step: step, gate: gate, freeStep: step,
                freeMoment: .same)
        }
        return Schedule(
            policy: Policy(name: "", lookahead: 0, retain: false, keep: "", driver: "gates", margin: 0),
            budgetBytes: 22,
            loads: [
                load("a", "first", 0, nil), load("b", "first", 1, nil),
                load("a", "each", 0, Gate(segment: 0, step: 0, moment: .previous)),
                load("b", "each", 1, Gate(segment: 0, step: 1, moment: .previous)),
            ], resident: [], driver: "gates", kept: [])
    }
}
