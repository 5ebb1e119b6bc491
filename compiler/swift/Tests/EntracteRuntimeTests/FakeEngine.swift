import Foundation
import Testing

@testable import EntractePlan
@testable import EntracteRuntime

/// What a fake engine and its steps hold, and what must be true of it at every moment.
final class FakeWorld: @unchecked Sendable {
    struct Told: Error, Equatable { let what: String }

    private let lock = NSLock()
    private let drawn: Drawn
    private var draw: Draw
    private var modelBytes = 0
    private var needBytes = 0
    private(set) var models = 0
    private(set) var loads = 0
    private(set) var peakBytes = 0
    private(set) var steps: [Int] = []
    private(set) var faults: [String] = []
    private var loading = 0, computing = 0
    private(set) var told = (loaded: 0, freed: 0, stepped: 0, waited: 0)
    /// The load or step of this number fails.
    let failingLoad: Int
    let failingStep: Int
    let pauses: (@Sendable (String, Int) async -> Void)?

    init(
        _ drawn: Drawn, failingLoad: Int = -1, failingStep: Int = -1,
        pauses: (@Sendable (String, Int) async -> Void)? = nil
    ) {
        self.drawn = drawn
        self.failingLoad = failingLoad
        self.failingStep = failingStep
        self.pauses = pauses
        draw = Draw(drawn.seed &+ 77)
    }

    func locked<T>(_ body: () throws -> T) rethrows -> T { try lock.withLock(body) }

    private func check() {
        let held = modelBytes + needBytes
        peakBytes = max(peakBytes, held)
        if held > drawn.table.budgetBytes { faults.append("\(held) bytes of \(drawn.table.budgetBytes)") }
    }

    func beginLoad(_ bytes: Int) -> Int {
        locked {
            loading += 1
            if loading > 1 { faults.append("two loads at once") }
            modelBytes += bytes
            check()
            defer { loads += 1 }
            return loads
        }
    }

    func endLoad(_ bytes: Int, failed: Bool) {
        locked {
            loading -= 1
            if failed { modelBytes -= bytes } else { models += 1 }
        }
    }

    func freed(_ bytes: Int) {
        locked {
            models -= 1
            modelBytes -= bytes
        }
    }

    func beginStep(_ number: Int) {
        locked {
            computing += 1
            if computing > 1 { faults.append("two steps at once") }
            needBytes = drawn.table.needBytes(number)
            check()
            steps.append(number)
        }
    }

    func endStep() {
        locked {
            computing -= 1
            needBytes = 0
        }
    }

    func wrong(_ what: String) { locked { faults.append(what) } }

    /// A while: nothing at all, some turns of others, or some time.
    func pass() async {
        let turns = locked { draw.chance(30) ? 0 : draw.below(8) }
        for _ in 0..<turns { await Task.yield() }
        if locked({ draw.chance(3) }) { try? await Task.sleep(nanoseconds: 50_000) }
    }

    /// What is so after every run, however it ended.
    func isAtRest() -> Bool {
        locked { models == 0 && modelBytes == 0 && loading == 0 && computing == 0 && faults.isEmpty }
    }
}

struct FakeEngine: Engine {
    let world: FakeWorld
    let drawn: Drawn
    let name = "fake"

    func load(_ package: Package, in folder: URL, function: String) async throws -> any LoadedModel {
        let bytes = drawn.table.units.first { $0.chunk == package.chunk }!.sizeBytes
        let number = world.beginLoad(bytes)
        await world.pauses?("load", number)
        await world.pass()
        world.endLoad(bytes, failed: number == world.failingLoad)
        if number == world.failingLoad { throw FakeWorld.Told(what: "load") }
        return FakeModel(world: world, chunk: package.chunk, bytes: bytes)
    }

    func availableBytes() async -> Int? { nil }
}

final class FakeModel: LoadedModel, @unchecked Sendable {
    let world: FakeWorld
    let chunk: String
    let bytes: Int
    private var isFreed = false

    init(world: FakeWorld, chunk: String, bytes: Int) {
        self.world = world
        self.chunk = chunk
        self.bytes = bytes
    }

    var isAlive: Bool { world.locked { !isFreed } }

    func call(_ function: String, _ inputs: [String: Tensor]) async throws -> [String: Tensor] { [:] }

    func free() async {
        await world.pass()
        let again = world.locked {
            defer { isFreed = true }
            return isFreed
        }
        again ? world.wrong("freed twice: \(chunk)") : world.freed(bytes)
    }
}

struct FakeSteps: Performing {
    let world: FakeWorld
    let drawn: Drawn

    func perform(_ number: Int, _ model: (any LoadedModel)?) async throws -> Bool {
        world.beginStep(number)
        let chunk = drawn.table.chunk(number).map { drawn.table.chunks[$0] }
        if (model as? FakeModel)?.chunk != chunk { world.wrong("step \(number) has another chunk") }
        await world.pauses?("step", number)
        await world.pass()
        if let model = model as? FakeModel, !model.isAlive { world.wrong("step \(number): freed in use") }
        world.endStep()
        if number == world.failingStep { throw FakeWorld.Told(what: "step") }
        return drawn.isOver(number)
    }
}

/// Counts what it is told.
final class Counting: MachineListener, @unchecked Sendable {
    private let lock = NSLock()
    private(set) var loaded: [Int] = []
    private(set) var freed: [Int] = []
    private(set) var stepped: [Int] = []
    private(set) var waits = 0

    func loaded(unit: Int, for step: Int, startNs: Int, endNs: Int) { lock.withLock { loaded.append(unit) } }
    func freed(unit: Int, doing step: Int, atNs: Int) { lock.withLock { freed.append(unit) } }
    func waited(ns: Int) { lock.withLock { waits += 1 } }
    func stepped(_ number: Int, startNs: Int, endNs: Int) { lock.withLock { stepped.append(number) } }
}

extension Drawn {
    /// The steps that a run does.
    var expected: [Int] {
        var steps: [Int] = []
        var n = 0
        while n < table.end {
            steps.append(n)
            n = table.after(n, over: isOver(n))
        }
        return steps
    }

    func machine(
        _ world: FakeWorld, gates: Bool = false, pause: Pause = Pause(), listener: Counting = Counting(),
        loading: @escaping Loader.Loading = { _ in }
    ) throws -> Machine {
        let driver: any Driver = gates ? try Gates(table, program, oneByOne) : try OnlineRule(table)
        let engine = FakeEngine(world: world, drawn: self)
        let loader = try Loader(
            engine, packages, program, in: URL(fileURLWithPath: "/"), table: table, loading: loading)
        return Machine(driver, loader, FakeSteps(world: world, drawn: self), listener, pause: pause)
    }
}
