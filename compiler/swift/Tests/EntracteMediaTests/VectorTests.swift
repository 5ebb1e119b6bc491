import Foundation
import Testing

import EntractePlan
import struct EntractePlan.Port
@testable import EntracteMedia
@testable import EntractePlan

let codecs = Codecs(pictures: [PNGDecoder(), PNMDecoder()], sounds: [WavReader()])

func input(_ json: JSON) -> Input {
    let shape = (json["shape"]?.asList ?? []).compactMap(\.asWhole)
    let name = json["name"]?.asText ?? ""
    return Input(
        name: name, kind: Input.Kind(rawValue: json["kind"]?.asText ?? "") ?? .tensor, default: nil,
        port: Port(name: name, shape: shape, dtype: DType(rawValue: json["dtype"]?.asText ?? "") ?? .fp32),
        choices: [], least: nil, most: nil, low: json["low"]?.asNumber ?? 0, high: json["high"]?.asNumber ?? 1,
        fit: json["fit"]?.asText ?? "crop", rate: json["rate"]?.asNumber ?? 0)
}

@Test(arguments: try Record.all("read"))
func filesAreReadAsTheOtherSideReadsThem(_ record: Record) async throws {
    let given = input(record.json["input"] ?? .null)
    try await withFolder { folder in
        let path = folder + "/x" + record.text("ending")
        try Data(record.json["file"]?.bytes ?? []).write(to: URL(fileURLWithPath: path))
        let wanted = record.gives["fault"]?.asText
        do {
            let made = try await MediaInputs(codecs).tensor(of: given, file: path)
            #expect(wanted == nil, "it is refused: \(wanted ?? "")")
            #expect(agrees(made, record.gives))
        } catch let fault as Fault {
            let said = fault.message.dropFirst("input 'x': \(path): ".count)
            // Of what a library there does not read, the words are each side's own.
            #expect(wanted == String(said) || wanted?.hasPrefix("cannot be read as") == true, "\(fault)")
        }
    }
}

private final class Times: VideoSource {
    let rate: Instant
    private var left: [(Int, Instant)]

    init(_ rate: Instant, _ frames: [Instant]) {
        self.rate = rate
        left = Array(frames.enumerated().map { ($0.offset, $0.element) }.reversed())
    }

    func next() async throws -> VideoFrame? {
        guard let (k, shown) = left.popLast() else { return nil }
        return VideoFrame(
            pixels: try Pixels(height: 1, width: 1, layout: .grey8, bytes: [UInt8(k)]), shown: shown)
    }
}

@Test(arguments: try Record.all("show"))
func framesAreThoseThatAreShown(_ record: Record) async throws {
    func instant(_ pair: [Int]) throws -> Instant { try Instant(Int64(pair[0]), Int64(pair[1])) }
    let frames = try (record.json["frames"]?.asList ?? []).map { try instant(($0.asList ?? []).compactMap(\.asWhole)) }
    let source = Times(try instant(record.wholes("stream")), frames)
    var shown: [Int] = []
    let many = try await eachShown(source, rate: record.number("rate"), many: record.whole("many")) { k, pixels in
        #expect(k == shown.count)
        shown.append(Int(pixels.bytes[0]))
    }
    #expect(shown == (record.gives["shown"]?.asList ?? []).compactMap(\.asWhole) && many == shown.count)
}

@Test(arguments: try Record.all("resize"))
func picturesInOtherSizes(_ record: Record) throws {
    let from = record.wholes("from"), to = record.wholes("to")
    let made = resized(from[0], from[1], record.text("fit"), to: to[0], to[1]) { y, row in
        for x in 0..<from[1] {
            for c in 0..<3 { row[3 * x + c] = Double((y * 37 + x * 101 + c * 59 + y * x * 7) % 256) }
        }
    }
    #expect(agrees(Tensor(made.map { Float($0 / 255) }, shape: [made.count]), record.gives))
}

@Test(arguments: try Record.all("resample"))
func soundsAtOtherRates(_ record: Record) throws {
    let samples = (0..<record.whole("samples")).map { n in
        Double((n * 7919 + n * n * 31) % 65536 - 32768) / 32768
    }
    let given = record.whole("given"), wanted = record.number("wanted"), many = record.whole("many")
    let made = resampled(samples, given: given, wanted: wanted, many: many)
    #expect(agrees(Tensor(made.map { Float($0) }, shape: [many]), record.gives))
    #expect(samplesNeeded(given: given, wanted: wanted, many: many) == record.gives["needed"]?.asWhole)
}

@Test(arguments: try Record.all("level"))
func numbersBecomeLevels(_ record: Record) throws {
    let kind = Output.Kind(rawValue: record.text("kind")) ?? .tensor
    let output = Output(
        name: "x", kind: kind, values: ["a"], axis: 0, rate: 1, low: record.number("low"),
        high: record.number("high"), tokenizer: "", end: [])
    let bytes = record.json["values"]?.bytes ?? []
    let values = stride(from: 0, to: bytes.count, by: 4).map { at in
        Float(bitPattern: UInt32(truncatingIfNeeded: bytes.little(at, 4) ?? 0))
    }
    #expect(values.count > 100)
    let wanted = record.gives["levels"]?.bytes
    if kind == .audio {
        let grains = try Grains(.samples, output, Tensor(values, shape: [1, values.count]))
        #expect(grains.count == 1 && grains[0].bytes == wanted)
    } else {
        let grains = try Grains(.frames, output, Tensor(values + values + values, shape: [1, 3, 1, values.count]))
        #expect(stride(from: 1, to: grains[0].bytes.count, by: 3).map { grains[0].bytes[$0] } == wanted)
    }
}

// ---------------------------------------------------------------- files

private struct Written {
    let output: Output
    let pieces: [Tensor]

    init(_ json: JSON) {
        let name = json["name"]?.asText ?? ""
        output = Output(
            name: name, kind: Output.Kind(rawValue: json["kind"]?.asText ?? "") ?? .tensor, values: [name],
            axis: json["axis"]?.asWhole ?? 0, rate: json["rate"]?.asNumber ?? 0, low: json["low"]?.asNumber ?? 0,
            high: json["high"]?.asNumber ?? 1, tokenizer: "", end: [])
        let dtype = DType(rawValue: json["dtype"]?.asText ?? "") ?? .fp32
        pieces = (json["pieces"]?.asList ?? []).map { piece in
            let made = Tensor(zeros: (piece["shape"]?.asList ?? []).compactMap(\.asWhole), dtype)
            made.bytes.copyBytes(from: piece["data"]?.bytes ?? [])
            return made
        }
    }

    var decl: TensorDecl {
        var shape = pieces[0].shape
        let axis = placeOf(output.axis, shape.count)
        shape[axis] = pieces.reduce(0) { $0 + $1.shape[axis] }
        let port = Port(name: output.name, shape: shape, dtype: pieces[0].dtype)
        return TensorDecl(port: port, slots: 1, streamed: 0)
    }
}

@Test(arguments: try Record.all("write"))
func filesAreWrittenAsTheOtherSideWritesThem(_ record: Record) async throws {
    let written = (record.json["outputs"]?.asList ?? []).map(Written.init)
    let program = Program(
        inputs: [], constants: [], tensors: written.map(\.decl), segments: [], outputs: written.map(\.output))
    try await withFolder { folder in
        let path = folder + "/x" + record.text("ending")
        let sinks: [FileSink]
        do {
            sinks = try MediaOutputs(codecs, text: { _, _ in "" }).sinks(madeOutputs(program), .file(path))
        } catch let fault as Fault {
            let wanted = path + (record.gives["fault"]?.asText ?? "?")
            #expect(fault.message.hasPrefix(wanted + "; give a file that ends in "), "\(fault) \(wanted)")
            return
        }
        #expect(record.gives["fault"] == nil && sinks.count == 1)
        try await sinks[0].begin(record.text("comment"))
        for one in written {
            for piece in one.pieces { try await sinks[0].sink(of: one.output.name)?.take(piece) }
        }
        await sinks[0].finish()
        #expect(await sinks[0].fault == "")
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder).count == 1)
        try check(path, record.gives)
    }
}

private func check(_ path: String, _ gives: JSON) throws {
    guard let pictures = gives["pictures"]?.asList else {
        #expect(agrees([UInt8](try Data(contentsOf: URL(fileURLWithPath: path))), gives))
        return
    }
    let names = path.hasSuffix("/")
        ? try FileManager.default.contentsOfDirectory(atPath: path).sorted().map { path + $0 } : [path]
    #expect(names.count == pictures.count)
    for (name, wanted) in zip(names, pictures) {
        let found = try PNGDecoder.pixels([UInt8](Data(contentsOf: URL(fileURLWithPath: name))))
        #expect(found.layout == .rgb8 && agrees(found.bytes, wanted))
        #expect([found.height, found.width, 3] == (wanted["shape"]?.asList ?? []).compactMap(\.asWhole))
    }
    let texts = try names.map { textChunks([UInt8](try Data(contentsOf: URL(fileURLWithPath: $0)))) }
    #expect(texts.filter { !$0.isEmpty } == (gives["texts"]?.asList ?? []).map(\.bytes))
}

/// A PNG's chunks `tEXt`, with their lengths and checksums.
private func textChunks(_ file: [UInt8]) -> [UInt8] {
    var found: [UInt8] = [], at = 8
    while let length = file.big(at, 4) {
        let chunk = file[at..<at + 12 + Int(length)]
        if chunk.dropFirst(4).starts(with: Array("tEXt".utf8)) { found += chunk }
        at = chunk.endIndex
    }
    return found
}
