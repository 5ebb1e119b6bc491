@testable import EntractePlan
@testable import EntracteRuntime

/// Numbers that are the same on every machine (SplitMix64).
struct Draw: Sendable {
    private var state: UInt64

    init(_ seed: Int) { state = UInt64(truncatingIfNeeded: seed) }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// 0 ..< n.
    mutating func below(_ n: Int) -> Int { Int(next() % UInt64(n)) }

    mutating func chance(_ percent: Int) -> Bool { below(100) < percent }
}

/// A program of chunks and host steps, drawn, with a budget in which every step fits and perhaps little else.
struct Drawn: Sendable {
    let table: Table
    let program: Program
    let packages: [Package]
    /// Segment -> iterations after which its loop is over.
    let ends: [Int: Int]
    let seed: Int

    init(_ seed: Int) throws {
        var draw = Draw(seed)
        self.seed = seed
        let chunks = (0..<(1 + draw.below(6))).map { "c\($0)" }
        let sizes = chunks.map { _ in draw.below(100) }
        var segments: [TableSegment] = []
        for _ in 0..<(1 + draw.below(3)) {
            let count = draw.chance(60) ? 1 + draw.below(6) : 1
            segments.append(TableSegment(count: count, steps: Drawn.steps(&draw, chunks, count)))
        }
        var ends: [Int: Int] = [:]
        for (s, segment) in segments.enumerated() where segment.count > 1 && draw.chance(40) {
            ends[s] = 1 + draw.below(segment.count - 1)
        }
        self.ends = ends
        let called = segments.flatMap { $0.steps.compactMap(\.chunk) }
        var order: [String] = []
        for chunk in called where !order.contains(chunk) { order.append(chunk) }
        let units = order.map { chunk in
            let size = sizes[chunks.firstIndex(of: chunk)!]
            return Table.Unit(
                chunk: chunk, page: 0, sizeBytes: size, loadNs: draw.below(100), coldNs: draw.chance(30) ? 40 : 0)
        }
        let least = segments.flatMap(\.steps).map { step in
            step.needBytes + (units.first { $0.chunk == step.chunk }?.sizeBytes ?? 0)
        }.max()!
        let kept = draw.chance(50) ? [Kept(slower: 0, chunks: order.filter { _ in draw.chance(50) })] : []
        let budget = least + (draw.chance(30) ? 0 : draw.below(200))
        table = try Table(units: units, segments: segments, budgetBytes: budget, kept: kept)
        program = Drawn.program(segments)
        packages = order.map { Drawn.package($0) }
    }

    private static func steps(_ draw: inout Draw, _ chunks: [String], _ count: Int) -> [TableStep] {
        (0..<(1 + draw.below(5))).map { _ in
            if draw.chance(20) { return TableStep(chunk: nil, needBytes: draw.below(60), execNs: 0) }
            let at = draw.chance(20) ? (0..<count).filter { _ in draw.chance(50) } : []
            let need = draw.below(60)
            return TableStep(
                chunk: chunks[draw.below(chunks.count)], needBytes: need, execNs: draw.below(100), at: at,
                idleBytes: at.isEmpty ? 0 : need / 2)
        }
    }

    static func program(_ segments: [TableSegment]) -> Program {
        Program(
            inputs: [], constants: [], tensors: [],
            segments: segments.enumerated().map { s, segment in
                Segment(
                    name: "s\(s)", count: segment.count, steps: segment.steps.map(step), state: [], frees: [],
                    until: nil, sliced: false)
            }, outputs: [])
    }

    private static func step(_ step: TableStep) -> Step {
        guard let chunk = step.chunk else {
            return .host(HostStep(stage: "h", op: "none", params: [], inputs: [], outputs: [], frees: []))
        }
        return .call(
            Call(
                stage: "c", chunk: chunk, inputs: [], outputs: [], repeat: 1, frees: [], function: "main",
                switch: [], at: step.at, restsBy: ""))
    }

    static func package(
        _ chunk: String, weightBytes: Int = 0, inputs: [Port] = [], outputs: [Port] = [], arrays: Arrays? = nil
    ) -> Package {
        Package(
            chunk: chunk, path: "packages/\(chunk).mlpackage", digest: "", fileBytes: 0, weightBytes: weightBytes,
            activationBytes: 0, precision: "", compression: "", inputs: inputs, outputs: outputs, psnrDb: nil,
            functions: ["main"], ownPorts: [], arrays: arrays)
    }

    /// Each call's chunk is loaded when the step before has ended, and dropped when the call has.
    var oneByOne: Schedule {
        var loads: [Load] = []
        for (s, segment) in table.segments.enumerated() {
            for first in [true, false] where first || segment.count > 1 {
                loads += segment.steps.indices.compactMap { load(s, $0, first: first) }
            }
        }
        return Schedule(
            policy: Policy(name: "", lookahead: 0, retain: false, keep: "", driver: "gates", margin: 0),
            budgetBytes: table.budgetBytes, loads: loads, resident: [], driver: "gates", kept: [])
    }

    private func load(_ s: Int, _ k: Int, first: Bool) -> Load? {
        let step = table.segments[s].steps[k]
        guard let chunk = step.chunk, !first || step.isCalled(0) else { return nil }
        var gate: Gate?
        if k > 0 {
            gate = Gate(segment: s, step: k - 1, moment: .same)
        } else if !first {
            gate = Gate(segment: s, step: table.segments[s].steps.count - 1, moment: .previous)
        } else if s > 0 {
            gate = Gate(segment: s - 1, step: table.segments[s - 1].steps.count - 1, moment: .last)
        }
        return Load(
            chunk: chunk, segment: s, iterations: first ? "first" : "each", step: k, gate: gate, freeStep: k,
            freeMoment: .same)
    }

    /// Whether a step ends its loop early.
    func isOver(_ number: Int) -> Bool {
        let place = table.place(number)
        return place.step + 1 == table.segments[place.segment].steps.count
            && ends[place.segment] == place.iteration + 1
    }
}
