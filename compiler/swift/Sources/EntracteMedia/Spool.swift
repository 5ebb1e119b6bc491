import EntractePlan
import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

private let blockBytes = 1 << 22

/// An output on its way into a file: its pieces as they come, on disk, not in memory. What cannot be written
/// while it is made is written from here at the end; and where no file can be made of it, it is kept.
///
/// Used by one sink, one call at a time.
final class Spool: @unchecked Sendable {
    private let axis: Int
    private var folders: [String]
    private let stem: String
    private var file: WriteFile?
    private var like: Grain?
    private var extents: [Int] = []
    private(set) var sizeBytes = 0
    /// Why not all of it is there.
    private(set) var lost: SystemFault?

    /// Beside `place`, else where the system keeps temporary files.
    init(_ place: String, axis: Int) {
        let (folder, name) = splitPath(place)
        folders = [folder, NSTemporaryDirectory()]
        stem = name
        self.axis = axis
    }

    /// The next piece. Where there is no room for it anywhere, all is `lost`.
    func append(_ grain: Grain) {
        guard lost == nil else { return }
        if like == nil { like = Grain(descr: grain.descr, shape: grain.shape, bytes: []) }
        do {
            try writeSomewhere(grain.bytes)
        } catch {
            lost = error as? SystemFault ?? SystemFault()
            return
        }
        extents.append(grain.shape.isEmpty ? 1 : grain.shape[along])
        sizeBytes += grain.bytes.count
    }

    private func writeSomewhere(_ bytes: [UInt8]) throws {
        do {
            try opened().write(bytes, at: sizeBytes)
        } catch {
            guard folders.count > 1 else { throw error }
            // Go on in the other folder, with all that is there.
            folders.removeFirst()
            let old = file
            file = nil
            let new = try opened()
            for at in stride(from: 0, to: sizeBytes, by: blockBytes) {
                guard let old else { break }
                try new.write(old.read(at, min(blockBytes, sizeBytes - at)), at: at)
            }
            try new.write(bytes, at: sizeBytes)
        }
    }

    private func opened() throws -> WriteFile {
        if let file { return file }
        let aside = Aside(folders[0] + "/" + stem + ".spool")
        let made = try WriteFile(new: aside.path)
        // It goes with its handle, however the process ends.
        unlink(aside.path)
        file = made
        return made
    }

    private var along: Int { placeOf(axis, like?.shape.count ?? 1) }

    /// As numpy writes the type of its elements.
    var descr: String { like?.descr ?? "<f4" }

    /// Of all pieces, joined.
    var shape: [Int] {
        guard var shape = like?.shape, !shape.isEmpty else { return [] }
        shape[along] = extents.reduce(0, +)
        return shape
    }

    /// The bytes of all pieces joined, in row-major order. Throws `SystemFault`.
    func eachBlock(_ take: ([UInt8]) throws -> Void) throws {
        if let lost { throw lost }
        let shape = shape
        let outer = shape.isEmpty ? 1 : shape[..<along].reduce(1, *)
        if extents.count == 1 || outer == 1 { return try eachBlock(0, sizeBytes, take) }
        let whole = extents.reduce(0, +)
        guard outer > 0, whole > 0 else { return }
        let inner = sizeBytes / (outer * whole)
        for o in 0..<outer {
            var start = 0
            for extent in extents {
                try eachBlock(start + o * extent * inner, extent * inner, take)
                start += outer * extent * inner
            }
        }
    }

    private func eachBlock(_ start: Int, _ length: Int, _ take: ([UInt8]) throws -> Void) throws {
        for at in stride(from: start, to: start + length, by: blockBytes) {
            try take(read(at, min(blockBytes, start + length - at)))
        }
    }

    /// Bytes as the pieces came. Throws `SystemFault`.
    func read(_ at: Int, _ count: Int) throws -> [UInt8] {
        if let lost { throw lost }
        guard count > 0 else { return [] }
        return try opened().read(at, count)
    }

    /// As numpy's own format, from a place of a file on; gives where it ends. Throws `SystemFault`.
    func writeNpy(_ file: WriteFile, at place: Int = 0, seen: ([UInt8]) -> Void = { _ in }) throws -> Int {
        var at = place
        func put(_ bytes: [UInt8]) throws {
            try file.write(bytes, at: at)
            seen(bytes)
            at += bytes.count
        }
        try put(npyHeader(descr, shape))
        try eachBlock(put)
        return at
    }

    /// As a tensor beside `place`, else where the system keeps temporary files. Nil where neither is possible.
    func keep(_ place: String) -> String? {
        guard lost == nil, like != nil else { return nil }
        let (folder, name) = splitPath(place)
        let ending = ending(of: name)
        let letters = (0..<8).map { _ in String(Int.random(in: 0..<16), radix: 16) }.joined()
        for folder in [folder, NSTemporaryDirectory()] {
            let kept = "\(folder)/\(name.dropLast(ending.count)).partial-\(letters).npy"
            let aside = Aside(kept)
            do {
                let file = try WriteFile(new: aside.path)
                _ = try writeNpy(file)
                try file.finish()
                try aside.keep()
                return kept
            } catch { aside.drop() }
        }
        return nil
    }
}
