import Foundation
import Testing

@testable import EntractePlan
@testable import EntracteRuntime

/// Packages and answers on a disk of their own, on the engine that reads them.
@Suite(.serialized) struct SimulatedTests {
    static let ports = [
        EntractePlan.Port(name: "x", shape: [2], dtype: .fp32), EntractePlan.Port(name: "n", shape: [1], dtype: .int32),
    ]
    static let outputs = [EntractePlan.Port(name: "y", shape: [2, 1], dtype: .fp16)]
    static let inputs = ["x": Tensor([Float(1), 2], shape: [2]), "n": Tensor([Int32(3)], shape: [1])]
    // From Python: hashlib.sha256(numpy.array([1, 2], "<f4").tobytes()).hexdigest(), and of [3] as "<i4".
    static let x = "b9c80b5adeca450753a16950c3cc655d271f7bef7a485bc83f112b72fef21d37"
    static let n = "9d9f290527a6be626a8f5985b26e19b237b44872b03631811df4416fc1713178"

    @Test func itAnswersWhatWasRecordedAndChecksEachInput() async throws {
        let folder = try Folder()
        defer { folder.remove() }
        try folder.record([folder.call(), folder.call(chunk: "b")])
        let answers = try RecordedAnswers(folder.url, planSHA256: "p")
        let package = Drawn.package("a", inputs: Self.ports, outputs: Self.outputs)
        try folder.make(package)
        let model = try await Simulated(answers).load(package, in: folder.url, function: "main")
        let made = try await model.call("main", Self.inputs)
        #expect(made["y"]?.shape == [2, 1] && made["y"].map(halves) == [0x3C00, 0x4000])
        await #expect(throws: Fault.self) { try await model.call("main", Self.inputs) }
        await model.free()
        #expect(throws: Never.self) { try answers.finish() }
        #expect(answers.inputs.map(\.name) == ["prompt"])
    }

    @Test func aFaultNamesChunkCallAndFeature() async throws {
        let folder = try Folder()
        defer { folder.remove() }
        try folder.record([folder.call()])
        let answers = try RecordedAnswers(folder.url, planSHA256: "p")
        let package = Drawn.package("a", inputs: Self.ports, outputs: Self.outputs)
        try folder.make(package)
        let model = try await Simulated(answers).load(package, in: folder.url, function: "main")
        var wrong = Self.inputs
        wrong["x"] = Tensor([Float(1), 2.0000002], shape: [2])
        let message = await said { _ = try await model.call("main", wrong) }
        #expect(message.contains("call 0, a, function main: input x has SHA-256 "))
        wrong["x"] = Tensor([Float(1), 2], shape: [1, 2])
        #expect(await said { _ = try await model.call("main", wrong) }.contains("input x is fp32 of [1, 2]"))
        wrong["x"] = nil
        #expect(await said { _ = try await model.call("main", wrong) } == "a: input x is not given")
        #expect(await said { _ = try await model.call("other", Self.inputs) } == "a has no function other")
        await model.free()
    }

    @Test func fewerCallsThanRecordedAreSaid() async throws {
        let folder = try Folder()
        defer { folder.remove() }
        try folder.record([folder.call()])
        let answers = try RecordedAnswers(folder.url, planSHA256: "p")
        #expect(await said { try answers.finish() }.contains("the run made 0 calls, recorded are 1"))
        #expect(
            await said { _ = try RecordedAnswers(folder.url, planSHA256: "q") }
                .contains("recorded with another plan (p)"))
    }

    static let damages: [(String, String)] = [
        ("", "is no JSON"), ("[]", "version is not what"), ("{\"version\": 2, \"plan\": \"p\"}", "version is not what"),
        ("{\"version\": 1, \"plan\": \"p\", \"calls\": []}", "inputs is not what"),
        ("{\"version\": 1, \"plan\": \"p\", \"inputs\": [[1]], \"calls\": []}", "inputs is not what"),
        ("{\"version\": 1, \"plan\": \"p\", \"inputs\": []}", "calls is not what"),
        ("{\"version\": 1, \"plan\": \"p\", \"inputs\": [], \"calls\": [[]]}", "call 0 is not what"),
        (#"{"version": 1, "plan": "p", "inputs": [], "calls": [["a", "main", {"x": 1}, {}]]}"#, "call 0 is not what"),
        (#"{"version": 1, "plan": "p", "inputs": [], "calls": [["a", "main", {}, {"y": [0, 99]}]]}"#, "call 0 is"),
        (#"{"version": 1, "plan": "p", "inputs": [], "calls": [["a", "main", {}, {"y": [3, 2]}]]}"#, "call 0 is"),
        (#"{"version": 1, "plan": "p", "inputs": [], "calls": [["a", "main", {}, {"y": [-1, 2]}]]}"#, "call 0 is"),
        (#"{"version": 1, "plan": "p", "inputs": [], "calls": [["a", "main", {}, {"y": 4}]]}"#, "call 0 is"),
    ]

    @Test(arguments: damages) func aDamagedIndexIsRefused(_ text: String, _ words: String) async throws {
        let folder = try Folder()
        defer { folder.remove() }
        try folder.record([])
        try Data(text.utf8).write(to: folder.url.appendingPathComponent("answers.json"))
        let message = await said { _ = try RecordedAnswers(folder.url, planSHA256: "p") }
        #expect(message.contains(words), "\(message)")
    }

    @Test func blanksHaveTheShapesAndNumbersAskedFor() async throws {
        let folder = try Folder()
        defer { folder.remove() }
        let package = Drawn.package("a", inputs: [], outputs: Self.outputs + Self.ports)
        try folder.make(package)
        let engine = Simulated(blank: { _, output in output == "y" ? 0 : 2 })
        let model = try await engine.load(package, in: folder.url, function: "main")
        let made = try await model.call("main", [:])
        #expect(made["y"].map(halves) == [0, 0])
        #expect(made["x"].map(floats) == [2, 2])
        #expect(made["n"].map(ints) == [2])
        await model.free()
    }

    @Test func aPackageThatIsNotThereOrLiesOutsideIsRefused() async throws {
        let folder = try Folder()
        defer { folder.remove() }
        let package = Drawn.package("a", weightBytes: 10)
        #expect(
            await said { _ = try await Simulated().load(package, in: folder.url, function: "main") }
                .contains("there is no such package"))
    }

    /// 256 MiB of weights are as much memory, and gone when they are freed; what other tests hold is less.
    @Test func weightsAreReallyThereAndReallyGone() async throws {
        let folder = try Folder()
        defer { folder.remove() }
        let size = 256 << 20, slack = 64 << 20
        let package = Drawn.package("a", weightBytes: size)
        try folder.make(package, weights: Data(repeating: 7, count: size / 16))
        let memory = ProcessMemory(), peak = MemoryPeak()
        guard let before = memory.bytes() else { return }
        let model = try await Simulated().load(package, in: folder.url, function: "main")
        let there = memory.bytes() ?? 0
        await model.free()
        let after = memory.bytes() ?? 0
        peak.end()
        #expect(abs(there - before - size) < slack, "\(there - before)")
        #expect(abs(after - before) < slack, "\(after - before)")
        #expect(abs((peak.peakBytes ?? 0) - size) < slack)
    }

    /// Of a graph that chunks share the arrays are read, from behind the header on, and looked at in every call.
    @Test func arraysAreInputsOfEachCall() async throws {
        let folder = try Folder()
        defer { folder.remove() }
        try folder.record([folder.call(), folder.call()])
        let answers = try RecordedAnswers(folder.url, planSHA256: "p")
        let ports = [EntractePlan.Port(name: "w0", shape: [3, 4000], dtype: .fp32)]
        let whole = Data(ArraysLayout(ports).header) + Data((0..<48_000).map { UInt8(truncatingIfNeeded: $0 * 7) })
        let package = { (digest: String) in
            Drawn.package(
                "a", weightBytes: 48_000, inputs: Self.ports, outputs: Self.outputs,
                arrays: Arrays(path: "a.safetensors", digest: digest, fileBytes: whole.count, ports: ports))
        }
        let right = package(SHA256.hex(whole)), wrong = package(SHA256.hex("others"))
        try folder.make(right)
        #expect(
            await said { _ = try await Simulated().load(right, in: folder.url, function: "main") }
                .contains("a.safetensors: it is missing, or no file"))
        try whole.write(to: folder.url.appendingPathComponent("a.safetensors"))
        let model = try await Simulated(answers).load(right, in: folder.url, function: "main")
        _ = try await model.call("main", Self.inputs)
        let other = try await Simulated(answers).load(wrong, in: folder.url, function: "main")
        #expect(
            await said { _ = try await other.call("main", Self.inputs) }
                == "a: the arrays in memory have SHA-256 \(SHA256.hex(whole)), the plan says \(SHA256.hex("others"))")
        await model.free()
        #expect(
            await said { _ = try await model.call("main", Self.inputs) }.contains("the arrays in memory have SHA-256"))
        await other.free()
    }

    private func said(_ body: () async throws -> Void) async -> String {
        do {
            try await body()
            return "nothing"
        } catch { return "\(error)" }
    }
}

/// A build folder.
private struct Folder {
    let url: URL

    init() throws {
        url = FileManager.default.temporaryDirectory.appendingPathComponent("entracte-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    func remove() { try? FileManager.default.removeItem(at: url) }

    func make(_ package: Package, weights: Data? = nil) throws {
        let place = url.appendingPathComponent(package.path)
            .appendingPathComponent("Data/com.apple.CoreML/weights")
        try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
        try weights?.write(to: place.appendingPathComponent("weight.bin"))
    }

    func call(chunk: String = "a") -> String {
        """
        ["\(chunk)", "main", {"x": "\(SimulatedTests.x)", "n": "\(SimulatedTests.n)"}, {"y": [0, 4]}]
        """
    }

    func record(_ calls: [String]) throws {
        let text = """
            {"version": 1, "plan": "p", "inputs": [["prompt", "a cat"]], "calls": [
            \(calls.joined(separator: ",\n"))
            ]}
            """
        try Data(text.utf8).write(to: url.appendingPathComponent("answers.json"))
        try Data([0x00, 0x3C, 0x00, 0x40]).write(to: url.appendingPathComponent("answers.bin"))
    }
}

// A tensor is held while its memory is read: a parameter is, what stands between two dots is not.
private func halves(_ tensor: Tensor) -> [UInt16] { Array(tensor.halves) }
private func floats(_ tensor: Tensor) -> [Float] { Array(tensor.floats) }
private func ints(_ tensor: Tensor) -> [Int32] { Array(tensor.ints) }
