import EntractePlan
import Foundation

/// A regular file of a build folder: inside it, whatever links say.
struct BuildFile {
    /// Real.
    let path: String
    let sizeBytes: Int

    var name: String { URL(fileURLWithPath: path).lastPathComponent }

    /// Nil where there is none, or it lies elsewhere by a link or `..`.
    init?(_ name: String, in folder: URL) {
        guard let found = inside(folder.path, name), found.state.kind == .regular else { return nil }
        path = found.path
        sizeBytes = found.state.sizeBytes
    }
}
