import EntractePlan
import Foundation

/// What a machine loads, and who is told of it.
public struct Loader: Sendable {
    /// Told of a package before it is loaded (its digest is checked, say); what it throws ends the run.
    public typealias Loading = @Sendable (Package) async throws -> Void

    let engine: any Engine
    let folder: URL
    let loading: Loading
    /// By unit.
    let packages: [Package]
    let program: Program

    /// `folder`: the build folder. Throws a `Fault` of kind plan where the table has pages, or a chunk of
    /// it no package.
    package init(
        _ engine: any Engine, _ plan: Plan, in folder: URL, table: Table,
        loading: @escaping Loading = { _ in }
    ) throws {
        try self.init(engine, plan.packages, plan.program, in: folder, table: table, loading: loading)
    }

    /// The same of packages and a program.
    package init(
        _ engine: any Engine, _ packages: [Package], _ program: Program, in folder: URL, table: Table,
        loading: @escaping Loading = { _ in }
    ) throws {
        guard table.units.count == table.chunks.count else {
            throw Fault.plan("machine: packages are loaded whole, not in pages")
        }
        let named = Dictionary(packages.map { ($0.chunk, $0) }, uniquingKeysWith: { first, _ in first })
        self.packages = try table.chunks.map { chunk in
            guard let package = named[chunk] else { throw Fault.plan("plan: packages lacks chunk \(chunk)") }
            return package
        }
        (self.engine, self.folder, self.loading, self.program) = (engine, folder, loading, program)
    }

    /// Bring a unit in, for the call at a place.
    func load(_ unit: Int, for place: StepPlace) async throws -> any LoadedModel {
        let package = packages[unit]
        try await loading(package)
        return try await engine.load(package, in: folder, function: function(unit, at: place))
    }

    /// The function of a unit's package that the call at a place uses.
    func function(_ unit: Int, at place: StepPlace) -> String {
        program.function(at: place) ?? packages[unit].functions.first ?? "main"
    }
}

/// The machine that runs: carries out a driver's decisions with one load in flight at a time and one step
/// at a time beside it, each a child task that reports to one loop. The loop is the only place where
/// decisions are made and carried out: memory given back comes first, so what is in memory stays within
/// what the plan claims whatever the timings.
///
/// Accounts are kept beside the driver's own, as on the clock, and refuse its first wrong decision.
public struct Machine: Sendable {
    private let driver: any Driver
    private let loader: Loader
    private let performing: any Performing
    private let listener: any MachineListener
    private let pause: Pause

    package init(
        _ driver: any Driver, _ loader: Loader, _ performing: any Performing, _ listener: any MachineListener,
        pause: Pause = Pause()
    ) {
        self.driver = driver
        self.loader = loader
        self.performing = performing
        self.listener = listener
        self.pause = pause
    }

    /// Do all steps.
    ///
    /// Throws the first error of a load or a step when the other has come to rest and all models are freed;
    /// `CancellationError` likewise, at the end of the step that runs when the task is cancelled; a `Fault`
    /// where the driver decides what is wrong.
    public func run() async throws {
        var turn = Turn(driver, loader, performing, listener, pause)
        let failure = await withTaskGroup(of: Report.self) { group in
            await turn.loop(&group)
        }
        await turn.freeAll()
        if let failure { throw failure }
        try turn.accounts.finish()
    }
}

/// What a child task of the machine has to say.
private enum Report: Sendable {
    case loaded(Result<any LoadedModel, any Error>, Span)
    case stepped(Result<StepEnd, any Error>, Span)
    case switched(Int, Result<any LoadedModel, any Error>, Span)
    case opened
}

/// Whether a step was the last of its loop, and whether its call rested.
private struct StepEnd: Sendable {
    let over: Bool
    let rested: Bool
}

private struct Span: Sendable {
    let startNs: Int
    let endNs: Int
}

/// Working state of a run: the loop's own.
private struct Turn {
    private var driver: any Driver
    private let table: Table
    private let loader: Loader
    private let performing: any Performing
    private let listener: any MachineListener
    private let pause: Pause
    private(set) var accounts: Accounts
    /// By unit.
    private var models: [(any LoadedModel)?]
    /// By unit: the function that its model was loaded for.
    private var bound: [String?]
    private let begunNs = nowNs()
    /// The step that the load in flight is for.
    private var serves = 0
    /// Decided while the pause was closed.
    private var held: [Decision] = []
    private var waiter: Pause.Waiter?
    /// When the last step ended; nil once the next one's wait is told.
    private var idleSinceNs: Int?
    private var failure: (any Error)?

    init(
        _ driver: any Driver, _ loader: Loader, _ performing: any Performing, _ listener: any MachineListener,
        _ pause: Pause
    ) {
        self.driver = driver
        table = driver.table
        (self.loader, self.performing, self.listener, self.pause) = (loader, performing, listener, pause)
        accounts = Accounts(driver.table)
        models = Array(repeating: nil, count: driver.table.units.count)
        bound = Array(repeating: nil, count: driver.table.units.count)
    }

    /// Gives the first error.
    mutating func loop(_ group: inout TaskGroup<Report>) async -> (any Error)? {
        idleSinceNs = begunNs
        if Task.isCancelled {
            fail(CancellationError())
        } else {
            await carryOut(driver.begin(), &group)
        }
        while let report = await group.next() {
            if Task.isCancelled { fail(CancellationError()) }
            await hear(report, &group)
        }
        return failure
    }

    mutating func freeAll() async {
        for unit in models.indices {
            guard let model = models[unit] else { continue }
            models[unit] = nil
            await model.free()
        }
    }

    // MARK: events

    private mutating func hear(_ report: Report, _ group: inout TaskGroup<Report>) async {
        do {
            switch report {
            case .loaded(let result, let span): try await loaded(result.get(), span, &group)
            case .stepped(let result, let span): try await stepped(result.get(), span, &group)
            case .switched(let step, let result, let span): try switched(step, result.get(), span, &group)
            case .opened:
                waiter = nil
                let decisions = held
                held = []
                for decision in decisions { begin(decision, &group) }
            }
        } catch {
            fail(error)
        }
    }

    private mutating func loaded(
        _ model: any LoadedModel, _ span: Span, _ group: inout TaskGroup<Report>
    ) async throws {
        let unit = try accounts.loadDone()
        models[unit] = model
        let step = min(serves, table.end - 1)
        bound[unit] = loader.function(unit, at: table.place(step))
        listener.loaded(unit: unit, for: step, startNs: span.startNs - begunNs, endNs: span.endNs - begunNs)
        await tell(.loadDone(ns: span.endNs - span.startNs), &group)
    }

    private mutating func stepped(
        _ end: StepEnd, _ span: Span, _ group: inout TaskGroup<Report>
    ) async throws {
        let step = try accounts.stepDone(over: end.over)
        idleSinceNs = span.endNs
        listener.stepped(step, startNs: span.startNs - begunNs, endNs: span.endNs - begunNs)
        await tell(.stepDone(ns: span.endNs - span.startNs, over: end.over, rested: end.rested), &group)
    }

    /// A model was loaded again for the function of a step that was started. The driver does not hear of it:
    /// what is in memory is the same.
    private mutating func switched(
        _ step: Int, _ model: any LoadedModel, _ span: Span, _ group: inout TaskGroup<Report>
    ) throws {
        guard let unit = table.chunk(step) else { throw Fault.run("machine: step \(step) calls no chunk") }
        models[unit] = model
        bound[unit] = loader.function(unit, at: table.place(step))
        let startNs = span.startNs - begunNs, endNs = span.endNs - begunNs
        listener.freed(unit: unit, doing: step, atNs: startNs)
        listener.loaded(unit: unit, for: step, startNs: startNs, endNs: endNs)
        listener.waited(ns: endNs - startNs)
        begin(.start(step), &group)
    }

    private mutating func tell(_ event: Event, _ group: inout TaskGroup<Report>) async {
        if failure != nil { return }
        await carryOut(driver.react(event), &group)
    }

    /// The first error stays; nothing is begun any more.
    private mutating func fail(_ error: any Error) {
        failure = failure ?? error
        held = []
        waiter?.release()
    }

    // MARK: decisions

    private mutating func carryOut(_ decisions: [Decision], _ group: inout TaskGroup<Report>) async {
        do {
            for decision in decisions {
                try accounts.decided(decision)
                if case .evict(let unit) = decision {
                    await free(unit)
                } else {
                    decided(decision)
                    begin(decision, &group)
                }
            }
        } catch {
            fail(error)
        }
    }

    private mutating func decided(_ decision: Decision) {
        switch decision {
        case .fetch(let unit):
            // Now: an early end may come before the load begins, and then there is no use.
            serves = table.nextUse(table.chunkOf[unit], from: accounts.at)
        case .start:
            if let since = idleSinceNs { listener.waited(ns: nowNs() - since) }
            idleSinceNs = nil
        case .evict: break
        }
    }

    private mutating func free(_ unit: Int) async {
        guard let model = models[unit] else { return }
        models[unit] = nil
        await model.free()
        listener.freed(unit: unit, doing: min(accounts.doing, table.end - 1), atNs: nowNs() - begunNs)
    }

    /// Begin a step or a load, or keep it until the pause opens.
    private mutating func begin(_ decision: Decision, _ group: inout TaskGroup<Report>) {
        if failure != nil { return }
        if waiter != nil || pause.isClosed {
            held.append(decision)
            if waiter != nil { return }
            let waiter = pause.waiter()
            self.waiter = waiter
            group.addTask {
                await waiter.untilOpen()
                return .opened
            }
        } else if case .start(let number) = decision {
            if let unit = otherFunction(number) {
                beginSwitch(number, unit, &group)
            } else {
                beginStep(number, &group)
            }
        } else if case .fetch(let unit) = decision {
            beginLoad(unit, &group)
        }
    }

    /// The unit of a step whose model is there for another function than the step calls.
    private func otherFunction(_ number: Int) -> Int? {
        guard loader.engine.servesOneFunction, let unit = table.chunk(number) else { return nil }
        return bound[unit] == loader.function(unit, at: table.place(number)) ? nil : unit
    }

    /// Free a model and load it for the function of a step; one of the two is in memory.
    private mutating func beginSwitch(_ number: Int, _ unit: Int, _ group: inout TaskGroup<Report>) {
        let model = models[unit], place = table.place(number)
        models[unit] = nil
        group.addTask { [loader] in
            let start = nowNs()
            await model?.free()
            let other: Result<any LoadedModel, any Error>
            do { other = .success(try await loader.load(unit, for: place)) } catch { other = .failure(error) }
            return .switched(number, other, Span(startNs: start, endNs: nowNs()))
        }
    }

    private func beginStep(_ number: Int, _ group: inout TaskGroup<Report>) {
        let model = table.chunk(number).flatMap { models[$0] }
        group.addTask { [performing] in
            let start = nowNs()
            let end: Result<StepEnd, any Error>
            do {
                let over = try await performing.perform(number, model)
                end = .success(StepEnd(over: over, rested: await performing.rested(number)))
            } catch {
                end = .failure(error)
            }
            return .stepped(end, Span(startNs: start, endNs: nowNs()))
        }
    }

    private func beginLoad(_ unit: Int, _ group: inout TaskGroup<Report>) {
        let place = table.place(min(serves, table.end - 1))
        group.addTask { [loader] in
            let start = nowNs()
            let model: Result<any LoadedModel, any Error>
            do {
                model = .success(try await loader.load(unit, for: place))
            } catch {
                model = .failure(error)
            }
            return .loaded(model, Span(startNs: start, endNs: nowNs()))
        }
    }
}
