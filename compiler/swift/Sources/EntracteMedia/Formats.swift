import EntractePlan
import struct EntractePlan.Port
import Foundation

/// In place of an ending: a folder of numbered pictures.
let folderEnding = "/"

/// An output and the tensor that all its parts are together.
public struct Made: Sendable {
    public let output: Output
    public let port: Port
    /// It comes in several pieces, or has several parts.
    let isJoined: Bool
    /// How many times clips are enlarged.
    let scale: Int
}

/// Most times that a clip is enlarged.
public let mostScale = 64

/// The outputs of a plan, each as the tensor of all its parts. Throws `Fault` for one that is not of its kind.
///
/// `scale`: how many times clips are enlarged, from 1 to 64.
public func madeOutputs(_ program: Program, scale: Int = 1) throws -> [Made] {
    guard (1...mostScale).contains(scale) else {
        throw Fault.run("scale: \(scale) is none from 1 to \(mostScale)")
    }
    let decls = Dictionary(program.tensors.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    return try program.outputs.map { output in
        let parts = output.values.compactMap { decls[$0] }
        guard let first = parts.first, parts.count == output.values.count else {
            throw Fault.plan("plan: output \(output.name): a part of it is no tensor")
        }
        var shape = first.port.shape
        if !shape.isEmpty {
            let axis = placeOf(output.axis, shape.count)
            shape[axis] = parts.reduce(0) { sum, part in
                guard axis < part.port.shape.count else { return sum }
                return plus(sum, times(part.port.shape[axis], max(1, part.streamed)))
            }
        }
        let port = Port(name: output.name, shape: shape, dtype: first.port.dtype)
        if let fault = kindFault(output.kind, port) { throw Fault.plan("plan: output \(output.name): \(fault)") }
        return Made(output: output, port: port, isJoined: parts.count > 1 || first.streamed > 0, scale: scale)
    }
}

private func kindFault(_ kind: Output.Kind, _ port: Port) -> String? {
    let shape = port.shape
    let fits: Bool, taken: String
    switch kind {
    case .video:
        (fits, taken) = (shape.count == 5 && shape[0] == 1 && shape[1] == 3, "(1, 3, frames, height, width), floats")
    case .image: (fits, taken) = (shape.count == 4 && shape[1] == 3, "(images, 3, height, width), floats")
    case .audio:
        (fits, taken) = ((2...3).contains(shape.count) && shape[0] == 1, "(1, samples) or (1, channels, samples), floats")
    case .text: (fits, taken) = (shape.count == 2 && shape[0] == 1, "(1, tokens), int32")
    case .tensor: return nil
    }
    if fits, (port.dtype == .int32) == (kind == .text) { return nil }
    return "\(port.dtype.rawValue) \(words(shape)) is no \(kind.rawValue); it must be \(taken); give it "
        + "another `kind` (a `tensor` may be anything)"
}

/// One kind of file.
struct Format: Sendable {
    let ending: String
    /// Of outputs that it holds.
    let kinds: [Output.Kind]
    let grain: GrainKind
    /// What is kept where the file cannot be written.
    let called: String
    /// It holds several outputs, by name.
    let holdsMany: Bool
    /// Why such a file cannot hold it.
    let fault: @Sendable (Made) -> String?
    /// Begin such a file, with a comment where it is not empty, at a path where nothing is.
    let open: @Sendable (_ made: [Made], _ comment: String, _ path: String) async throws -> any Writer
}

/// Texts of tokens: of an output, by the tokenizer that it names in the build folder. Throws `Fault`.
public typealias TextOf = @Sendable (Output, [Int]) throws -> String

/// What can be written here, a row for each ending, in the order in which messages list them.
func formats(_ codecs: Codecs, _ text: @escaping TextOf) -> [Format] {
    let clips = codecs.clips.flatMap { encoder in encoder.endings.map { clip(encoder, $0) } }
    let pictures = [
        pictureRow(".png") { _, comment, path in
            AtEnd { spools in for (_, spool) in spools { try writePicture(spool, comment, path) } }
        },
        pictureRow(folderEnding) { _, comment, path in try FramesWriter(path, comment) },
    ]
    return clips + pictures + [
        Format(
            ending: ".wav", kinds: [.audio], grain: .samples, called: "samples", holdsMany: false,
            fault: { waveFault($0.port.shape, $0.output.rate) },
            open: { made, comment, path in
                try WaveWriter(path, made.first?.port.shape ?? [], made.first?.output.rate ?? 1, comment)
            }),
        Format(
            ending: ".txt", kinds: [.text], grain: .plain, called: "tensor", holdsMany: false, fault: { _ in nil },
            open: { made, _, path in AtEnd { try writeText(made, $0, path, text) } }),
        tensorRow(".npy", many: false) { spools, _, path in
            for (_, spool) in spools { try writeNpy(spool, path) }
        },
        tensorRow(".npz", many: true, writeNpz),
        tensorRow(".safetensors", many: true, writeSafetensors),
    ]
}

private func clip(_ encoder: any ClipEncoder, _ ending: String) -> Format {
    Format(
        ending: ending, kinds: [.video], grain: .frames, called: "frames", holdsMany: false,
        fault: { picturesFault($0, ending, isClip: true) },
        open: { made, comment, path in
            guard let one = made.first, one.port.shape.count == 5 else {
                throw MediaFault("\(words(made.first?.port.shape ?? [])) is no video")
            }
            let (height, width, scale) = (one.port.shape[3], one.port.shape[4], one.scale)
            let form = ClipForm(
                ending: ending, height: height * scale, width: width * scale, rate: one.output.rate, comment: comment)
            let writer = try await encoder.open(URL(fileURLWithPath: path), form)
            return ClipSink(clip: writer, scale: scale)
        })
}

private func pictureRow(
    _ ending: String, _ open: @escaping @Sendable ([Made], String, String) async throws -> any Writer
) -> Format {
    Format(
        ending: ending, kinds: ending == folderEnding ? [.video, .image] : [.image, .video], grain: .frames, called: "pictures", holdsMany: false,
        fault: { picturesFault($0, ending, isClip: false) }, open: open)
}

private func tensorRow(
    _ ending: String, many: Bool,
    _ write: @escaping @Sendable ([(name: String, spool: Spool)], String, String) throws -> Void
) -> Format {
    Format(
        ending: ending, kinds: [.video, .image, .audio, .text, .tensor], grain: .plain, called: "tensor",
        holdsMany: many, fault: { _ in nil }, open: { _, comment, path in AtEnd { try write($0, comment, path) } })
}

private func writeText(
    _ made: [Made], _ spools: [(name: String, spool: Spool)], _ path: String, _ text: TextOf
) throws {
    guard let spool = spools.first?.spool, let output = made.first?.output else { return }
    var bytes: [UInt8] = []
    try spool.eachBlock { bytes += $0 }
    let tokens = stride(from: 0, to: bytes.count, by: 4).map { at in
        Int(Int32(bitPattern: UInt32(truncatingIfNeeded: bytes.little(at, 4) ?? 0)))
    }
    let file = try WriteFile(new: path)
    try file.write(Array((text(output, tokens) + "\n").utf8), at: 0)
    try file.finish()
}

// ---------------------------------------------------------------- what a file can hold

/// Players blur smaller videos: whoever writes one is told that it can be enlarged.
private let smallSide = 256

extension Made {
    /// How large a clip is that players blur, and what helps; nil of what is no clip, or large enough.
    public func smallNote(_ path: String) -> String? {
        let isClip = output.kind == .video && (ending(of: path) == ".mp4" || ending(of: path) == ".mov")
        guard isClip, port.shape.count == 5 else { return nil }
        let (height, width) = (times(port.shape[3], scale), times(port.shape[4], scale))
        guard min(height, width) < smallSide else { return nil }
        return "\(width) x \(height) pixels; `--scale \(scale * 4)` makes it larger"
    }
}

private let clipRates = 0.01...1000.0

/// What keeps pictures out of a file with this ending; nil where nothing does.
private func picturesFault(_ made: Made, _ ending: String, isClip: Bool) -> String? {
    let shape = made.port.shape, isVideo = made.output.kind == .video
    let frames = shape[isVideo ? 2 : 0], height = shape[shape.count - 2], width = shape[shape.count - 1]
    if made.isJoined, placeOf(made.output.axis, shape.count) != (isVideo ? 2 : 0) {
        return "its parts are joined along axis \(made.output.axis), not picture by picture"
    }
    let scale = isClip ? made.scale : 1
    if let fault = sizeFault(frames, height, width, scale, ending, isClip) { return fault }
    guard isClip else { return nil }
    if height * scale % 2 != 0 || width * scale % 2 != 0 {
        let sides = "\(height * scale) x \(width * scale)"
        return "H.264 takes even sides only, not \(sides) (--scale \(2 * scale) makes them even)"
    }
    guard clipRates.contains(made.output.rate) else {
        return "\(ending) holds 0.01 to 1000 frames a second, not \(general(made.output.rate))"
    }
    return nil
}

private func sizeFault(
    _ frames: Int, _ height: Int, _ width: Int, _ scale: Int, _ ending: String, _ isClip: Bool
) -> String? {
    if frames == 0 || height == 0 || width == 0 { return "there is nothing in \(frames) frames of \(height) x \(width)" }
    let isSheet = !isClip && ending != folderEnding && frames > 1
    let (high, wide) = isSheet ? sheetSides(frames, height, width) : (times(height, scale), times(width, scale))
    let most = isClip ? 16384 : Int(Int32.max)
    guard max(high, wide) > most else { return nil }
    let sheet = isSheet ? ", a sheet of \(frames)" : ""
    return "\(ending) holds at most \(most) pixels a side, not \(height) x \(width)\(sheet)"
}

/// What keeps a sound out of a .wav; nil where nothing does.
func waveFault(_ shape: [Int], _ rate: Double) -> String? {
    let mostBytes = 0xFFFF_FFFF - 0xFFF, channels = shape.count == 3 ? shape[1] : 1
    if rate != rate.rounded() || !(1...Double(Int32.max)).contains(rate) {
        return ".wav has whole numbers of samples a second, not \(general(rate))"
    }
    if channels > 65535 { return ".wav has at most 65535 channels, not \(channels)" }
    let size = times(2 * channels, shape.last ?? 0)
    return size > mostBytes ? ".wav holds at most \(mostBytes) bytes, not \(size)" : nil
}
