import EntractePlan
import Foundation
import Testing

@testable import EntracteRuntime

/// `tests/vectors/runs.jsonl`: every decision of whole runs and everything that their steps do, on the
/// clock and on the live machine.
@Suite struct RunVectorsTests {
    @Test func thereAreVectors() {
        #expect(RunVector.lines.count >= 320)
        #expect(RunVector.all.count == RunVector.lines.count)
        for line in RunVector.lines { #expect(throws: Never.self) { try RunVector(line) } }
    }

    @Test(arguments: RunVector.all) func everyStepDoesWhatTheVectorSays(_ vector: RunVector) async throws {
        let run = try await played(vector)
        for (n, line) in run.log.enumerated() where n >= vector.log.count || line != vector.log[n] {
            let wanted = n < vector.log.count ? vector.log[n] : "nothing"
            Issue.record("line \(n)\n  is     \(line)\n  wanted \(wanted)")
            break
        }
        #expect(run.log.count == vector.log.count)
        #expect(run.outputs == vector.outputs)
        #expect(run.peakBytes == vector.peakBytes)
    }

    @Test func thereAreVectorsOfCallsThatRest() {
        #expect(RunVector.asking.count == 24)
        let rested = RunVector.asking.filter { v in
            let calls = v.plan.program.segments.reduce(0) { $0 + $1.count * $1.steps.count }
            return v.calls.count < calls
        }
        #expect(rested.count == 24)
    }

    @Test(arguments: RunVector.all + RunVector.asking)
    func theMachineDoesTheSame(_ vector: RunVector) async throws {
        let plan = vector.plan
        let world = ToyWorld(plan.program, ends: vector.ends)
        let sinks = ToySink.of(plan.program)
        let log = RunLog()
        let driver = try makeDriver(Workload(plan), plan.schedule)
        let journal = Journal(plan, units: driver.table.units.map { ($0.chunk, $0.sizeBytes) })
        let interpreter = try Interpreter(
            plan.program, folder: URL(fileURLWithPath: "/nowhere"), given: Toy.given(plan.program),
            constants: Toy.constants(plan.program), sinks: sinks,
            hostSteps: ToyHostSteps(program: plan.program, world: world), journal: journal)
        let loader = try Loader(
            ToyEngine(world: world), plan, in: URL(fileURLWithPath: "/nowhere"), table: driver.table)
        try await Machine(driver, loader, interpreter, journal).run()
        #expect(plan.program.outputs.map { sinks[$0.name]?.told ?? "" } == vector.outputs)
        #expect(world.calls == vector.calls)
        #expect(world.faults == [] && world.isEmpty)
        let record = journal.run(device: "toy")
        #expect(record.peakBytes <= plan.schedule.budgetBytes)
        #expect(record.chunks.reduce(0) { $0 + $1.calls } == world.calls.count)
        _ = log
    }
}

@Suite struct RunnerTests {
    static let switching = RunVector.all.filter { vector in
        vector.calls.contains { $0.hasSuffix(" merged") } && vector.calls.contains { $0.hasSuffix(" main") }
    }

    /// A device whose packages serve one function at a time: the record has a load more for each change.
    @Test(arguments: switching) func aFunctionSwitchIsALoad(_ vector: RunVector) async throws {
        let plan = vector.plan, world = ToyWorld(vector.plan.program, ends: vector.ends)
        let runner = Runner(
            plan, in: URL(fileURLWithPath: "/nowhere"), OneFunctionEngine(world: world),
            ToyHostSteps(program: plan.program, world: world))
        var options = RunOptions()
        options.keeps = { $0.name == plan.program.outputs.first?.name }
        let made = try await runner.run(typed(plan.program), constants: Toy.constants(plan.program), options)
        #expect(made.outputs.count == 1)
        #expect(world.calls == vector.calls && world.isEmpty && world.faults == [])
        #expect(made.record.chunks.reduce(0) { $0 + $1.loads } == world.loads)
        var held: [String: Int] = [:]
        for bar in made.record.bars where bar.queue != "compute" {
            held[bar.label, default: 0] += bar.queue == "load" ? bar.sizeBytes : -bar.sizeBytes
            let most = plan.facts.first { $0.id == bar.label }?.weightBytes ?? 0
            #expect((0...most).contains(held[bar.label] ?? -1))
        }
        #expect(held.values.allSatisfy { $0 == 0 })
        let bars = made.record.bars
        #expect(zip(bars, bars.dropFirst()).allSatisfy { $0.endSeconds <= $1.endSeconds })
    }

    /// What the program frees is free: nobody holds a constant beside its tensors.
    @Test func aConstantIsGoneWhenItIsFreed() async throws {
        let vector = try #require(RunVector.all.first { $0.name == "sampler, sequential" })
        let plan = vector.plan, world = ToyWorld(plan.program, ends: vector.ends), held = HeldConstants()
        let runner = Runner(
            plan, in: URL(fileURLWithPath: "/nowhere"), ToyEngine(world: world),
            ToyHostSteps(program: plan.program, world: world))
        var options = RunOptions()
        options.watcher = { if case .freed(let name) = $0 { held.look(name) } }
        var given = typed(plan.program)
        for input in plan.program.inputs where input.kind == .number { given[input.name] = .number(0.5) }
        _ = try await runner.run(given, constants: held.kept(Toy.constants(plan.program)), options)
        #expect(held.freed == plan.program.constants.map(\.name).sorted() && !held.freed.isEmpty)
        #expect(held.left == [])
    }

    /// What the vectors' runs are given, as a user gives it.
    private func typed(_ program: Program) -> [String: GivenValue] {
        Toy.given(program).mapValues { value in
            switch value {
            case .text(let text): .text(text)
            case .seed(let seed): .whole(seed)
            case .tensor(let tensor) where tensor.shape == [1] && tensor.dtype == .int32: .whole(1)
            case .tensor(let tensor): .tensor(tensor)
            }
        }
    }
}

/// Constants, and which of them were still there when they were freed.
private final class HeldConstants: @unchecked Sendable {
    private struct Weak { weak var tensor: Tensor? }

    private let lock = NSLock()
    private var all: [String: Weak] = [:]
    private var names: [String] = []
    private var still: [String] = []
    var freed: [String] { lock.withLock { names.sorted() } }
    var left: [String] { lock.withLock { still } }

    func kept(_ constants: [String: Tensor]) -> [String: Tensor] {
        lock.withLock { all = constants.mapValues { Weak(tensor: $0) } }
        return constants
    }

    func look(_ name: String) {
        lock.withLock {
            guard let one = all[name] else { return }
            names.append(name)
            if one.tensor != nil { still.append(name) }
        }
    }
}

extension RunVector {
    /// Chunk and function of every slice, in order.
    var calls: [String] {
        log.flatMap { $0.components(separatedBy: " ; ") }.filter { $0.hasPrefix("call ") }.map {
            $0.split(separator: " ").dropFirst().prefix(2).joined(separator: " ")
        }
    }
}

/// What a run of a vector did.
struct Played {
    var log: [String] = []
    var outputs: [String] = []
    var peakBytes = 0
}

/// The driver on the clock; a step's work is done where the clock ends it.
func played(_ vector: RunVector) async throws -> Played {
    let plan = vector.plan
    let (events, table, peakBytes) = try events(of: vector)
    let world = ToyWorld(plan.program, ends: vector.ends)
    let log = RunLog()
    let sinks = ToySink.of(plan.program)
    let journal = Journal(plan, units: table.units.map { ($0.chunk, $0.sizeBytes) })
    let interpreter = try Interpreter(
        plan.program, folder: URL(fileURLWithPath: "/nowhere"), given: Toy.given(plan.program),
        constants: Toy.constants(plan.program), sinks: sinks,
        hostSteps: ToyHostSteps(program: plan.program, world: world), journal: journal,
        watcher: { log.add($0) })
    let packages = Dictionary(plan.packages.map { ($0.chunk, $0) }, uniquingKeysWith: { first, _ in first })
    var made = Played()
    var bytes = "\(await interpreter.tensorBytes) \(world.madeBytes())"
    for event in events {
        var line = event.text
        if let number = event.step {
            let package = table.step(number).chunk.flatMap { packages[$0] }
            let model = package.map { ToyModel(package: $0, world: world) }
            if let package { world.loaded(package.chunk) }
            let over = try await interpreter.perform(number, model)
            #expect(over == event.over)
            if let package { world.freed(package.chunk) }
            line += log.taken().map { " ; \($0)" }.joined()
            bytes = "\(await interpreter.tensorBytes) \(world.madeBytes())"
        }
        line += event.decided.isEmpty ? "" : " =" + event.decided.map { " \($0)" }.joined()
        made.log.append("\(line) | \(event.unitBytes) \(bytes)")
    }
    made.outputs = plan.program.outputs.map { sinks[$0.name]?.told ?? "" }
    made.peakBytes = peakBytes
    return made
}

/// An event of the clock.
struct PlayedEvent {
    let text: String
    /// The step that ended.
    let step: Int?
    let over: Bool
    let decided: [String]
    let unitBytes: Int
}

func events(of vector: RunVector) throws -> ([PlayedEvent], Table, Int) {
    let driver = try makeDriver(Workload(vector.plan), vector.plan.schedule)
    return try events(of: vector, driver)
}

private func events<D: Driver>(of vector: RunVector, _ driver: D) throws -> ([PlayedEvent], Table, Int) {
    var driver = driver
    let table = driver.table
    var found: [PlayedEvent] = []
    var units = 0, running = 0
    var seen: Set<Int> = []
    let truth = Truth(
        loadNs: { unit, n in
            let own = table.units[unit]
            let ns = own.loadNs + (seen.insert(unit).inserted ? own.coldNs : 0)
            return ns * vector.loads[n % vector.loads.count] / 10
        },
        execNs: { step, n in table.execNs(step) * vector.steps[n % vector.steps.count] / 10 },
        gamma: vector.gamma, ends: vector.ends)
    let made = try simulate(&driver, truth) { _, _, event, decisions in
        var ended: Int?
        var text = "begin", over = false
        switch event {
        case .loadDone(let ns): text = "load \(ns)"
        case .stepDone(let ns, let isOver, _):
            (ended, over) = (running, isOver)
            text = "step \(ns)" + (isOver ? "!" : "")
        case nil: break
        }
        var decided: [String] = []
        for decision in decisions {
            switch decision {
            case .start(let step):
                running = step
                decided.append(">\(step)")
            case .fetch(let unit):
                units += table.units[unit].sizeBytes
                decided.append("+\(table.units[unit].chunk)")
            case .evict(let unit):
                units -= table.units[unit].sizeBytes
                decided.append("-\(table.units[unit].chunk)")
            }
        }
        found.append(PlayedEvent(text: text, step: ended, over: over, decided: decided, unitBytes: units))
    }
    return (found, table, made.peakBytes)
}

/// What happened, as the vectors spell it.
final class RunLog: @unchecked Sendable {
    private let lock = NSLock()
    private var lines: [String] = []

    func add(_ what: Happening) { lock.withLock { lines.append(RunLog.line(what)) } }

    func taken() -> [String] {
        lock.withLock {
            defer { lines = [] }
            return lines
        }
    }

    private static func line(_ what: Happening) -> String {
        switch what {
        case .entered(let state, let first, let value): "enter \(state) \(first) \(Toy.hex(Toy.crc(value)))"
        case .called(let chunk, let function, let slice, let held, let reads):
            (["call \(chunk) \(function) \(slice) \(held)"] + reads.map(word)).joined(separator: " ")
        case .hosted(let stage, let op, let reads): "host \(stage) \(op) \(reads.joined(separator: ","))"
        case .wrote(let tensor, let at, let piece): "write \(tensor)\(place(at, piece))"
        case .delivered(let output, let value): "out \(output) \(shape(value)) \(Toy.hex(Toy.crc(value)))"
        case .freed(let tensor): "free \(tensor)"
        case .asked(let until, let over): "until \(until) \(over ? 1 : 0)"
        case .moved(let state, let next, let value): "move \(state) \(next) \(Toy.hex(Toy.crc(value)))"
        case .ended(let segment, let iterations): "end \(segment) \(iterations)"
        }
    }

    private static func word(_ read: Happening.Read) -> String {
        "\(read.feature):\(read.tensor)\(place(read.place, read.piece))=\(Toy.hex(Toy.crc(read.value)))"
    }

    private static func place(_ at: [Int]?, _ piece: Int?) -> String {
        if let piece { return "#\(piece)" }
        return at.map { "@" + $0.map { String($0) }.joined(separator: ",") } ?? ""
    }

    static func shape(_ value: Tensor) -> String {
        value.shape.map { String($0) }.joined(separator: "x")
    }
}

/// Keeps copies of the pieces of an output.
final class ToySink: Sink, @unchecked Sendable {
    private let output: Output
    private var pieces: [([Int], DType, [UInt8])] = []

    init(_ output: Output) { self.output = output }

    static func of(_ program: Program) -> [String: ToySink] {
        Dictionary(uniqueKeysWithValues: program.outputs.map { ($0.name, ToySink($0)) })
    }

    func take(_ piece: Tensor) async throws {
        pieces.append((piece.shape, piece.dtype, Array(piece.bytes)))
    }

    /// All pieces joined, as the vectors have them.
    var told: String {
        guard let (first, dtype, _) = pieces.first else { return "" }
        var shape = first
        shape[output.axis] = pieces.reduce(0) { $0 + $1.0[output.axis] }
        let rows = first[..<output.axis].reduce(1, *)
        var whole: [UInt8] = []
        for row in 0..<rows {
            for (_, _, bytes) in pieces {
                let size = bytes.count / max(1, rows)
                whole += bytes[row * size..<(row + 1) * size]
            }
        }
        let crc = whole.withUnsafeBytes { Toy.crc($0) }
        let words = shape.map { String($0) }.joined(separator: "x")
        return "\(output.name) \(words) \(dtype.rawValue) \(Toy.hex(crc))"
    }
}
