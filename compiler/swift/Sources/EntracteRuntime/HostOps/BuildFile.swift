import EntractePlan
import Foundation

#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

/// A regular file of a build folder: inside it, whatever links say.
struct BuildFile {
    /// Real.
    let path: String
    let sizeBytes: Int

    var name: String { URL(fileURLWithPath: path).lastPathComponent }

    /// Nil where there is none, or it lies elsewhere by a link or `..`.
    init?(_ name: String, in folder: URL) {
        guard !name.isEmpty, !name.unicodeScalars.contains("\0"), let root = realPath(folder.path),
            let real = realPath(folder.path + "/" + name), real.hasPrefix(root + "/")
        else { return nil }
        var state = stat()
        guard stat(real, &state) == 0, state.st_mode & S_IFMT == S_IFREG else { return nil }
        path = real
        sizeBytes = Int(state.st_size)
    }
}

private func realPath(_ path: String) -> String? {
    guard let found = realpath(path, nil) else { return nil }
    defer { free(found) }
    return String(cString: found)
}
