import EntractePlan
import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Where outputs go, as a user says it.
public enum Out: Sendable, Equatable {
    /// Nowhere.
    case nothing
    /// One file, for all that it can hold.
    case file(String)
    /// Files by output.
    case files([String: String])
}

/// What a run gives, as files: which file each output goes to.
public struct MediaOutputs: Sendable {
    private let rows: [Format]

    /// `text`: how tokens become a text.
    public init(_ codecs: Codecs, text: @escaping TextOf) { rows = formats(codecs, text) }

    /// Where outputs go when nobody says so: a file of its kind's own name, or, of several, of the output's.
    /// Texts go nowhere: they are shown.
    public func usual(_ made: [Made]) -> Out {
        let clip = rows.first { $0.kinds == [.video] }?.ending ?? folderEnding
        let names: [Output.Kind: (String, String)] = [
            .video: ("clip", clip), .image: ("image", ".png"), .audio: ("audio", ".wav"), .tensor: ("output", ".npy"),
        ]
        var files: [String: String] = [:]
        for one in made {
            guard let (stem, ending) = names[one.output.kind] else { continue }
            files[one.output.name] = (made.count == 1 ? stem : one.output.name) + ending
        }
        return files.isEmpty ? .nothing : .files(files)
    }

    /// The files that outputs go to, and whether each can hold what it is to. Throws `Fault`, before any work
    /// is done.
    public func sinks(_ made: [Made], _ out: Out) throws -> [FileSink] {
        let given: [String: String]
        switch out {
        case .nothing: return []
        case .file(let path): given = try meant(made, path)
        case .files(let files): given = files
        }
        let names = made.map(\.output.name)
        if let stray = given.keys.filter({ !names.contains($0) }).min() {
            throw Fault.run("--out \(stray)=...: the plan's outputs are \(names.joined(separator: ", "))")
        }
        var files: [(real: String, path: String, format: Format, made: [Made])] = []
        for one in made {
            guard let path = given[one.output.name] else { continue }
            let format = try place(path)
            try checkHolds(one, format, path)
            let real = finalPath(path)
            guard let k = files.firstIndex(where: { $0.real == real }) else {
                files.append((real, path, format, [one]))
                continue
            }
            guard format.holdsMany else {
                throw Fault.run(
                    "--out \(one.output.name)=\(path): \(files[k].made[0].output.name) goes there too; name another "
                        + "file, or one that ends in .npz for both")
            }
            files[k].made.append(one)
        }
        return files.map { FileSink($0.path, $0.format, $0.made) }
    }

    /// The outputs that a file alone is meant for: all, where it holds several; the only one that it can hold.
    private func meant(_ made: [Made], _ path: String) throws -> [String: String] {
        let format = try place(path)
        let fit = made.filter { format.kinds.contains($0.output.kind) }
        if format.holdsMany || made.count == 1 {
            return Dictionary(made.map { ($0.output.name, path) }, uniquingKeysWith: { one, _ in one })
        }
        if fit.count == 1 { return [fit[0].output.name: path] }
        let names = made.map(\.output.name)
        guard names.count > 1 else { throw Fault.run("\(path): the plan has no outputs") }
        throw Fault.run(
            "\(path): which of the outputs \(names.joined(separator: ", "))? Write e.g. "
                + "--out \(names[0])=\(path) --out \(names[1])=...")
    }

    private static let elsewhere = [".mp4", ".mov", ".webm", ".gif", ".jpg", ".jpeg", ".webp"]

    /// What the ending of a name means. Throws `Fault` for what could not be written.
    private func place(_ path: String) throws -> Format {
        let ending = path.hasSuffix("/") ? folderEnding : ending(of: path)
        guard let format = rows.first(where: { $0.ending == ending }) else {
            let endings = rows.map(\.ending).filter { $0 != folderEnding }.joined(separator: ", ")
            let why = Self.elsewhere.contains(ending)
                ? "nothing here writes \(ending)" : "the ending decides the format"
            throw Fault.run(
                "\(path.isEmpty ? "''" : path): \(why): give one of \(endings), or NAME/ for a folder of pictures")
        }
        guard !path.utf8.contains(0) else {
            throw Fault.run("'\(path.prefix(60))': cannot be written: no name of a file; name another file")
        }
        let (folder, name) = splitPath(path)
        guard FileState(folder, follow: true)?.kind == .folder else { throw Fault.run("\(path): there is no folder \(folder)") }
        guard name.utf8.count < 200 else {
            throw Fault.run("'\(path.prefix(60))': cannot be written: File name too long; name another file")
        }
        let there = FileState(path, follow: true)?.kind
        if ending == folderEnding {
            try checkFolder(path)
        } else if there == .folder {
            throw Fault.run("\(path): is a folder; name a file")
        } else if there == .other {
            throw Fault.write("\(path): cannot be written (there is a device or a pipe); name another file")
        }
        guard access(splitPath(finalPath(path)).folder, W_OK) == 0 else {
            throw Fault.write("\(path): cannot be written: its folder is read-only; name another file")
        }
        return format
    }

    private func checkFolder(_ path: String) throws {
        let trimmed = splitPath(path).folder + "/" + splitPath(path).name
        guard let state = FileState(trimmed, follow: false) else { return }
        let there = try? FileManager.default.contentsOfDirectory(atPath: trimmed)
        guard state.kind == .folder, there?.isEmpty == true else {
            throw Fault.run("\(path): is there and no empty folder; name another")
        }
    }

    private func checkHolds(_ made: Made, _ format: Format, _ path: String) throws {
        let name = made.output.name, kind = made.output.kind.rawValue, port = made.port
        let endings = rows.filter { $0.kinds.contains(made.output.kind) && $0.fault(made) == nil }
            .map(\.ending).joined(separator: ", ")
        guard format.kinds.contains(made.output.kind) else {
            let kinds = format.kinds.map(\.rawValue).joined(separator: " and ")
            throw Fault.run(
                "\(path): \(format.ending) files hold \(kinds), the output \(name) is \(an(kind)), "
                    + "\(port.dtype.rawValue) of \(words(port.shape)); give a file that ends in \(endings)")
        }
        if let fault = format.fault(made) {
            throw Fault.run("\(path): \(fault); give a file that ends in \(endings)")
        }
    }
}
