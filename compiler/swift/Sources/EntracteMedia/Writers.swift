import EntractePlan
import Foundation

/// One file in the making. Used by its sink only, one call at a time.
protocol Writer: Sendable {
    /// The next grain.
    func take(_ grain: Grain) async throws

    /// All came; they are also in the spools, by output.
    func finish(_ spools: [(name: String, spool: Spool)]) async throws

    /// The file is not to be: close it.
    func abandon() async
}

/// A writer that needs all at once.
struct AtEnd: Writer {
    let write: @Sendable ([(name: String, spool: Spool)]) async throws -> Void

    func take(_ grain: Grain) async throws {}
    func finish(_ spools: [(name: String, spool: Spool)]) async throws { try await write(spools) }
    func abandon() async {}
}

/// A .wav of 16 bits that grows; behind its samples a comment, where there is one.
final class WaveWriter: Writer, @unchecked Sendable {
    private let file: WriteFile
    private let channels: Int
    private let rate: Int
    private let comment: String
    private var dataBytes = 0

    init(_ path: String, _ shape: [Int], _ rate: Double, _ comment: String) throws {
        file = try WriteFile(new: path)
        self.comment = comment
        channels = shape.count == 3 ? shape[1] : 1
        self.rate = Int(rate)
    }

    func take(_ grain: Grain) async throws {
        try file.write(grain.bytes, at: 44 + dataBytes)
        dataBytes += grain.bytes.count
    }

    /// Their number is known now.
    func finish(_ spools: [(name: String, spool: Spool)]) async throws {
        let list = waveComment(comment, behind: 44 + dataBytes)
        try file.write(list, at: 44 + dataBytes)
        var head = Array("RIFF".utf8)
        head.append(little: UInt32(clamping: 36 + dataBytes + list.count))
        head += Array("WAVEfmt ".utf8)
        head.append(little: UInt32(16))
        head.append(little: UInt16(1))
        head.append(little: UInt16(clamping: channels))
        head.append(little: UInt32(clamping: rate))
        head.append(little: UInt32(truncatingIfNeeded: channels * rate * 2))
        head.append(little: UInt16(truncatingIfNeeded: channels * 2))
        head.append(little: UInt16(16))
        head += Array("data".utf8)
        head.append(little: UInt32(clamping: dataBytes))
        try file.write(head, at: 0)
        try file.finish()
    }

    func abandon() async {}
}

/// A LIST INFO chunk with a comment, for a .wav that ends at `end`; nothing where the file's size, which has
/// 32 bits, would not hold it.
func waveComment(_ text: String, behind end: Int) -> [UInt8] {
    var data = Array(text.utf8) + [0]
    if data.count % 2 != 0 { data.append(0) }
    guard !text.isEmpty, end + data.count + 32 < 1 << 32 else { return [] }
    // Chunks begin at even places.
    var made = [UInt8](repeating: 0, count: end % 2) + Array("LIST".utf8)
    made.append(little: UInt32(12 + data.count))
    made += Array("INFOICMT".utf8)
    made.append(little: UInt32(data.count))
    return made + data
}

/// A folder of numbered pictures, each written as it is made.
final class FramesWriter: Writer, @unchecked Sendable {
    private let folder: String
    private let comment: String
    private var count = 0

    init(_ folder: String, _ comment: String) throws {
        self.folder = folder
        self.comment = comment
        guard mkdir(folder, 0o777) == 0 else { throw SystemFault() }
    }

    func take(_ grain: Grain) async throws {
        let number = String(count)
        let name = String(repeating: "0", count: max(0, 5 - number.count)) + number
        let file = try WriteFile(new: "\(folder)/\(name).png")
        try file.write(png(grain.bytes, height: grain.shape[1], width: grain.shape[2], comment: comment), at: 0)
        count += 1
    }

    func finish(_ spools: [(name: String, spool: Spool)]) async throws {}
    func abandon() async {}
}

/// A clip that is encoded frame by frame, enlarged by a whole number.
struct ClipSink: Writer {
    let clip: any ClipWriter
    let scale: Int

    func take(_ grain: Grain) async throws {
        try await clip.take(enlarged(grain.bytes, height: grain.shape[1], width: grain.shape[2], scale))
    }

    func finish(_ spools: [(name: String, spool: Spool)]) async throws { try await clip.finish() }
    func abandon() async { await clip.abandon() }
}

/// Each pixel `scale` times in each direction.
func enlarged(_ pixels: [UInt8], height: Int, width: Int, _ scale: Int) -> [UInt8] {
    guard scale > 1 else { return pixels }
    var made: [UInt8] = []
    made.reserveCapacity(pixels.count * scale * scale)
    for y in 0..<height {
        var row: [UInt8] = []
        row.reserveCapacity(3 * width * scale)
        for x in 0..<width {
            let at = (y * width + x) * 3
            for _ in 0..<scale { row += pixels[at..<at + 3] }
        }
        for _ in 0..<scale { made += row }
    }
    return made
}

// ---------------------------------------------------------------- at the end

/// One picture as it is, or several frames on one sheet.
func writePicture(_ spool: Spool, _ comment: String, _ path: String) throws {
    let shape = spool.shape
    guard shape.count == 4 else { throw MediaFault("there is no picture in it") }
    let (height, width) = (shape[1], shape[2]), frameBytes = 3 * height * width
    let file = try WriteFile(new: path)
    if shape[0] == 1 {
        try file.write(png(spool.read(0, frameBytes), height: height, width: width, comment: comment), at: 0)
    } else {
        let sheet = try contactSheet(shape[0], height, width) { try spool.read($0 * frameBytes, frameBytes) }
        try file.write(png(sheet.pixels, height: sheet.height, width: sheet.width, comment: comment), at: 0)
    }
    try file.finish()
}

func writeNpy(_ spool: Spool, _ path: String) throws {
    let file = try WriteFile(new: path)
    _ = try spool.writeNpy(file)
    try file.finish()
}

/// The header, padded to 8 bytes as the library does, then the tensors in its order.
func writeSafetensors(_ spools: [(name: String, spool: Spool)], _ comment: String, _ path: String) throws {
    let codes = ["<f2": "F16", "<f4": "F32", "<i4": "I32"]
    let said = JSON.text(comment).text()
    var entries = comment.isEmpty ? [] : ["\"__metadata__\":{\"entracte\":\(said)}"], at = 0
    for (name, spool) in spools {
        let shape = spool.shape.map(String.init).joined(separator: ",")
        let end = at + spool.sizeBytes
        entries.append(
            "\"\(name)\":{\"dtype\":\"\(codes[spool.descr] ?? "F32")\",\"shape\":[\(shape)],"
                + "\"data_offsets\":[\(at),\(end)]}")
        at = end
    }
    var text = Array(("{" + entries.joined(separator: ",") + "}").utf8)
    text += [UInt8](repeating: 0x20, count: (8 - text.count % 8) % 8)
    var head: [UInt8] = []
    head.append(little: UInt64(text.count))
    let file = try WriteFile(new: path)
    try file.write(head + text, at: 0)
    var place = head.count + text.count
    for (_, spool) in spools {
        try spool.eachBlock {
            try file.write($0, at: place)
            place += $0.count
        }
    }
    try file.finish()
}
