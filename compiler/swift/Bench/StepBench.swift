import EntractePlan
import EntracteRuntime
import Foundation

/// `entracte-bench step FOLDER`: what the runner itself takes for a step of a plan (say of
/// `python -m tools.make_bench_plan`), on an engine that does nothing. Three figures, in microseconds for
/// each step, the least and the middle of `rounds` runs: the driver alone on the clock; the machine with steps
/// that do nothing; the whole runner with its interpreter, tensors and journal.
enum StepBench {
    static let rounds = 7

    static func main(_ arguments: [String]) async throws {
        guard let path = arguments.first else { throw Fault.run("entracte-bench step: name a build folder") }
        let folder = URL(fileURLWithPath: path)
        let plan = try Plan.read(folder)
        let table = try makeDriver(Workload(plan), plan.schedule).table
        print("\(table.chunks.count) chunks, \(table.end) steps, driver \(plan.schedule.driver)")
        try await report("driver", table.end) { try driver(plan) }
        try await report("machine", table.end) { try await machine(plan, folder) }
        try await report("runner", table.end) { try await runner(plan, folder) }
    }

    private static func report(_ name: String, _ steps: Int, _ run: () async throws -> Int) async throws {
        var times: [Double] = []
        for _ in 0..<rounds { times.append(Double(try await run()) / 1000 / Double(steps)) }
        times.sort()
        let least = rounded(times[0]), middle = rounded(times[times.count / 2])
        print("\(name): least \(least), middle \(middle) microseconds for a step")
    }

    private static func rounded(_ x: Double) -> Double { (x * 100).rounded() / 100 }

    /// Only what is spent in the driver.
    private static func driver(_ plan: Plan) throws -> Int {
        var timed = TimedDriver(try makeDriver(Workload(plan), plan.schedule))
        _ = try simulate(&timed)
        return timed.spentNs
    }

    private static func machine(_ plan: Plan, _ folder: URL) async throws -> Int {
        let driver = try makeDriver(Workload(plan), plan.schedule)
        let loader = try Loader(NothingEngine(plan), plan, in: folder, table: driver.table)
        let machine = Machine(driver, loader, NothingSteps(), NothingListener())
        let begun = nowNs()
        try await machine.run()
        return nowNs() - begun
    }

    private static func runner(_ plan: Plan, _ folder: URL) async throws -> Int {
        let runner = Runner(plan, in: folder, NothingEngine(plan), NothingHost())
        var inputs: [String: GivenValue] = [:]
        for input in plan.program.inputs {
            if let port = input.port { inputs[input.name] = .tensor(Tensor(zeros: port.shape, port.dtype)) }
        }
        let zeros = plan.program.constants.map { ($0.name, Tensor(zeros: $0.shape, $0.dtype)) }
        let constants = Dictionary(zeros, uniquingKeysWith: { $1 })
        let begun = nowNs()
        _ = try await runner.run(inputs, constants: constants)
        return nowNs() - begun
    }
}

/// Counts what its driver takes.
private struct TimedDriver: Driver {
    private var driver: any Driver
    private(set) var spentNs = 0
    let table: Table

    init(_ driver: any Driver) {
        self.driver = driver
        table = driver.table
    }

    mutating func begin() -> [Decision] {
        let begun = nowNs()
        defer { spentNs += nowNs() - begun }
        return driver.begin()
    }

    mutating func react(_ event: Event) -> [Decision] {
        let begun = nowNs()
        defer { spentNs += nowNs() - begun }
        return driver.react(event)
    }
}

/// Answers with tensors that were there before.
private struct NothingEngine: Engine {
    let name = "nothing"
    private let models: [String: NothingModel]

    init(_ plan: Plan) {
        models = Dictionary(plan.packages.map { ($0.chunk, NothingModel($0)) }, uniquingKeysWith: { $1 })
    }

    func load(_ package: Package, in folder: URL, function: String) async throws -> any LoadedModel {
        guard let model = models[package.chunk] else { throw Fault.run("\(package.chunk) is unknown") }
        return model
    }

    func availableBytes() async -> Int? { nil }
}

private final class NothingModel: LoadedModel {
    private let answers: [String: [String: Tensor]]

    init(_ package: Package) {
        var answers: [String: [String: Tensor]] = [:]
        for function in package.functions {
            let made = package.ports(of: function).outputs.map { ($0.name, Tensor(zeros: $0.shape, $0.dtype)) }
            answers[function] = Dictionary(made, uniquingKeysWith: { $1 })
        }
        self.answers = answers
    }

    func call(_ function: String, _ inputs: [String: Tensor]) async throws -> [String: Tensor] {
        answers[function] ?? [:]
    }

    func free() async {}
}

private struct NothingSteps: Performing {
    func perform(_ number: Int, _ model: (any LoadedModel)?) async throws -> Bool { false }
}

private struct NothingListener: MachineListener {
    func loaded(unit: Int, for step: Int, startNs: Int, endNs: Int) {}
    func freed(unit: Int, doing step: Int, atNs: Int) {}
    func waited(ns: Int) {}
    func stepped(_ number: Int, startNs: Int, endNs: Int) {}
}

private struct NothingHost: HostSteps {
    func run(_ step: HostStep, _ inputs: [String: HostValue], _ place: HostPlace) throws -> [String: Tensor] {
        throw Fault.run("the bench has no host steps")
    }
}
