import EntractePlan
import struct EntractePlan.Port
import Foundation

/// A tensor of exactly a port's shape out of `.npy`, `.npz` or `.safetensors`; of several the one that is
/// called like the input. Throws `MediaFault`.
func tensorFile(_ name: String, _ port: Port, _ path: String, _ ending: String) throws -> Tensor {
    let file = try InputFile(path)
    switch ending {
    case ".npz": return try npz(name, port, file)
    case ".safetensors": return try safetensors(name, port, file)
    default: return try npy(port, file)
    }
}

private let blockBytes = 1 << 22

private func npy(_ port: Port, _ file: any Readable) throws -> Tensor {
    let header = try NpyHeader(file.read(0, NpyHeader.mostBytes))
    var filling = try Filling(
        port, header.shape, header.type, called: header.called, isFortran: header.isFortran)
    return try filled(&filling, file, from: header.begin)
}

/// All of a tensor whose bytes lie in a file.
private func filled(_ filling: inout Filling, _ file: any Readable, from begin: Int) throws -> Tensor {
    let wanted = filling.sizeBytes
    guard file.sizeBytes - begin >= wanted else {
        throw MediaFault("ends after \(max(0, file.sizeBytes - begin)) of \(wanted) bytes")
    }
    var done = 0
    while done < wanted {
        let bytes = try file.read(begin + done, min(blockBytes, wanted - done))
        guard bytes.count == min(blockBytes, wanted - done) else {
            throw MediaFault("ends after \(done) of \(wanted) bytes")
        }
        filling.take(bytes[...])
        done += bytes.count
    }
    return try filling.done()
}

private func npz(_ name: String, _ port: Port, _ file: InputFile) throws -> Tensor {
    let archive = try ZipReader(file)
    let arrays = archive.entries.filter { $0.name.hasSuffix(".npy") }
    let chosen = try chosen(name, arrays.map { String($0.name.dropLast(4)) })
    guard let entry = arrays.last(where: { $0.name == chosen + ".npy" }) else {
        throw MediaFault("holds no tensor \(chosen)")
    }
    // Numbers of up to 8 bytes.
    let most = NpyHeader.mostBytes + port.sizeBytes / port.dtype.widthBytes * 8
    return try npy(port, archive.bytes(of: entry, most: most))
}

private func safetensors(_ name: String, _ port: Port, _ file: InputFile) throws -> Tensor {
    let stored = try SafetensorsFile(file)
    let chosen = try chosen(name, stored.entries.map(\.name))
    guard let found = stored.entries.first(where: { $0.name == chosen }) else {
        throw MediaFault("holds no tensor \(chosen)")
    }
    guard let type = SafetensorsFile.types[found.dtype] else {
        let known = SafetensorsFile.order.joined(separator: ", ")
        throw MediaFault("\(chosen) is \(found.dtype); give one of \(known)")
    }
    var filling = try Filling(port, found.shape, type, called: type.name, isFortran: false)
    return try filled(&filling, file, from: stored.base + found.begin)
}

/// The tensor of that name, or the only one.
private func chosen(_ name: String, _ names: [String]) throws -> String {
    if names.contains(name) { return name }
    guard names.count == 1, let only = names.first else {
        let told = names.sorted().prefix(8).joined(separator: ", ")
        throw MediaFault(
            "holds \(names.count) tensors (\(told.isEmpty ? "none" : told)); give one of them the name '\(name)'")
    }
    return only
}
