import Foundation

/// A package of Core ML on disk: its files and what identifies them.
package enum PackageFiles {
    package static let model = "Data/com.apple.CoreML/model.mlmodel"
    package static let weights = "Data/com.apple.CoreML/weights/weight.bin"
    package static let manifest = "Manifest.json"

    private static let author = "com.apple.CoreML"
    private static let namespace: [UInt8] = [
        0x6F, 0x9D, 0x5F, 0x0E, 0x3F, 0x0C, 0x5B, 0x57, 0x9D, 0x58, 0x65, 0x6E, 0x74, 0x72, 0x61, 0x63,
    ]

    /// A package's digest from those of its files; nil: it has no weights.
    package static func digest(model: String, weights: String?) -> String {
        var text = "\(Self.model) \(model)\n"
        if let weights { text += "\(Self.weights) \(weights)\n" }
        return SHA256.hex(text)
    }

    /// The manifest of a package: its identifiers follow from the files' digests.
    package static func manifest(model: String, weights: String?) -> String {
        let root = identifier("\(author)/model.mlmodel", model)
        var items = [JSON.Member(root, item("model.mlmodel", "CoreML Model Specification"))]
        if let weights {
            let id = identifier("\(author)/weights", weights)
            items.append(JSON.Member(id, item("weights", "CoreML Model Weights")))
        }
        let manifest = JSON.object([
            JSON.Member("fileFormatVersion", .text("1.0.0")),
            JSON.Member("itemInfoEntries", .object(items)),
            JSON.Member("rootModelIdentifier", .text(root)),
        ])
        return manifest.text(order: .sorted, indent: 4) + "\n"
    }

    private static func item(_ name: String, _ description: String) -> JSON {
        .object([
            JSON.Member("author", .text(author)), JSON.Member("description", .text(description)),
            JSON.Member("name", .text(name)), JSON.Member("path", .text("\(author)/\(name)")),
        ])
    }

    /// A UUID of version 5 (RFC 9562), in large letters.
    private static func identifier(_ path: String, _ sha256: String) -> String {
        var bytes = Array(sha1(namespace + Array("\(path) \(sha256)".utf8)).prefix(16))
        bytes[6] = bytes[6] & 0x0F | 0x50
        bytes[8] = bytes[8] & 0x3F | 0x80
        let digits = Array(hexadecimal(bytes).uppercased())
        let parts = [0 ..< 8, 8 ..< 12, 12 ..< 16, 16 ..< 20, 20 ..< 32].map { String(digits[$0]) }
        return parts.joined(separator: "-")
    }
}

extension Package {
    private static let remedy = "compile again, or copy the build again"

    /// The package's files hold the bytes that the plan was made with. Raises `Fault`.
    ///
    /// Called right before the first load, so that the load finds in the system's page cache what this
    /// has read.
    public func checkBytes(in folder: URL, digests: FileDigests) throws {
        try checkFiles(in: folder)
        let place = folder.path + "/" + path
        let model = try digests.sha256(place + "/" + PackageFiles.model)
        let hasWeights = FileState(place + "/" + PackageFiles.weights, follow: true) != nil
        let weights = hasWeights ? try digests.sha256(place + "/" + PackageFiles.weights) : nil
        let manifest = try? Data(contentsOf: URL(fileURLWithPath: place + "/" + PackageFiles.manifest))
        guard PackageFiles.digest(model: model, weights: weights) == digest else {
            let changed = Self.changed(model: model, hasWeights: hasWeights, manifest: manifest)
            throw fault(folder, "\(changed) holds other bytes than the plan says")
        }
        guard manifest == Data(PackageFiles.manifest(model: model, weights: weights).utf8) else {
            throw fault(folder, "\(PackageFiles.manifest) does not describe the model and the weights")
        }
        if let arrays {
            let file = try mapped(arrays, in: folder)
            if try digests.sha256(file.path) != arrays.digest {
                throw Self.fault(file.path, "it holds other bytes than the plan says")
            }
        }
    }

    /// Of a graph that is shared: the chunk's arrays, mapped. Raises `Fault` unless they are a file as long as
    /// they make it, which begins as they say.
    package func mapped(_ arrays: Arrays, in folder: URL) throws -> ArraysFile {
        let path = folder.path + "/" + arrays.path
        let layout = ArraysLayout(arrays.ports)
        guard FileState(path, follow: false)?.kind == .regular, let file = try? RegularFile(path) else {
            throw Self.fault(path, "it is missing, or no file")
        }
        let wanted = plus(layout.header.count, layout.dataBytes)
        for (what, size) in [("it has", file.state.sizeBytes), ("the plan says", arrays.fileBytes)]
        where size != wanted {
            throw Self.fault(path, "\(what) \(size) bytes, its arrays make \(wanted)")
        }
        let made = try ArraysFile(path, file, layout)
        guard made.header.elementsEqual(layout.header) else {
            throw Self.fault(path, "its header is not that of its arrays")
        }
        return made
    }

    /// The model, its weights, the manifest, and nothing else; as many bytes as the plan says. Raises
    /// `Fault`. Reads none of them.
    public func checkFiles(in folder: URL) throws {
        let known = [PackageFiles.manifest, PackageFiles.model, PackageFiles.weights]
        var names: Set<String> = []
        var sizeBytes = 0
        for (name, state) in filesBelow(folder.path + "/" + path) {
            guard known.contains(name), state.kind == .regular else {
                throw fault(folder, "\(name) does not belong to it")
            }
            names.insert(name)
            let (sum, over) = sizeBytes.addingReportingOverflow(state.sizeBytes)
            sizeBytes = over ? .max : sum
        }
        if let missing = [PackageFiles.model, PackageFiles.manifest].first(where: { !names.contains($0) }) {
            throw fault(folder, "\(missing) is missing")
        }
        if sizeBytes != fileBytes {
            throw fault(folder, "it has bytes of files \(sizeBytes), the plan says \(fileBytes)")
        }
    }

    /// The file that is not what its manifest says; the manifest's identifiers are of digests.
    private static func changed(model: String, hasWeights: Bool, manifest: Data?) -> String {
        guard let manifest, firstNotUTF8(manifest) == nil else { return PackageFiles.manifest }
        let own = PackageFiles.manifest(model: model, weights: nil)
        let root = (try? JSON(parsing: own))?["rootModelIdentifier"]?.asText ?? ""
        let isNamed = String(decoding: manifest, as: UTF8.self).contains(root)
        return isNamed && hasWeights ? PackageFiles.weights : PackageFiles.model
    }

    private func fault(_ folder: URL, _ what: String) -> Fault { Self.fault("\(folder.path)/\(path)", what) }

    private static func fault(_ path: String, _ what: String) -> Fault {
        .plan("\(path): \(what); \(remedy)")
    }
}

private func firstNotUTF8(_ data: Data) -> Int? {
    data.withUnsafeBytes { EntractePlan.firstNotUTF8($0.bindMemory(to: UInt8.self)) }
}
