import Foundation
import Testing

@testable import EntracteMedia
@testable import EntractePlan
import struct EntractePlan.Port

private let plain = Codecs(pictures: [PNGDecoder(), PNMDecoder()], sounds: [WavReader()])

private func output(_ name: String, _ kind: Output.Kind, axis: Int = 0) -> Output {
    Output(name: name, kind: kind, values: [name], axis: axis, rate: 8, low: 0, high: 1, tokenizer: "t", end: [])
}

private func made(_ outputs: [(Output, [Int])], scale: Int = 1) throws -> [Made] {
    let tensors = outputs.map { output, shape in
        TensorDecl(
            port: Port(name: output.name, shape: shape, dtype: output.kind == .text ? .int32 : .fp32), slots: 1,
            streamed: 0)
    }
    return try madeOutputs(
        Program(inputs: [], constants: [], tensors: tensors, segments: [], outputs: outputs.map(\.0)), scale: scale)
}

private func said(_ made: [Made], _ out: Out, _ codecs: Codecs = plain) -> String {
    do {
        _ = try MediaOutputs(codecs, text: { _, _ in "" }).sinks(made, out)
        return ""
    } catch { return "\(error)" }
}

private let video = (output("clip", .video, axis: 2), [1, 3, 2, 4, 6])
private let tensor = (output("numbers", .tensor), [2, 3])

/// Writes nothing: what it was told.
private final class Notes: ClipEncoder, ClipWriter, @unchecked Sendable {
    var told: [String] = []
    var endings: [String] { [".mp4"] }

    func open(_ file: URL, _ form: ClipForm) async throws -> any ClipWriter {
        told.append("\(form.height) x \(form.width) at \(form.rate)\(form.comment)")
        try Data().write(to: file)
        return self
    }

    func take(_ frame: [UInt8]) async throws { told.append("\(frame.count)") }
    func finish() async throws { told.append("finished") }
    func abandon() async { told.append("abandoned") }
}

@Test func endingsThatNothingHereWrites() throws {
    let one = try made([video])
    #expect(said(one, .file("/tmp/x.mp4")) == "/tmp/x.mp4: nothing here writes .mp4: give one of .png, .wav, .txt, "
        + ".npy, .npz, .safetensors, or NAME/ for a folder of pictures")
    #expect(said(one, .file("/tmp/x.abc")).hasPrefix("/tmp/x.abc: the ending decides the format: give one of .png"))
    #expect(said(one, .file("/nowhere/x.npy")) == "/nowhere/x.npy: there is no folder /nowhere")
    #expect(said(one, .file("/tmp/x.wav")) == "/tmp/x.wav: .wav files hold audio, the output clip is a video, fp32 of "
        + "(1, 3, 2, 4, 6); give a file that ends in .png, /, .npy, .npz, .safetensors")
    #expect(said(one, .files(["other": "/tmp/x.npy"])) == "--out other=...: the plan's outputs are clip")
}

@Test func whichOutputAFileIsMeantFor() throws {
    let both = try made([video, tensor])
    #expect(said(both, .file("/tmp/x.png")) == "")
    #expect(said(both, .file("/tmp/x.npz")) == "")
    #expect(said(both, .file("/tmp/x.npy")) == "/tmp/x.npy: which of the outputs clip, numbers? Write e.g. "
        + "--out clip=/tmp/x.npy --out numbers=...")
    #expect(said(both, .files(["clip": "/tmp/x.npy", "numbers": "/tmp/x.npy"]))
        == "--out numbers=/tmp/x.npy: clip goes there too; name another file, or one that ends in .npz for both")
}

@Test func usualNames() throws {
    let outputs = MediaOutputs(plain, text: { _, _ in "" })
    #expect(outputs.usual(try made([video])) == .files(["clip": "clip/"]))
    #expect(outputs.usual(try made([video, tensor])) == .files(["clip": "clip/", "numbers": "numbers.npy"]))
    #expect(outputs.usual(try made([(output("said", .text, axis: 1), [1, 4])])) == .nothing)
    let clips = MediaOutputs(Codecs(clips: [Notes()]), text: { _, _ in "" })
    #expect(clips.usual(try made([video])) == .files(["clip": "clip.mp4"]))
}

@Test(arguments: [(1, "4 x 6"), (3, "12 x 18")])
func clipsHaveTheirSizeOrAreEnlargedAndAreFedFrameByFrame(_ scale: Int, _ size: String) async throws {
    try await withFolder { folder in
        let notes = Notes()
        let outputs = MediaOutputs(Codecs(clips: [notes]), text: { _, _ in "" })
        let sink = try outputs.sinks(made([video], scale: scale), .file(folder + "/x.mp4"))[0]
        try await sink.begin(", said")
        try await sink.sink(of: "clip")?.take(Tensor(zeros: [1, 3, 2, 4, 6], .fp32))
        await sink.finish()
        let frame = "\(scale * 4 * scale * 6 * 3)"
        #expect(notes.told == ["\(size) at 8.0, said", frame, frame, "finished"])
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == ["x.mp4"])
    }
    #expect(enlarged([1, 2, 3, 4, 5, 6], height: 1, width: 2, 2)
        == [1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6, 1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6])
}

@Test func whatAScaleDoes() throws {
    let clips = Codecs(clips: [Notes()]), odd = (output("clip", .video, axis: 2), [1, 3, 2, 5, 6])
    #expect(said(try made([odd]), .file("/tmp/x.mp4"), clips).hasPrefix(
        "/tmp/x.mp4: H.264 takes even sides only, not 5 x 6 (--scale 2 makes them even)"))
    #expect(said(try made([odd], scale: 2), .file("/tmp/x.mp4"), clips) == "")
    let note = try made([video], scale: 2)[0].smallNote("/tmp/x.mp4")
    #expect(note == "12 x 8 pixels; `--scale 8` makes it larger")
    #expect(try made([video], scale: 64)[0].smallNote("/tmp/x.mp4") == nil)
    #expect(try made([video])[0].smallNote("/tmp/x.png") == nil)
    for scale in [0, 65] { #expect(throws: Fault.self) { try made([video], scale: scale) } }
}

@Test func anAbandonedFileLeavesNothing() async throws {
    try await withFolder { folder in
        for name in ["x.wav", "x.npy", "x.png", "frames/"] {
            let one = name == "x.wav" ? (output("s", .audio, axis: 1), [1, 8]) : video
            let outputs = MediaOutputs(plain, text: { _, _ in "" })
            let sink = try outputs.sinks(made([one]), .file(folder + "/" + name))[0]
            try await sink.begin()
            try await sink.sink(of: one.0.name)?.take(Tensor(zeros: one.1, .fp32))
            await sink.abandon()
            #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == [])
        }
    }
}

@Test func whatCannotBeWrittenIsKept() async throws {
    try await withFolder { folder in
        let outputs = MediaOutputs(plain, text: { _, _ in "" })
        let sink = try outputs.sinks(made([video]), .file(folder + "/x.png"))[0]
        try await sink.begin()
        try await sink.sink(of: "clip")?.take(Tensor(zeros: [1, 3, 2, 4, 6], .fp32))
        // Somebody else puts a folder there while the run goes on.
        try FileManager.default.createDirectory(atPath: folder + "/x.png/y", withIntermediateDirectories: true)
        await sink.finish()
        let fault = await sink.fault
        #expect(fault.hasPrefix("\(folder)/x.png: cannot be written (Is a directory)"))
        let kept = try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasSuffix(".npy") }
        #expect(kept.count == 1 && fault.contains("; its pictures are kept in \(folder)/\(kept.first ?? "")"))
    }
}

@Test func aLinkOfTheUsersStaysOne() async throws {
    try await withFolder { folder in
        try FileManager.default.createDirectory(atPath: folder + "/there", withIntermediateDirectories: true)
        try FileManager.default.createSymbolicLink(atPath: folder + "/x.npy", withDestinationPath: "there/y.npy")
        try Data([1]).write(to: URL(fileURLWithPath: folder + "/there/y.npy"))
        let sink = try MediaOutputs(plain, text: { _, _ in "" }).sinks(made([tensor]), .file(folder + "/x.npy"))[0]
        try await sink.begin()
        try await sink.sink(of: "numbers")?.take(Tensor(zeros: [2, 3], .fp32))
        await sink.finish()
        #expect(try FileManager.default.destinationOfSymbolicLink(atPath: folder + "/x.npy") == "there/y.npy")
        #expect(try Data(contentsOf: URL(fileURLWithPath: folder + "/there/y.npy")).count == 128 + 24)
    }
}

@Test func picturesAreReadBack() throws {
    // Noise, one colour, runs: packed, and stored where packing does not help.
    var state: UInt32 = 1
    for kind in 0..<3 {
        let bytes = (0..<61 * 47 * 3).map { k -> UInt8 in
            state = state &* 1_664_525 &+ 1_013_904_223
            return kind == 0 ? UInt8(state >> 24) : kind == 1 ? 77 : UInt8(k / 500 % 256)
        }
        let file = png(bytes, height: 61, width: 47)
        let found = try PNGDecoder.pixels(file)
        let wanted = try Pixels(height: 61, width: 47, layout: .rgb8, bytes: bytes)
        #expect(found == wanted)
        #expect(kind == 0 || file.count < bytes.count / 4)
    }
}

@Test func netpbm() throws {
    let colours = Array("P6 # a comment\n2 1\n255\n".utf8) + [1, 2, 3, 4, 5, 6]
    let two = try Pixels(height: 1, width: 2, layout: .rgb8, bytes: [1, 2, 3, 4, 5, 6])
    #expect(try PNMDecoder.pixels(colours) == two)
    let deep = Array("P5\n1 2 65535\n".utf8) + [1, 2, 3, 4]
    let grey = try Pixels(height: 2, width: 1, layout: .grey16, bytes: [2, 1, 4, 3])
    #expect(try PNMDecoder.pixels(deep) == grey)
    #expect(throws: MediaFault.self) { try PNMDecoder.pixels(Array("P6 2 1 255\n".utf8)) }
    #expect(throws: MediaFault.self) { try PNMDecoder.pixels(Array("P6 999999999 999999999 255\n".utf8)) }
}

/// Writes files for PIL and numpy to read, where a test of the other side asks for them.
@Test func filesForOthersToRead() async throws {
    guard let folder = ProcessInfo.processInfo.environment["ENTRACTE_MEDIA_FILES"] else { return }
    let outputs = MediaOutputs(plain, text: { _, _ in "" })
    let values = (0..<3 * 2 * 40 * 60).map { Float($0 % 997) / 997 }
    for name in ["sheet.png", "frames/", "clip.npy", "clip.npz", "clip.safetensors", "sound.wav"] {
        let isSound = name == "sound.wav"
        let one = isSound
            ? (output("clip", .audio, axis: 1), [1, 31]) : (output("clip", .video, axis: 2), [1, 3, 2, 40, 60])
        let sink = try outputs.sinks(made([one]), .file(folder + "/" + name))[0]
        try await sink.begin(ProcessInfo.processInfo.environment["ENTRACTE_MEDIA_COMMENT"] ?? "")
        try await sink.sink(of: "clip")?.take(Tensor(isSound ? Array(values.prefix(31)) : values, shape: one.1))
        await sink.finish()
        #expect(await sink.fault == "")
    }
}

@Test func textsAreWrittenByTheirTokenizer() async throws {
    try await withFolder { folder in
        let outputs = MediaOutputs(plain, text: { output, ids in "\(output.name): \(ids)" })
        let one = (output("said", .text, axis: 1), [1, 3])
        let sink = try outputs.sinks(made([one]), .file(folder + "/x.TXT"))[0]
        try await sink.begin()
        try await sink.sink(of: "said")?.take(Tensor([Int32(7), -1, 70000], shape: [1, 3]))
        await sink.finish()
        #expect(try String(contentsOfFile: folder + "/x.TXT", encoding: .utf8) == "said: [7, -1, 70000]\n")
    }
}

/// A picture of twelve megapixels is read in seconds, not minutes.
@Test func largePicturesAreReadInReasonableTime() async throws {
    let (height, width) = (1500, 2000)
    let bytes = (0..<height * width * 3).map { UInt8(truncatingIfNeeded: $0 &* $0 >> 7) }
    let begin = ContinuousClock.now
    let found = try PNGDecoder.pixels(png(bytes, height: height, width: width))
    let input = Input(
        name: "x", kind: .image, default: nil, port: Port(name: "x", shape: [1, 3, 512, 512], dtype: .fp32), choices: [],
        least: nil, most: nil, low: 0, high: 1, fit: "crop", rate: 0)
    let made = Tensor(zeros: [1, 3, 512, 512], .fp32)
    if let planes = made.floats.baseAddress { found.put(input, 512, 512, planes, stride: 512 * 512) }
    let taken = ContinuousClock.now - begin
    print("3 megapixels: \(taken)")
    #expect(taken < .seconds(60))
}

/// A plan's numbers may be anybody's: what no file can hold is refused in words, however large it is.
@Test func sidesBeyondAllNumbersAreRefused() throws {
    let most = 1 << 61
    for shape in [[1, 3, 1, most, 1], [1, 3, most, 2, 2], [1, 3, 1, 1, most]] {
        let one = try made([(output("clip", .video, axis: 2), shape)])
        #expect(said(one, .file("/tmp/x.png")).contains("holds at most 2147483647 pixels a side"))
        let clips = Codecs(pictures: [], sounds: [], clips: [Notes()])
        #expect(!said(one, .file("/tmp/x.mp4"), clips).isEmpty || shape[2] == most)
    }
    let sound = try made([(output("sound", .audio, axis: 1), [1, most])])
    #expect(said(sound, .file("/tmp/x.wav")).contains(".wav holds at most"))
    let decl = TensorDecl(
        port: Port(name: "clip", shape: [1, 3, 1 << 50, 1, 1], dtype: .fp32), slots: 1, streamed: 1 << 20)
    let streamed = try madeOutputs(
        Program(
            inputs: [], constants: [], tensors: [decl], segments: [], outputs: [output("clip", .video, axis: 2)]))
    #expect(streamed.map(\.port.shape) == [[1, 3, .max, 1, 1]])
}

@Test func aRateBeyondAllNumbersIsNoTrap() {
    let made = resampled([1, 1], given: 48_000, wanted: 1e-307, many: 3)
    #expect(made.count == 3 && made.allSatisfy { abs($0) < 1e-300 })
}
