import Foundation

#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

/// What `stat` says of a file. Files came from elsewhere: a pipe or a device would be waited for, a
/// link could lead anywhere.
package struct FileState: Hashable, Sendable {
    package enum Kind: Sendable { case regular, folder, link, other }

    package let kind: Kind
    let device: UInt64
    let inode: UInt64
    package let sizeBytes: Int
    /// Of the last change of its bytes, in nanoseconds.
    let changedNs: Int

    /// Nil where there is nothing. `follow`: of what a link leads to.
    package init?(_ path: String, follow: Bool) {
        var found = stat()
        guard (follow ? stat(path, &found) : lstat(path, &found)) == 0 else { return nil }
        self.init(found)
    }

    package init(_ found: stat) {
        switch found.st_mode & S_IFMT {
        case S_IFREG: kind = .regular
        case S_IFDIR: kind = .folder
        case S_IFLNK: kind = .link
        default: kind = .other
        }
        device = UInt64(truncatingIfNeeded: found.st_dev)
        inode = UInt64(truncatingIfNeeded: found.st_ino)
        sizeBytes = Int(found.st_size)
        #if canImport(Darwin)
        let time = found.st_mtimespec
        #else
        let time = found.st_mtim
        #endif
        changedNs = Int(time.tv_sec) &* 1_000_000_000 &+ Int(time.tv_nsec)
    }
}

/// What the system says of an error number.
package func systemWords(_ number: Int32) -> String { String(cString: strerror(number)) }

/// Where a path leads when all links are followed; nil where there is nothing.
package func realPath(_ path: String) -> String? {
    guard let found = realpath(path, nil) else { return nil }
    defer { free(found) }
    return String(cString: found)
}

/// Whether a real path is a folder's or lies in it.
func lies(_ real: String, in folder: String) -> Bool {
    real == folder || real.hasPrefix(folder.hasSuffix("/") ? folder : folder + "/")
}

/// The real path and state of the regular file or folder `name` of a folder; nil where there is none, or
/// it lies elsewhere by a link or `..`.
package func inside(_ root: String, _ name: String) -> (path: String, state: FileState)? {
    guard !name.utf8.contains(0), let realRoot = realPath(root), let real = realPath(root + "/" + name),
        lies(real, in: realRoot), let state = FileState(real, follow: true),
        state.kind == .regular || state.kind == .folder
    else { return nil }
    return (real, state)
}

/// All that lies below a folder and is no folder, and what each is, by sorted names; links are not followed.
func filesBelow(_ folder: String) -> [(name: String, state: FileState)] {
    var found: [(name: String, state: FileState)] = []
    var folders = [""]
    while let place = folders.popLast() {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder + "/" + place)) ?? []
        for name in names {
            let below = place.isEmpty ? name : place + "/" + name
            guard let state = FileState(folder + "/" + below, follow: false) else { continue }
            if state.kind == .folder { folders.append(below) } else { found.append((below, state)) }
        }
    }
    return found.sorted {
        $0.name.split(separator: "/").lexicographicallyPrecedes($1.name.split(separator: "/"))
    }
}
