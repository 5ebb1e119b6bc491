import EntractePlan
import EntracteRuntime
import Foundation


/// The toy device of `tests/vectors/runs.jsonl`, as its first line says.
enum Toy {
    private static let crcTable: [UInt32] = (0..<256).map { n in
        (0..<8).reduce(UInt32(n)) { x, _ in x & 1 == 1 ? 0xEDB8_8320 ^ (x >> 1) : x >> 1 }
    }

    static func crc(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        var x: UInt32 = 0xFFFF_FFFF
        crcTable.withUnsafeBufferPointer { table in
            for byte in bytes { x = table[Int((x ^ UInt32(byte)) & 0xFF)] ^ (x >> 8) }
        }
        return ~x
    }

    static func crc(_ tensor: Tensor) -> UInt32 { crc(UnsafeRawBufferPointer(tensor.bytes)) }

    static func crc(_ value: HostValue) -> UInt32 {
        switch value {
        case .text(let text): Array(text.utf8).withUnsafeBytes { crc($0) }
        case .seed(let seed): withUnsafeBytes(of: Int64(seed).littleEndian) { crc($0) }
        case .tensor(let tensor): crc(tensor)
        }
    }

    static func hex(_ x: UInt32) -> String {
        let digits = String(x, radix: 16)
        return String(repeating: "0", count: 8 - digits.count) + digits
    }

    static func hash(_ names: [String], _ inputs: [String: UInt32]) -> UInt64 {
        var h: UInt64 = 0xCBF2_9CE4_8422_2325
        func add(_ byte: UInt8) { h = (h ^ UInt64(byte)) &* 0x100_0000_01B3 }
        func add(_ text: String) {
            text.utf8.forEach(add)
            add(0)
        }
        names.forEach(add)
        for (name, crc) in inputs.sorted(by: { $0.key < $1.key }) {
            add(name)
            withUnsafeBytes(of: crc.littleEndian) { $0.forEach(add) }
        }
        return h
    }

    static func tensor(_ seed: UInt64, _ port: EntractePlan.Port) -> Tensor {
        let made = Tensor(zeros: port.shape, port.dtype)
        for j in 0..<made.count {
            var x = seed &+ UInt64(j + 1) &* 0x9E37_79B9_7F4A_7C15
            x = (x ^ (x >> 30)) &* 0xBF58_476D_1CE4_E5B9
            x = (x ^ (x >> 27)) &* 0x94D0_49BB_1331_11EB
            x ^= x >> 31
            switch port.dtype {
            case .int32: made.ints[j] = Int32(x >> 60)
            case .fp16: made.halves[j] = half(Int(x >> 55) - 256)
            case .fp32: made.floats[j] = Float(Int(x >> 47) - 65536) / 65536
            }
        }
        return made
    }

    /// n / 256 as fp16, made without the code that is tested.
    private static func half(_ n: Int) -> UInt16 {
        if n == 0 { return 0 }
        let sign: UInt16 = n < 0 ? 0x8000 : 0
        let size = n.magnitude
        let top = UInt.bitWidth - 1 - size.leadingZeroBitCount
        return sign | UInt16(top - 8 + 15) << 10 | UInt16((size << (10 - top)) & 0x3FF)
    }

    /// Of 0 or -0.5 everywhere.
    static func until(_ port: EntractePlan.Port, over: Bool) -> Tensor {
        let made = Tensor(zeros: port.shape, port.dtype)
        guard over else { return made }
        for j in 0..<made.count {
            switch port.dtype {
            case .fp16: made.halves[j] = 0xB800
            case .fp32: made.floats[j] = -0.5
            case .int32: made.ints[j] = 0
            }
        }
        return made
    }

    /// What a run is given.
    static func given(_ program: Program) -> [String: HostValue] {
        var made: [String: HostValue] = [:]
        for input in program.inputs {
            switch input.kind {
            case .text: made[input.name] = .text(input.name)
            case .seed: made[input.name] = .seed(7)
            case .number: made[input.name] = .tensor(Tensor([Float(0.5)], shape: [1]))
            case .choice: made[input.name] = .tensor(Tensor([Int32(1)], shape: [1]))
            default:
                guard let port = input.port else { continue }
                made[input.name] = .tensor(tensor(hash(["input", "", input.name], [:]), port))
            }
        }
        return made
    }

    static func constants(_ program: Program) -> [String: Tensor] {
        let made = program.constants.map { ($0.name, tensor(hash(["constant", "", $0.name], [:]), $0)) }
        return Dictionary(made, uniquingKeysWith: { first, _ in first })
    }
}

/// What a toy device has made and is still there, and how often it said whether a loop is over.
final class ToyWorld: @unchecked Sendable {
    private struct Weak { weak var tensor: Tensor? }

    private let lock = NSLock()
    private var made: [Weak] = []
    private var done: [String: Int] = [:]
    /// Chunk and feature that ends a loop -> the iteration that does.
    private let until: [String: Int]
    private let endless: Set<String>
    /// Chunk and feature by which calls rest.
    private let asked: Set<String>
    private(set) var calls: [String] = []
    private var there: [String] = []
    private var loadCount = 0
    private(set) var faults: [String] = []

    init(_ program: Program, ends: [Int: Int]) {
        var until: [String: Int] = [:]
        var endless: Set<String> = []
        for (s, segment) in program.segments.enumerated() {
            for step in segment.steps {
                guard let chunk = step.chunk else { continue }
                for b in step.outputs where b.tensor == segment.until {
                    until["\(chunk) \(b.feature)"] = ends[s]
                    endless.insert("\(chunk) \(b.feature)")
                }
            }
        }
        self.until = until
        self.endless = endless
        let steps = program.segments.flatMap(\.steps)
        let names = Set(steps.compactMap { if case .call(let call) = $0 { call.restsBy } else { nil } })
        asked = Set(
            steps.flatMap { step in
                step.outputs.filter { names.contains($0.tensor) }.map { "\(step.chunk ?? "") \($0.feature)" }
            })
    }

    func keep(_ tensor: Tensor) -> Tensor {
        lock.withLock { made.append(Weak(tensor: tensor)) }
        return tensor
    }

    /// Bytes of tensors that were made and are still there.
    func madeBytes() -> Int {
        lock.withLock {
            made.removeAll { $0.tensor == nil }
            return made.reduce(0) { $0 + ($1.tensor?.bytes.count ?? 0) }
        }
    }

    func output(
        _ chunk: String, _ function: String, _ port: EntractePlan.Port, _ inputs: [String: UInt32]
    ) -> Tensor {
        let at = "\(chunk) \(port.name)"
        if asked.contains(at) {
            let before = lock.withLock {
                done[at, default: 0] += 1
                return done[at, default: 0] - 1
            }
            let isOdd = (Toy.hash([chunk, function, port.name], inputs) &+ UInt64(before)) % 2 == 1
            let made = Tensor(zeros: port.shape, port.dtype)
            if isOdd { for j in 0..<made.count { made.halves[j] = 0x3C00 } }
            return keep(made)
        }
        guard endless.contains(at) else {
            return keep(Toy.tensor(Toy.hash([chunk, function, port.name], inputs), port))
        }
        let many = lock.withLock {
            done[at, default: 0] += 1
            return done[at, default: 0]
        }
        return keep(Toy.until(port, over: until[at].map { many >= $0 } ?? false))
    }

    func called(_ chunk: String, _ function: String) {
        lock.withLock {
            calls.append("\(chunk) \(function)")
            if !there.contains(chunk) { faults.append("\(chunk) is called and not loaded") }
        }
    }

    func loaded(_ chunk: String) {
        lock.withLock {
            if there.contains(chunk) { faults.append("\(chunk) is loaded twice") }
            there.append(chunk)
            loadCount += 1
        }
    }

    func freed(_ chunk: String) {
        lock.withLock {
            guard let place = there.firstIndex(of: chunk) else {
                return faults.append("\(chunk) is freed twice")
            }
            there.remove(at: place)
        }
    }

    var loads: Int { lock.withLock { loadCount } }
    var isEmpty: Bool { lock.withLock { there.isEmpty } }
}

/// Runs any package.
struct ToyEngine: Engine {
    let name = "toy"
    let world: ToyWorld

    func load(_ package: Package, in folder: URL, function: String) async throws -> any LoadedModel {
        world.loaded(package.chunk)
        return ToyModel(package: package, world: world)
    }

    func availableBytes() async -> Int? { nil }
}

struct ToyModel: LoadedModel {
    let package: Package
    let world: ToyWorld

    func call(_ function: String, _ inputs: [String: Tensor]) async throws -> [String: Tensor] {
        let (own, ports) = package.ports(of: function)
        guard inputs.count == own.count else { throw Fault.run("\(package.chunk): \(inputs.keys.sorted())") }
        for port in own {
            guard let value = inputs[port.name], value.shape == port.shape, value.dtype == port.dtype else {
                throw Fault.run("\(package.chunk): \(port.name)")
            }
        }
        world.called(package.chunk, function)
        let crcs = inputs.mapValues { Toy.crc($0) }
        var made: [String: Tensor] = [:]
        for port in ports { made[port.name] = world.output(package.chunk, function, port, crcs) }
        return made
    }

    func free() async { world.freed(package.chunk) }
}

struct ToyHostSteps: HostSteps {
    let program: Program
    let world: ToyWorld

    func run(_ step: HostStep, _ inputs: [String: HostValue], _ place: HostPlace) throws -> [String: Tensor] {
        let crcs = inputs.mapValues { Toy.crc($0) }
        var made: [String: Tensor] = [:]
        for b in step.outputs {
            guard let port = program.tensors.first(where: { $0.name == b.tensor })?.port else { continue }
            let names = [step.stage, "\(step.op)@\(place.iteration)", b.feature]
            made[b.feature] = world.keep(Toy.tensor(Toy.hash(names, crcs), port))
        }
        return made
    }
}

/// Runs any package, a function at a time.
struct OneFunctionEngine: Engine {
    let name = "toy"
    let world: ToyWorld

    func load(_ package: Package, in folder: URL, function: String) async throws -> any LoadedModel {
        world.loaded(package.chunk)
        return OneFunctionToy(toy: ToyModel(package: package, world: world), function: function)
    }

    func availableBytes() async -> Int? { nil }
}

actor OneFunctionToy: OneFunctionModel {
    private let toy: ToyModel
    private var function: String

    init(toy: ToyModel, function: String) {
        self.toy = toy
        self.function = function
    }

    func ready(for function: String) async throws -> Bool {
        if function == self.function { return false }
        self.function = function
        toy.world.freed(toy.package.chunk)
        toy.world.loaded(toy.package.chunk)
        return true
    }

    func call(_ function: String, _ inputs: [String: Tensor]) async throws -> [String: Tensor] {
        guard function == self.function else {
            throw Fault.run("\(toy.package.chunk): is for \(self.function)")
        }
        return try await toy.call(function, inputs)
    }

    func free() async { await toy.free() }
}
