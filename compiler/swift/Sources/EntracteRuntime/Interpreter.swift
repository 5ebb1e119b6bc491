import EntractePlan
import Foundation

/// The interpreter of programs: does the steps in order, each when the machine starts it.
///
/// A loop whose `until` is not zero after an iteration ends there: `perform` says so for the iteration's last
/// step. An actor, so that one step is done at a time.
public actor Interpreter: Performing {
    private let wiring: Wiring
    private let folder: URL
    private let sinks: [(any Sink)?]
    private let hostSteps: any HostSteps
    private let journal: Journal
    private let watcher: RunWatcher?
    private var tensors: Tensors
    /// What inputs and constants give to writers before the first step.
    private var due: [Due]
    private var segment = 0
    private var iteration = 0
    private var step = 0
    private var lastRested = -1

    /// `given` and `constants` are the program's inputs and constants, by name (`Given`); `sinks` take
    /// outputs by name, others are dropped. Throws `Fault` for a program whose names do not fit together.
    public init(
        _ program: Program, folder: URL, given: [String: HostValue], constants: [String: Tensor],
        sinks: [String: any Sink], hostSteps: any HostSteps, journal: Journal, watcher: RunWatcher? = nil
    ) throws {
        wiring = try Wiring(program)
        self.folder = folder
        self.sinks = program.outputs.map { sinks[$0.name] }
        self.hostSteps = hostSteps
        self.journal = journal
        self.watcher = watcher
        tensors = Tensors(wiring)
        due = try tensors.give(given, constants)
    }

    /// Output -> pieces that its writer took so far.
    public var counts: [(output: String, pieces: Int)] {
        zip(wiring.outputs, tensors.delivery.counts).map { ($0.name, $1) }
    }

    /// Bytes of all declared tensors that are there.
    public var tensorBytes: Int { tensors.bytes }

    /// See `Performing`.
    public func perform(_ number: Int, _ model: (any LoadedModel)?) async throws -> Bool {
        guard segment < wiring.segments.count else { throw outOfOrder(number) }
        let here = wiring.segments[segment]
        guard here.steps.indices.contains(step),
            number == here.base + iteration * here.steps.count + step
        else { throw outOfOrder(number) }
        if !due.isEmpty { try await deliver(take(&due)) }
        if step == 0 && iteration == 0 { try enter(here) }
        let own = here.steps[step]
        switch own.step {
        case .host(let host): try await self.host(host, own)
        case .call(let call) where call.isCalled(iteration):
            let slices = try self.slices(call, own)
            if slices.count < call.repeat { lastRested = number }
            if slices.isEmpty {
                journal.rested(number)
            } else {
                try await self.call(call, own, number, model, slices)
            }
        case .call: break
        }
        try await deliver(tensors.ended(own, here))
        free(own.frees)
        step += 1
        return step == here.steps.count ? try await endIteration(here) : false
    }

    /// See `Performing`.
    public func rested(_ number: Int) -> Bool { number == lastRested }

    /// The slices of a call that do not rest; in the first iteration nobody is asked.
    private func slices(_ call: Call, _ own: WiredStep) throws -> [Int] {
        guard let by = own.restsBy, iteration > 0 else { return Array(0..<call.repeat) }
        let said = try tensors.tensor(by)
        return (0..<call.repeat).filter { $0 < said.count && !said.isNotZero($0) }
    }

    private func outOfOrder(_ number: Int) -> Fault {
        .run("step \(number) is out of order; this is a fault of the runner's")
    }

    // MARK: - loops

    private func enter(_ here: WiredSegment) throws {
        try tensors.enter(here)
        guard let watcher else { return }
        for one in here.state {
            let value = try tensors.tensor(one.name)
            watcher(.entered(state: name(one.name), first: name(one.first), value: value))
        }
        for first in here.firstsTaken { watcher(.freed(tensor: name(first))) }
    }

    /// Gives whether the loop ended before all its iterations were done.
    private func endIteration(_ here: WiredSegment) async throws -> Bool {
        let over = try tensors.isOver(here)
        if let until = here.until { watcher?(.asked(until: name(until), over: over)) }
        try tensors.moveState(here)
        if let watcher {
            for one in here.state {
                let value = try tensors.tensor(one.name)
                watcher(.moved(state: name(one.name), next: name(one.next), value: value))
            }
        }
        step = 0
        iteration += 1
        let isAll = iteration == here.segment.count
        guard over || isAll else { return false }
        try await leave(here, done: iteration)
        segment += 1
        iteration = 0
        return !isAll
    }

    private func leave(_ here: WiredSegment, done: Int) async throws {
        try await deliver(tensors.left(here, done: done))
        free(here.frees)
        if here.until != nil { journal.ended(here.segment.name, done) }
        watcher?(.ended(segment: here.segment.name, iterations: done))
    }

    // MARK: - steps

    private func host(_ host: HostStep, _ own: WiredStep) async throws {
        let inputs = try tensors.hostInputs(own)
        watcher?(.hosted(stage: host.stage, op: host.op, reads: own.reads.map { name($0.value) }))
        let place = HostPlace(folder: folder, iteration: iteration, note: journal.noted)
        let made = try hostSteps.run(host, inputs, place)
        for binding in own.outputs {
            guard let value = made[binding.feature] else { throw missing(binding, host.op, host.stage) }
            try await put(binding, value, slice: 0)
        }
    }

    private func call(
        _ call: Call, _ own: WiredStep, _ number: Int, _ model: (any LoadedModel)?, _ slices: [Int]
    ) async throws {
        guard let model else {
            throw Fault.run("\(call.chunk) is called and not loaded; this is a fault of the runner's")
        }
        let function = call.function(at: iteration)
        let held = tensors.heldBytes(own)
        let asked = Journal.now()
        // What is in memory is the same before and after: the driver does not hear of it.
        let isSwitched = try await (model as? any OneFunctionModel)?.ready(for: function) ?? false
        let begun = Journal.now()
        for slice in slices {
            let inputs = try self.inputs(call, own, function, slice)
            let sliceBegun = Journal.now()
            journal.slicing(heldBytes: held)
            let made = try await model.call(function, inputs)
            journal.sliced(call.chunk, ns: Journal.now() - sliceBegun)
            for binding in own.outputs {
                guard let value = made[binding.feature] else {
                    throw missing(binding, call.chunk, call.stage)
                }
                try await put(binding, value, slice: slice, stands: own.restsBy != nil)
            }
        }
        journal.called(number, ns: Journal.now() - begun, switchNs: isSwitched ? begun - asked : nil)
    }

    private func missing(_ binding: WiredBinding, _ what: String, _ stage: String) -> Fault {
        .run("stage \(stage): \(what) did not give \(binding.feature)")
    }

    private func inputs(
        _ call: Call, _ own: WiredStep, _ function: String, _ slice: Int
    ) throws -> [String: Tensor] {
        var inputs = [String: Tensor](minimumCapacity: own.inputs.count)
        for binding in own.inputs {
            inputs[binding.feature] = try tensors.read(binding, slice: slice, iteration: iteration)
        }
        if let watcher {
            let reads = own.inputs.compactMap { b in
                inputs[b.feature].map { value in
                    let (place, piece) = self.place(b, slice)
                    return Happening.Read(
                        feature: b.feature, tensor: name(b.tensor), place: place, piece: piece, value: value)
                }
            }
            let held = tensors.heldBytes(own)
            watcher(
                .called(chunk: call.chunk, function: function, slice: slice, heldBytes: held, reads: reads))
        }
        return inputs
    }

    private func put(
        _ binding: WiredBinding, _ value: Tensor, slice: Int, stands: Bool = false
    ) async throws {
        let due = try tensors.put(binding, value, slice: slice, iteration: iteration, stands: stands)
        if let watcher {
            let (place, piece) = place(binding, slice)
            watcher(.wrote(tensor: name(binding.tensor), place: place, piece: piece))
        }
        if !due.isEmpty { try await deliver(due) }
    }

    /// Where the piece of a binding begins along the axes of its windows, or its number.
    private func place(_ b: WiredBinding, _ slice: Int) -> ([Int]?, Int?) {
        if b.by == .whole { return (nil, nil) }
        let k = b.piece(slice: slice, iteration: iteration)
        return b.windows.isEmpty ? (nil, k) : (begins(b.windows, k).map(\.at), nil)
    }

    // MARK: - out and away

    private func deliver(_ due: [Due]) async throws {
        for one in due {
            let output = wiring.outputs[one.output]
            guard watcher != nil || sinks[one.output] != nil else { continue }
            let value = try output.made(one.value, one.cut)
            watcher?(.delivered(output: output.name, value: value))
            try await sinks[one.output]?.take(value)
        }
    }

    private func free(_ names: [Int]) {
        for number in names where tensors.drop(number) { watcher?(.freed(tensor: name(number))) }
    }

    private func name(_ number: Int) -> String { wiring.names[number] }
}

/// What is there, leaving nothing.
private func take(_ due: inout [Due]) -> [Due] {
    defer { due = [] }
    return due
}
