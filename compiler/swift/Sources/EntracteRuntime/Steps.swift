import EntractePlan

// A program step by step, and what a schedule's loads mean in those steps. Steps of all iterations are
// numbered 0, 1, 2, ... What is said of needs and lifetimes is of the program in which no call rests.

/// Bytes of the tensors in memory during a step, after it, and after it in the last iteration.
public struct AliveBytes: Equatable, Sendable {
    public let during: Int
    public let after: Int
    public let atEnd: Int
}

extension Program {
    /// All parts of all outputs.
    public var outputValues: [String] { outputs.flatMap(\.values) }

    /// The absolute number of each segment's first step.
    public var bases: [Int] {
        var total = 0
        return segments.map { segment in
            defer { total = total &+ segment.count &* segment.steps.count }
            return total
        }
    }

    /// What is alive at [segment][step], the same in every iteration but the first: a tensor made or
    /// collected in a loop and read after it is there from its second iteration's begin on. Throws a
    /// `Fault` of kind plan where sums of bytes are too large to count.
    public func lifetimes() throws -> [[AliveBytes]] {
        var alive = try AliveTensors(self)
        let given = Set(inputs.map(\.name)).union(constants.map(\.name))
        for name in given { try alive.add(name) }
        var found: [[AliveBytes]] = []
        for segment in segments {
            for carried in segment.state { try alive.add(carried.name) }
            for name in firstsTaken(segment) { alive.remove(name) }
            var steps = try alive.iteration(segment)
            if segment.count > 1 { steps = try alive.iteration(segment) }
            found.append(steps)
            for name in segment.frees { alive.remove(name) }
        }
        return found
    }

    /// First values of a map's states that are gone once the states have taken them: nothing else reads
    /// them, and they are of the states' types, so that nothing was copied.
    public func firstsTaken(_ segment: Segment) -> Set<String> {
        if !segment.sliced { return [] }
        let firsts = Set(segment.state.map(\.first))
        var touched = firsts.union(segment.state.map(\.name))
        let types = Dictionary(
            tensors.lazy.filter { touched.contains($0.name) }.map { ($0.name, $0.port.dtype) },
            uniquingKeysWith: { $1 })
        touched = Set(outputValues).union(segment.steps.flatMap(\.reads))
        let others = segment.state.filter { types[$0.name] != types[$0.first] }.map(\.first)
        return firsts.intersection(segment.frees).subtracting(touched).subtracting(others)
    }

    /// The function that the call of a step uses in its iteration; nil of a host step.
    public func function(at place: StepPlace) -> String? {
        guard segments.indices.contains(place.segment),
            segments[place.segment].steps.indices.contains(place.step),
            case .call(let call) = segments[place.segment].steps[place.step]
        else { return nil }
        return call.function(at: place.iteration)
    }
}

/// The tensors of a program that are in memory, and their bytes.
private struct AliveTensors {
    private let numbers: [String: Int]
    private let sizes: [Int]
    private var there: [Bool]
    private var bytes = 0

    init(_ program: Program) throws {
        let named = program.tensors.enumerated().map { ($0.element.name, $0.offset) }
        numbers = Dictionary(named, uniquingKeysWith: { $1 })
        sizes = program.tensors.map(\.sizeBytes)
        there = [Bool](repeating: false, count: sizes.count)
    }

    /// Names that are no tensors of the program (texts, seeds) take no bytes.
    mutating func add(_ name: String) throws {
        guard let n = numbers[name], !there[n] else { return }
        let (sum, over) = bytes.addingReportingOverflow(sizes[n])
        guard !over && sizes[n] >= 0 && sum <= TableCheck.mostBytes else {
            throw Fault.plan("plan: tensor \(name) of \(sizes[n]) bytes is more than can be counted")
        }
        there[n] = true
        bytes = sum
    }

    mutating func remove(_ name: String) {
        guard let n = numbers[name], there[n] else { return }
        there[n] = false
        bytes -= sizes[n]
    }

    /// Step by step. A state keeps its last value: the tensor it came from is renamed, not copied.
    mutating func iteration(_ segment: Segment) throws -> [AliveBytes] {
        var found: [AliveBytes] = []
        for (k, step) in segment.steps.enumerated() {
            for name in step.reads { try add(name) }
            for binding in step.outputs { try add(binding.tensor) }
            let during = bytes
            for name in step.frees { remove(name) }
            if k + 1 < segment.steps.count {
                found.append(AliveBytes(during: during, after: bytes, atEnd: bytes))
                continue
            }
            for carried in segment.state { remove(carried.next) }
            if let until = segment.until { remove(until) }
            for carried in segment.state { try add(carried.name) }
            found.append(AliveBytes(during: during, after: bytes, atEnd: without(segment.frees)))
        }
        return found
    }

    private func without(_ names: [String]) -> Int {
        names.compactMap { numbers[$0] }.reduce(into: Set()) { $0.insert($1) }
            .reduce(bytes) { there[$1] ? $0 - sizes[$1] : $0 }
    }
}

// MARK: meaning of a schedule

/// One load of the unrolled program, in absolute step numbers (-1 is the start).
public struct Placement: Equatable, Sendable {
    public let chunk: String
    public let gate: Int
    public let use: Int
    public let free: Int
}

/// The loads in the order the loader makes them, for all iterations.
public struct Placements: Sendable, IteratorProtocol {
    /// A load, and the iterations in which it happens, rising; nil: in all after the first.
    private struct Own: Sendable {
        let load: Load
        let iterations: [Int]?
    }

    private let program: Program
    private let bases: [Int]
    private let firsts: [[Own]]
    private let others: [[Own]]
    private var segment = 0, iteration = 0, next_ = 0

    /// Throws a `Fault` of kind plan for a load or gate of a step that there is not.
    public init(_ program: Program, _ schedule: Schedule) throws {
        self.program = program
        bases = program.bases
        var firsts = [[Own]](repeating: [], count: program.segments.count), others = firsts
        for load in schedule.loads {
            try Placements.check(load, program)
            if load.iterations == "first" {
                firsts[load.segment].append(Own(load: load, iterations: nil))
            } else {
                let segment = program.segments[load.segment]
                others[load.segment].append(
                    Own(load: load, iterations: Placements.happens(load, segment)))
            }
        }
        self.firsts = firsts
        self.others = others
    }

    private static func check(_ load: Load, _ program: Program) throws {
        let segments = program.segments
        let isThere = { (s: Int, k: Int) in
            segments.indices.contains(s) && segments[s].steps.indices.contains(k)
        }
        guard isThere(load.segment, load.step) && isThere(load.segment, load.freeStep)
            && load.gate.map({ isThere($0.segment, $0.step) }) ?? true
        else {
            throw Fault.plan("plan: schedule.loads: \(load.chunk) is loaded for a step that there is not")
        }
    }

    /// The iterations in which a load happens, rising; nil: `each` that there is, after the first.
    static func happens(_ load: Load, _ segment: Segment) -> [Int]? {
        if load.iterations == "first" { return [0] }
        guard load.step <= load.freeStep else { return [] }
        var found: Set<Int> = []
        var calls = 0
        for case .call(let call) in segment.steps[load.step...load.freeStep] where call.chunk == load.chunk {
            if call.at.isEmpty { return nil }
            found.formUnion(call.at)
            calls += 1
        }
        return calls == 0 ? [] : found.subtracting([0]).sorted()
    }

    public mutating func next() -> Placement? {
        while segment < program.segments.count {
            let own = iteration == 0 ? firsts[segment] : others[segment]
            while next_ < own.count {
                let x = own[next_]
                next_ += 1
                if happensNow(x) { return absolute(x.load) }
            }
            next_ = 0
            iteration += 1
            if iteration >= program.segments[segment].count || others[segment].isEmpty {
                (segment, iteration) = (segment + 1, 0)
            }
        }
        return nil
    }

    private func happensNow(_ own: Own) -> Bool {
        guard let iterations = own.iterations else { return true }
        return iterations.firstAtLeast(iteration).map { iterations[$0] == iteration } ?? false
    }

    private func absolute(_ load: Load) -> Placement {
        let last = load.freeMoment == .last ? program.segments[load.segment].count - 1 : iteration
        var gate = -1
        if let g = load.gate {
            let count = program.segments[g.segment].count
            switch g.moment {
            case .last: gate = number(g.segment, count - 1, g.step)
            case .previous: gate = number(load.segment, iteration - 1, g.step)
            case .same: gate = number(load.segment, iteration, g.step)
            }
        }
        return Placement(
            chunk: load.chunk, gate: gate, use: number(load.segment, iteration, load.step),
            free: number(load.segment, last, load.freeStep))
    }

    private func number(_ segment: Int, _ iteration: Int, _ step: Int) -> Int {
        bases[segment] + iteration * program.segments[segment].steps.count + step
    }
}
