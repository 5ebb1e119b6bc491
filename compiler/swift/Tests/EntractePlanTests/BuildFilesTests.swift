import EntracteSupport
import Foundation
import Testing

@testable import EntractePlan

/// A folder that goes when its test ends.
final class Place {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("build-\(UUID().uuidString)")

    init() throws { try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true) }

    deinit { try? FileManager.default.removeItem(at: url) }

    func put(_ name: String, _ data: Data) throws {
        let file = url.appendingPathComponent(name)
        try FileManager.default.createDirectory(
            at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try data.write(to: file)
    }

    func link(_ name: String, to target: String) throws {
        try FileManager.default.createSymbolicLink(atPath: url.path + "/" + name, withDestinationPath: target)
    }

    func remove(_ name: String) throws { try FileManager.default.removeItem(atPath: url.path + "/" + name) }
}

private let model = Data("model".utf8), weights = Data(repeating: 3, count: 2_000_000)

private func package(_ place: Place, arrays: Arrays? = nil, weightBytes: Int = 1) throws -> Package {
    let (one, other) = (SHA256.hex(model), SHA256.hex(weights))
    let manifest = Data(PackageFiles.manifest(model: one, weights: other).utf8)
    try place.put("p/\(PackageFiles.model)", model)
    try place.put("p/\(PackageFiles.weights)", weights)
    try place.put("p/\(PackageFiles.manifest)", manifest)
    return Package(
        chunk: "c", path: "p", digest: PackageFiles.digest(model: one, weights: other),
        fileBytes: model.count + weights.count + manifest.count, weightBytes: weightBytes, activationBytes: 1,
        precision: "fp16", compression: "none", inputs: [], outputs: [], psnrDb: nil, functions: ["main"],
        ownPorts: [], arrays: arrays)
}

private func fault(_ place: Place, _ work: () throws -> Void) -> String {
    do { try work() } catch { return "\(error)".replacingOccurrences(of: place.url.path, with: "B") }
    return ""
}

@Test func packagesHoldTheirBytes() throws {
    let place = try Place()
    let package = try package(place)
    let digests = FileDigests()
    let check = { fault(place) { try package.checkBytes(in: place.url, digests: digests) } }
    #expect(check() == "")
    let other = weights.dropLast() + [4]
    try place.put("p/\(PackageFiles.weights)", other)
    let remedy = "; compile again, or copy the build again"
    #expect(check() == "B/p: \(PackageFiles.weights) holds other bytes than the plan says" + remedy)
    try place.put("p/\(PackageFiles.weights)", weights)
    #expect(check() == "")
    try place.put("p/\(PackageFiles.model)", Data("MODEL".utf8))
    #expect(check() == "B/p: \(PackageFiles.model) holds other bytes than the plan says" + remedy)
    try place.put("p/\(PackageFiles.model)", model)
    try place.put("p/more", Data())
    #expect(check() == "B/p: more does not belong to it" + remedy)
    try place.remove("p/more")
    try place.put("p/\(PackageFiles.model)", model + [0])
    #expect(check().hasPrefix("B/p: it has bytes of files \(package.fileBytes + 1), the plan says"))
    try place.remove("p/\(PackageFiles.model)")
    #expect(check() == "B/p: \(PackageFiles.model) is missing" + remedy)
}

private let ports = [
    Port(name: "w1", shape: [2, 3], dtype: .fp32), Port(name: "w2", shape: [1], dtype: .int32),
    Port(name: "w0", shape: [5], dtype: .fp16),
]
private let values = Data((0 ..< 38).map { UInt8($0) })

@Test func arraysHoldTheirBytes() throws {
    let place = try Place()
    let whole = Data(ArraysLayout(ports).header) + values
    let arrays = Arrays(path: "w", digest: SHA256.hex(whole), fileBytes: whole.count, ports: ports)
    let package = try package(place, arrays: arrays, weightBytes: 38)
    let digests = FileDigests()
    let check = { fault(place) { try package.checkBytes(in: place.url, digests: digests) } }
    let remedy = "; compile again, or copy the build again"
    #expect(check() == "B/w: it is missing, or no file" + remedy)
    try place.put("w", whole)
    #expect(check() == "")
    let size = whole.count
    func said(of made: Data) throws -> String {
        try place.put("w", made)
        return check()
    }
    func wrong(_ size: Int) -> String { "B/w: it has \(size) bytes, its arrays make \(whole.count)" + remedy }
    func changed(at place: Int) -> Data {
        var made = whole
        made[place] ^= 1
        return made
    }
    #expect(try said(of: Data(whole.dropLast(2))) == wrong(size - 2))
    #expect(try said(of: whole + Data(count: 2)) == wrong(size + 2))
    #expect(try said(of: Data()) == wrong(0))
    for place in [0, 12, 16_383] {
        #expect(try said(of: changed(at: place)) == "B/w: its header is not that of its arrays" + remedy)
    }
    for place in [16_384, size - 1] {
        #expect(try said(of: changed(at: place)) == "B/w: it holds other bytes than the plan says" + remedy)
    }
    try place.put("w", whole)
    let other = Arrays(path: "w", digest: arrays.digest, fileBytes: 7, ports: ports)
    let told = fault(place) { _ = try package.mapped(other, in: place.url) }
    #expect(told == "B/w: the plan says 7 bytes, its arrays make \(whole.count)" + remedy)
    try place.remove("w")
    try place.link("w", to: place.url.path + "/p/\(PackageFiles.weights)")
    #expect(check() == "B/w: it is missing, or no file" + remedy)
}

@Test func arraysAreMappedWhereTheyLie() async throws {
    let place = try Place()
    let whole = Data(ArraysLayout(ports).header) + values
    let arrays = Arrays(path: "w", digest: "", fileBytes: whole.count, ports: ports)
    try place.put("w", whole)
    let package = try package(place, arrays: arrays, weightBytes: 38)
    let file = try package.mapped(arrays, in: place.url)
    try await file.readAll()
    let found = withExtendedLifetime(file) { file.arrays.map { Array($0) } }
    #expect(found == [Array(values[..<24]), Array(values[24 ..< 28]), Array(values[28...])])
    // The data begins on a page, wherever the system maps it.
    let first = withExtendedLifetime(file) { file.arrays[0].baseAddress }
    #expect(first.map { Int(bitPattern: $0) % 4096 } == 0)
}

@Test func arraysLieInTheBuildFolder() throws {
    let place = try Place()
    let vectors = try HostilePlans.shared.get()
    var text = String(decoding: HostilePlans.written(try #require(vectors.plans["one graph"])), as: UTF8.self)
    text = text.replacingOccurrences(of: String(repeating: "0", count: 64), with: SHA256.hex("c"))
    let plan = try Plan.decode(Data(text.utf8))
    for package in plan.packages { try place.put("\(package.path)/x", Data()) }
    try place.put("constants.safetensors", Data("c".utf8))
    let check = { fault(place) { try plan.checkFiles(in: place.url, rows: [], digests: FileDigests()) } }
    let paths = plan.packages.compactMap(\.arrays?.path)
    #expect(check() == "B: \(paths[0]) is missing; compile again")
    for path in paths { try place.put(path, Data()) }
    #expect(check() == "")
    try place.remove(paths[1])
    try place.link(paths[1], to: "/etc/passwd")
    #expect(
        check() == "B: \(paths[1]) leads out of the build folder, or is a device or a pipe; compile again")
    try place.remove(paths[1])
    try place.put(paths[1] + "/x", Data())
    #expect(check() == "B: \(paths[1]) is no file; compile again")
}

@Test func linksInPackagesAreRefused() throws {
    let place = try Place()
    let package = try package(place)
    try place.put("w", weights)
    try place.remove("p/\(PackageFiles.weights)")
    try place.link("p/\(PackageFiles.weights)", to: place.url.path + "/w")
    let said = fault(place) { try package.checkFiles(in: place.url) }
    #expect(said.hasPrefix("B/p: \(PackageFiles.weights) does not belong to it"))
}

@Test func manifestsMustFollow() throws {
    let place = try Place()
    let package = try package(place)
    let size = PackageFiles.manifest(model: SHA256.hex(model), weights: SHA256.hex(weights)).utf8.count
    try place.put("p/\(PackageFiles.manifest)", Data(repeating: 32, count: size))
    let said = fault(place) { try package.checkBytes(in: place.url, digests: FileDigests()) }
    #expect(said.hasPrefix("B/p: Manifest.json does not describe the model and the weights"))
}

@Test func foldersAreWhole() throws {
    let place = try Place()
    let vectors = try HostilePlans.shared.get()
    var text = String(decoding: HostilePlans.written(try #require(vectors.plans["gates"])), as: UTF8.self)
    text = text.replacingOccurrences(of: String(repeating: "0", count: 64), with: SHA256.hex("c"))
    let plan = try Plan.decode(Data(text.utf8))
    for package in plan.packages { try place.put("\(package.path)/x", Data()) }
    try place.put("constants.safetensors", Data("c".utf8))
    let check = { fault(place) { try plan.checkFiles(in: place.url, rows: [], digests: FileDigests()) } }
    #expect(check() == "")
    try place.put("constants.safetensors", Data("d".utf8))
    #expect(check() == "B: constants.safetensors changed since it was written; compile again")
    try place.remove("constants.safetensors")
    #expect(check() == "B: constants.safetensors is missing; compile again")
    let leads = "leads out of the build folder, or is a device or a pipe; compile again"
    for target in ["/dev/zero", "/etc/passwd", "nowhere", "constants.safetensors"] {
        try place.link("constants.safetensors", to: target)
        #expect(check() == "B: constants.safetensors \(leads)", "\(target)")
        try place.remove("constants.safetensors")
    }
    try place.put("constants.safetensors/x", Data())
    #expect(check() == "B: constants.safetensors is no file; compile again")
    let first = plan.packages[0].path
    try place.link("\(first)/y", to: "/etc")
    #expect(check() == "B: \(first)/y \(leads)")
    try place.remove(first)
    #expect(check() == "B: \(first) is missing; compile again")
}

// MARK: safetensors

private func tensors(_ header: String, _ data: Int, length: Int? = nil) -> Data {
    var size = UInt64(length ?? header.utf8.count).littleEndian
    return Data(bytes: &size, count: 8) + Data(header.utf8) + Data((0 ..< data).map { UInt8($0 % 251) })
}

@Test func tensorsAreRead() throws {
    let place = try Place()
    let header = """
        {"__metadata__":{"a":"b"},"w":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},\
        "h":{"dtype":"F16","shape":[1,2],"data_offsets":[0,4]},\
        "e":{"dtype":"I32","shape":[0],"data_offsets":[12,12]}}
        """
    try place.put("t", tensors(header, 12))
    let file = try SafeTensors(place.url.path + "/t")
    #expect(file.entries.map(\.name) == ["h", "w", "e"])
    let half = try #require(file.entry("h").flatMap { file.tensor($0) })
    #expect(half.shape == [1, 2] && Array(half.halves) == [0x0100, 0x0302])
    let words = try #require(file.entry("w").flatMap { file.tensor($0) })
    #expect(Array(words.bytes) == (4 ..< 12).map { UInt8($0) })
    let cast = try #require(file.entry("w").flatMap { file.tensor($0, as: .fp16) })
    #expect(Array(cast.halves) == words.floats.map { Half.bits($0) })
    #expect(file.entry("w").flatMap { file.tensor($0, as: .int32) } == nil)
}

/// A header's entry.
private func entry(_ name: String, _ shape: String, _ offsets: String, _ dtype: String = "F32") -> String {
    "\"\(name)\":{\"dtype\":\"\(dtype)\",\"shape\":[\(shape)],\"data_offsets\":[\(offsets)]}"
}

private let damaged: [(String, Int)] = [
    ("", 100), ("[]", 0), ("{\"a\":1}", 0),
    ("{\(entry("a", "1", "0,4"))}", 5), ("{\(entry("a", "1", "0,4"))}", 3),
    ("{\(entry("a", "1", "4,8"))}", 8), ("{\(entry("a", "2", "0,4"))}", 4),
    ("{\(entry("a", "1", "0,4", "F99"))}", 4), ("{\(entry("a", "-1", "0,4"))}", 4),
    ("{\(entry("a", "4611686018427387904,4", "0,0"))}", 0), ("{\(entry("a", "1", "4,0"))}", 4),
    ("{\(entry("a", "1", "0,4")),\(entry("b", "1", "2,6"))}", 6),
    ("{\(entry("a", "1", "0,4")),\(entry("a", "1", "4,8"))}", 8),
]

private func read(_ place: Place) -> String {
    fault(place) { _ = try SafeTensors(place.url.path + "/t") }
}

@Test(arguments: damaged) func otherFilesAreNoTensors(header: String, bytes: Int) throws {
    let place = try Place()
    try place.put("t", tensors(header, bytes))
    #expect(read(place).hasPrefix("B/t: is no whole safetensors file ("))
}

@Test func headersEnd() throws {
    let place = try Place()
    for length in [1 << 20, 100_000_001, Int.max] {
        try place.put("t", tensors("{}", 9, length: length))
        #expect(read(place).contains("a header of \(length) bytes"))
    }
    try place.put("t", Data([1, 2]))
    #expect(read(place).contains("is no whole safetensors file"))
    #expect(fault(place) { _ = try SafeTensors("/dev/zero") }.contains("is no whole safetensors file"))
    #expect(fault(place) { _ = try SafeTensors(place.url.path + "/no") }.contains("cannot be read"))
}
