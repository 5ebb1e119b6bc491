import EntractePlan
import Foundation
import struct EntractePlan.Port

/// An engine without an accelerator: really reads the packages' weights and gives them back, and answers
/// calls from recorded answers, or with blanks.
///
/// It proves what lies between the calls (tokens, noise, casts, windows, states: by the digests of each
/// call's inputs) and how much memory a plan takes, on machines that run no packages.
public struct Simulated: Engine {
    /// What is about to happen.
    public enum Moment: Equatable, Sendable {
        case load(chunk: String)
        case call(chunk: String, function: String)
    }

    /// Awaited before it happens: for tests of timings.
    public typealias Hook = @Sendable (Moment) async throws -> Void
    /// The number that fills a blank output, by chunk and output.
    public typealias Number = @Sendable (String, String) -> Float

    fileprivate enum Answering: Sendable {
        case recorded(RecordedAnswers)
        case blank(Number)
    }

    public let name = "simulated"
    private let answering: Answering
    private let hook: Hook

    /// Answers as recorded.
    public init(_ answers: RecordedAnswers, hook: @escaping Hook = { _ in }) {
        answering = .recorded(answers)
        self.hook = hook
    }

    /// Answers with tensors of the right shapes and types, full of one number.
    public init(blank number: @escaping Number = { _, _ in 0 }, hook: @escaping Hook = { _ in }) {
        answering = .blank(number)
        self.hook = hook
    }

    /// See `Engine`. Reads the weights: `weightBytes` of them, of a graph that chunks share its arrays.
    public func load(_ package: Package, in folder: URL, function: String) async throws -> any LoadedModel {
        try await hook(.load(chunk: package.chunk))
        let memory = try WeightMemory(sizeBytes: package.weightBytes, of: package.chunk)
        let own = try weights(of: package, in: folder)
        if let arrays = package.arrays {
            let file = try package.mapped(arrays, in: folder)
            try await memory.fill(from: file.path, at: ArraysLayout(arrays.ports).header.count)
        } else {
            try await memory.fill(from: own)
        }
        return SimulatedModel(package, memory, answering, hook)
    }

    /// See `Engine`.
    public func availableBytes() async -> Int? { nil }

    /// Nil of a package without weights.
    private func weights(of package: Package, in folder: URL) throws -> String? {
        let parts = package.path.split(separator: "/", omittingEmptySubsequences: false)
        guard !parts.contains("..") && !package.path.hasPrefix("/") else {
            throw Fault.plan("plan: the package of \(package.chunk) lies outside of the build folder")
        }
        let root = folder.appendingPathComponent(package.path)
        guard FileManager.default.fileExists(atPath: root.path) else {
            throw Fault.plan("\(root.path): there is no such package; compile again")
        }
        let file = root.appendingPathComponent("Data/com.apple.CoreML/weights/weight.bin")
        return FileManager.default.fileExists(atPath: file.path) ? file.path : nil
    }
}

private final class SimulatedModel: LoadedModel {
    private let package: Package
    private let memory: WeightMemory
    private let answering: Simulated.Answering
    private let hook: Simulated.Hook

    init(
        _ package: Package, _ memory: WeightMemory, _ answering: Simulated.Answering,
        _ hook: @escaping Simulated.Hook
    ) {
        self.package = package
        self.memory = memory
        self.answering = answering
        self.hook = hook
    }

    func call(_ function: String, _ inputs: [String: Tensor]) async throws -> [String: Tensor] {
        try await hook(.call(chunk: package.chunk, function: function))
        guard package.functions.contains(function) else {
            throw Fault.run("\(package.chunk) has no function \(function)")
        }
        let ports = package.ports(of: function)
        try check(inputs, ports.inputs)
        switch answering {
        case .recorded(let answers):
            try checkArrays()
            return try answers.answer(package, function, inputs)
        case .blank(let number): return blanks(ports.outputs, number)
        }
    }

    func free() async { memory.free() }

    private func check(_ inputs: [String: Tensor], _ ports: [Port]) throws {
        for port in ports {
            guard let given = inputs[port.name] else {
                throw Fault.run("\(package.chunk): input \(port.name) is not given")
            }
            guard given.shape == port.shape && given.dtype == port.dtype else {
                throw Fault.run(
                    "\(package.chunk): input \(port.name) is \(given.dtype.rawValue) of \(given.shape), the "
                        + "package takes \(port.dtype.rawValue) of \(port.shape)")
            }
        }
        guard inputs.count == ports.count else {
            throw Fault.run(
                "\(package.chunk): \(inputs.count) inputs are given, the package takes \(ports.count)")
        }
    }

    /// Arrays are inputs of every call: those in memory are the plan's, whichever chunk ran the graph before.
    private func checkArrays() throws {
        guard let arrays = package.arrays else { return }
        var hash = SHA256()
        ArraysLayout(arrays.ports).header.withUnsafeBytes { hash.update($0) }
        hash.update(memory.bytes)
        let found = hexadecimal(hash.finished())
        guard found == arrays.digest else {
            throw Fault.run(
                "\(package.chunk): the arrays in memory have SHA-256 \(found), the plan says \(arrays.digest)")
        }
    }

    private func blanks(_ ports: [Port], _ number: Simulated.Number) -> [String: Tensor] {
        var made = [String: Tensor](minimumCapacity: ports.count)
        for port in ports {
            let tensor = Tensor(zeros: port.shape, port.dtype)
            let value = number(package.chunk, port.name)
            if value != 0 { fill(tensor, value) }
            made[port.name] = tensor
        }
        return made
    }

    private func fill(_ tensor: Tensor, _ value: Float) {
        switch tensor.dtype {
        case .fp32: tensor.floats.update(repeating: value)
        case .fp16: tensor.halves.update(repeating: Half.bits(value))
        case .int32: tensor.ints.update(repeating: Int32(exactly: value.rounded()) ?? 0)
        }
    }
}
