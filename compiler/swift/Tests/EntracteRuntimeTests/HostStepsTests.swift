import EntracteSupport
import Foundation
import Testing

@testable import EntractePlan
@testable import EntracteRuntime

extension JSON {
    fileprivate subscript(_ name: String) -> JSON? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.name == name }?.value
    }

    fileprivate var text: String { if case .text(let x) = self { x } else { "" } }
    fileprivate var whole: Int { if case .whole(let x) = self { x } else { 0 } }
    fileprivate var list: [JSON] { if case .list(let x) = self { x } else { [] } }

    fileprivate var param: Param {
        switch self {
        case .null, .object: .none
        case .flag(let x): .flag(x)
        case .whole(let x): .whole(x)
        case .number(let x): .number(x)
        case .text(let x): .text(x)
        case .list(let x): .list(x.map(\.param))
        }
    }

    /// A message, or none.
    fileprivate var message: String? { if case .text(let x) = self { x } else { nil } }
}

/// A line of tests/vectors/host_steps.jsonl.
private struct Record: Sendable {
    let json: JSON

    static func all(_ kind: String) throws -> [Record] {
        try Vectors.data("host_steps.jsonl").split(separator: 0x0A)
            .map { Record(json: try JSON(parsing: Data($0))) }
            .filter { $0["kind"].text == kind }
    }

    subscript(_ name: String) -> JSON { json[name] ?? .null }

    func pairs(_ name: String) -> [(String, JSON)] {
        self[name].list.map { ($0.list[0].text, $0.list[1]) }
    }

    func step(inputs: [(String, String)], outputs: [(String, String)]) -> HostStep {
        HostStep(
            stage: "s", op: self["op"].text,
            params: pairs("params").map { NamedParam(name: $0.0, value: $0.1.param) },
            inputs: inputs.map { HostInput(port: $0.0, value: $0.1) },
            outputs: outputs.map { Binding(feature: $0.0, tensor: $0.1, by: .whole, windows: []) }, frees: [])
    }
}

/// Notes of a step, in their order.
private final class Notes: @unchecked Sendable {
    private let lock = NSLock()
    private var lines: [String] = []

    func add(_ line: String) { lock.withLock { lines.append(line) } }
    var all: [String] { lock.withLock { lines } }
}

struct HostStepsTests {
    @Test func stepsGiveWhatThePythonSideGives() throws {
        let records = try Record.all("run")
        #expect(records.count > 150)
        for record in records { try check(run: record) }
    }

    private func check(run record: Record) throws {
        let folder = try folder(record)
        let notes = Notes()
        let place = HostPlace(folder: folder, iteration: record["iteration"].whole) { notes.add($0) }
        var inputs: [String: HostValue] = [:]
        if case .object(let members) = record["inputs"] {
            for member in members { inputs[member.name] = value(member.value) }
        }
        let step = record.step(
            inputs: inputs.keys.map { ($0, $0) }, outputs: record["outputs"].list.map { ($0.text, $0.text) })
        let told = "\(step.op) \(step.params) \(record["inputs"])".prefix(300)
        do {
            let made = try HostRunner().run(step, inputs, place)
            #expect(record["refused"] == .null, "\(told)")
            for (name, tensor) in made { check(tensor, record["made"][name] ?? .null, "\(told)") }
        } catch let fault as Fault {
            let message = fault.message.replacingOccurrences(of: folder.path, with: "FOLDER")
            #expect(message == record["refused"].text, "\(told)")
        }
        #expect(notes.all == record["notes"].list.map(\.text), "\(told)")
    }

    private func check(_ tensor: Tensor, _ wanted: JSON, _ told: String) {
        #expect(tensor.shape == wanted["shape"]?.list.map(\.whole), "\(told)")
        #expect(tensor.dtype.rawValue == wanted["dtype"]?.text, "\(told)")
        #expect(SHA256.hex(Data(tensor.bytes)) == wanted["sha256"]?.text, "\(told) \(numbers(tensor))")
    }

    private func numbers(_ tensor: Tensor) -> String {
        tensor.dtype == .int32 ? "\(Array(tensor.ints.prefix(64)))" : "\(Array(tensor.floats.prefix(8)))"
    }

    private func value(_ json: JSON) -> HostValue {
        switch json {
        case .text(let x): return .text(x)
        case .whole(let x): return .seed(x)
        default:
            let ids = json.list[0].list.map { Int32(clamping: $0.whole) }
            return .tensor(Tensor(ids, shape: [1, ids.count]))
        }
    }

    /// The tokenizers, or a folder with the record's table in it.
    private func folder(_ record: Record) throws -> URL {
        guard let table = record.json["table"] else {
            return Vectors.folder.appendingPathComponent("tokenizers")
        }
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        var data = Data()
        for number in 0..<(table["numbers"]?.whole ?? 0) {
            let value = Float(number) * 0.25
            if table["dtype"]?.text == "fp16" {
                withUnsafeBytes(of: Half.bits(value)) { data.append(contentsOf: $0) }
            } else {
                withUnsafeBytes(of: value) { data.append(contentsOf: $0) }
            }
        }
        try data.write(to: folder.appendingPathComponent(table["name"]?.text ?? ""))
        return folder
    }

    @Test func whatIsWrongIsToldInTheSameWords() throws {
        let records = try Record.all("fault")
        #expect(records.count > 500)
        for record in records {
            let step = record.step(inputs: [], outputs: [])
            let fault = HostTable.op(step.op)?.fault(
                HostParams(step), inputs: record["inputs"].list.map(\.text))
            #expect(fault == record["fault"].message)
        }
    }

    @Test func stepsOfPlansAreCheckedInTheSameWords() throws {
        let records = try Record.all("plan")
        #expect(records.count > 30)
        let base = try #require(RunVector.all.first).plan
        for record in records {
            let files = record["files"].list.map { PlanFile(path: $0.text, sha256: "") }
            var message: String?
            do {
                let plan = plan(base, program(record), built: record["built"] == .flag(true), files)
                try plan.checkHostSteps(HostTable.rows)
            } catch let fault as Fault {
                message = fault.message
            }
            #expect(message == record["fault"].message)
        }
    }

    private func plan(_ base: Plan, _ program: Program, built: Bool, _ files: [PlanFile]) -> Plan {
        Plan(
            version: base.version, entracte: base.entracte, built: built, pipeline: base.pipeline,
            title: base.title, target: base.target, settings: base.settings, program: program,
            chunks: base.chunks, packages: base.packages, facts: base.facts, schedule: base.schedule,
            forecast: base.forecast, files: files, verify: base.verify, compared: base.compared,
            sha256: base.sha256)
    }

    private func program(_ record: Record) -> Program {
        let reads = record.pairs("reads").map { ($0.0, $0.1.text) }
        let gives = record.pairs("gives").map { ($0.0, $0.1.text) }
        let step = Step.host(record.step(inputs: reads, outputs: gives))
        let inputs = record.pairs("given").map { name, kind in
            Input(
                name: name, kind: Input.Kind(rawValue: kind.text) ?? .tensor, default: nil, port: nil,
                choices: [], least: nil, most: nil, low: 0, high: 1, fit: "", rate: 0)
        }
        let tensors = record["tensors"].list.map(\.list).map { row in
            let port = Port(
                name: row[0].text, shape: row[2].list.map(\.whole),
                dtype: DType(rawValue: row[1].text) ?? .fp32)
            return TensorDecl(port: port, slots: row[3].whole, streamed: row[4].whole)
        }
        let tokenizer = record["tokenizer"].text
        let said = Output(
            name: "said", kind: .text, values: [], axis: 0, rate: 0, low: 0, high: 0, tokenizer: tokenizer,
            end: [])
        let segment = Segment(
            name: "", count: 1, steps: [step], state: [], frees: [], until: nil, sliced: false)
        return Program(
            inputs: inputs, constants: [], tensors: tensors, segments: [segment],
            outputs: tokenizer.isEmpty ? [] : [said])
    }

    @Test func idsOfOutputsBecomeTexts() throws {
        let records = try Record.all("text")
        #expect(records.count > 20)
        let folder = Vectors.folder.appendingPathComponent("tokenizers")
        for record in records {
            let ids = record["ids"].list.map(\.whole)
            let name = record["tokenizer"].text
            do {
                let text = try BuildTokenizer.text(
                    of: ids, end: record["end"].list.map(\.whole), tokenizer: name, in: folder)
                #expect(text == record["text"].message, "\(name) \(ids)")
            } catch let fault as Fault {
                #expect(fault.message == record["refused"].message, "\(name) \(ids)")
            }
        }
    }

    @Test func noiseIsThatOfTheVectors() throws {
        struct Case: Decodable {
            let stream: String
            let salt: Int
            let iteration: Int
            let start: String
            let values: [Double]
        }
        let data = try Vectors.data("noise.json")
        let cases = try JSONDecoder().decode([Case].self, from: data)
        #expect(cases.count == 9)
        let seeds: [UInt64] = [7, .max, 7, 0, 7, 7, 8, 7, UInt64(bitPattern: -3)]
        for (row, seed) in zip(cases, seeds) {
            let start = Noise.start(
                seed: seed, salt: UInt64(bitPattern: Int64(row.salt)),
                iteration: row.stream == "iteration" ? row.iteration : nil)
            #expect(start == UInt64(row.start, radix: 16))
            let tensor = Tensor(zeros: [row.values.count], .fp32)
            Noise.fill(tensor.floats, start: start)
            #expect(Array(tensor.floats) == row.values.map(Float.init))
        }
    }
}
