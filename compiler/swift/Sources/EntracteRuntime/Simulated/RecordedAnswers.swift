import EntractePlan
import Foundation
import struct EntractePlan.Port

/// What a device answered in a run, call by call: written by `plan run --answers FOLDER`.
/// The format: docs/plan-format.md, "Recorded answers".
public final class RecordedAnswers: @unchecked Sendable {
    /// One call: the digests of its inputs and where its outputs lie.
    struct Call: Sendable {
        let chunk: String
        let function: String
        let inputs: [(feature: String, sha256: String)]
        let outputs: [(feature: String, place: Range<Int>)]
    }

    private static let version = 1
    private static let mostIndexBytes = 1 << 28

    /// SHA-256 of the plan that was run.
    public let plan: String
    /// The run's inputs as they were told, by name.
    public let inputs: [(name: String, value: JSON)]
    let calls: [Call]
    private let file: FileHandle
    private let path: String
    private let lock = NSLock()
    private var done = 0

    /// Throws a `Fault` for a folder that holds no recorded answers, or those of another plan.
    public convenience init(_ folder: URL, of plan: Plan) throws {
        try self.init(folder, planSHA256: plan.sha256)
    }

    init(_ folder: URL, planSHA256: String) throws {
        let index = folder.appendingPathComponent("answers.json")
        let bytes = folder.appendingPathComponent("answers.bin")
        path = index.path
        let reader = AnswersIndex(path: path)
        let json = try reader.parsed(index, mostBytes: RecordedAnswers.mostIndexBytes)
        guard json["version"]?.asWhole == RecordedAnswers.version, let of = json["plan"]?.asText else {
            throw reader.damaged("version")
        }
        self.plan = of
        guard of == planSHA256 else {
            throw Fault.run(
                "\(path): recorded with another plan (\(of)); record again with `plan run --answers`")
        }
        inputs = try reader.inputs(json)
        guard let file = try? FileHandle(forReadingFrom: bytes), let end = try? file.seekToEnd() else {
            throw Fault.run("\(bytes.path): cannot be read; record again with `plan run --answers`")
        }
        self.file = file
        calls = try reader.calls(json, end: Int(clamping: end))
    }

    /// How many calls were answered so far.
    public var answered: Int { lock.withLock { done } }

    /// From the first call again.
    public func restart() { lock.withLock { done = 0 } }

    /// Throws a `Fault` where a run made fewer calls than were recorded.
    public func finish() throws {
        let done = answered
        guard done == calls.count else {
            throw Fault.run("\(path): the run made \(done) calls, recorded are \(calls.count)")
        }
    }

    /// The outputs of the next call. Throws a `Fault` where it is not the one that was recorded, or its
    /// inputs are not: it names the chunk, the call's number from 0 on, and the feature.
    func answer(
        _ package: Package, _ function: String, _ given: [String: Tensor]
    ) throws -> [String: Tensor] {
        let number = lock.withLock {
            defer { done += 1 }
            return done
        }
        guard calls.indices.contains(number) else {
            throw Fault.run(
                "\(path): call \(number) is of \(package.chunk), recorded are \(calls.count) calls")
        }
        let call = calls[number], place = "\(path): call \(number), \(call.chunk), function \(call.function)"
        guard call.chunk == package.chunk && call.function == function else {
            throw Fault.run("\(place): was recorded, the run calls \(package.chunk), function \(function)")
        }
        try check(given, call, place)
        return try outputs(of: call, package.ports(of: function).outputs, place)
    }

    private func check(_ given: [String: Tensor], _ call: Call, _ place: String) throws {
        guard given.count == call.inputs.count else {
            throw Fault.run("\(place): \(given.count) inputs are given, recorded are \(call.inputs.count)")
        }
        for input in call.inputs {
            guard let tensor = given[input.feature] else {
                throw Fault.run("\(place): input \(input.feature) is not given")
            }
            let found = SHA256.hex(UnsafeRawBufferPointer(tensor.bytes))
            guard found == input.sha256 else {
                throw Fault.run(
                    "\(place): input \(input.feature) has SHA-256 \(found), recorded is \(input.sha256)")
            }
        }
    }

    private func outputs(of call: Call, _ ports: [Port], _ place: String) throws -> [String: Tensor] {
        var made: [String: Tensor] = [:]
        for port in ports {
            guard let bytes = call.outputs.first(where: { $0.feature == port.name })?.place,
                bytes.count == port.sizeBytes
            else {
                throw Fault.run("\(place): output \(port.name) of \(port.sizeBytes) bytes is not recorded")
            }
            let tensor = Tensor(zeros: port.shape, port.dtype)
            try read(bytes, into: tensor.bytes)
            made[port.name] = tensor
        }
        return made
    }

    private func read(_ place: Range<Int>, into bytes: UnsafeMutableRawBufferPointer) throws {
        let data = try lock.withLock {
            do {
                try file.seek(toOffset: UInt64(place.lowerBound))
                return try file.read(upToCount: place.count) ?? Data()
            } catch {
                throw Fault.run("\(path): answers.bin cannot be read")
            }
        }
        guard data.count == place.count else {
            throw Fault.run("\(path): answers.bin is shorter than it was")
        }
        data.copyBytes(to: bytes)
    }
}

/// Reads `answers.json`.
private struct AnswersIndex {
    let path: String

    func damaged(_ what: String) -> Fault {
        Fault.run(
            "\(path): \(what) is not what recorded answers have; record again with `plan run --answers`")
    }

    func parsed(_ file: URL, mostBytes: Int) throws -> JSON {
        let size = (try? FileManager.default.attributesOfItem(atPath: path))?[.size] as? NSNumber
        guard let size, size.intValue <= mostBytes, let data = try? Data(contentsOf: file) else {
            throw Fault.run("\(path): cannot be read; record with `plan run --answers`")
        }
        do {
            return try JSON(parsing: data)
        } catch {
            throw Fault.run("\(path): is no JSON (\(error)); record again with `plan run --answers`")
        }
    }

    func inputs(_ json: JSON) throws -> [(name: String, value: JSON)] {
        guard let rows = json["inputs"]?.asList else { throw damaged("inputs") }
        return try rows.map { row in
            guard let name = row[0]?.asText, let value = row[1] else { throw damaged("inputs") }
            return (name, value)
        }
    }

    func calls(_ json: JSON, end: Int) throws -> [RecordedAnswers.Call] {
        guard let rows = json["calls"]?.asList else { throw damaged("calls") }
        return try rows.enumerated().map { n, row in
            guard let chunk = row[0]?.asText, let function = row[1]?.asText, let given = row[2]?.asMembers,
                let made = row[3]?.asMembers
            else { throw damaged("call \(n)") }
            return RecordedAnswers.Call(
                chunk: chunk, function: function,
                inputs: try given.map { member in
                    guard let sha256 = member.value.asText else { throw damaged("call \(n)") }
                    return (member.name, sha256)
                },
                outputs: try made.map { member in
                    guard let begin = member.value[0]?.asWhole, let stop = member.value[1]?.asWhole,
                        0 <= begin && begin <= stop && stop <= end
                    else { throw damaged("call \(n)") }
                    return (member.name, begin..<stop)
                })
        }
    }
}
