extension Plan {
    /// Where packages and arrays are: a graph that several chunks share is there once.
    var packagePaths: [String] {
        var seen: Set<String> = []
        let graphs = packages.filter { $0.arrays != nil }.map(\.path).filter { seen.insert($0).inserted }
        return graphs + packages.filter { $0.arrays == nil }.map(\.path)
            + packages.compactMap { $0.arrays?.path }
    }
}

/// Paths of a plan: nothing leads out of the build folder, and no two things lie in one place.
enum Paths {
    /// What holds the constants is one of the files.
    static func checkFiles(_ plan: Plan) throws {
        for path in plan.packagePaths + plan.files.map(\.path) { try checkRelative(path) }
        let hasConstants = plan.files.contains { $0.path == PlanFormat.constants }
        if plan.built, !plan.program.constants.isEmpty, !hasConstants {
            throw Fault.plan("plan: has constants, but \(PlanFormat.constants) is no file of it")
        }
    }

    private static func checkRelative(_ path: String) throws {
        let leads = path.utf8.first == UInt8(ascii: "/") || path.utf8.contains(UInt8(ascii: "\\"))
            || path.isEmpty || parts(path).contains("..")
        if leads { throw Fault.plan("plan: the path \(words(path)) leads out of the build folder") }
    }

    /// The names of a path, as `PurePosixPath` has them: `a//b/./c` is `a/b/c`.
    static func parts(_ path: String) -> [String] {
        path.utf8.split(separator: UInt8(ascii: "/")).map { String($0) ?? "" }.filter { $0 != "." }
    }

    /// No two things in one place, nor one inside the other, however their paths are spelled.
    static func checkSides(_ plan: Plan) throws {
        let spelled = (plan.packagePaths + plan.files.map(\.path)).map(parts)
        let joined = spelled.map { $0.isEmpty ? "." : $0.joined(separator: "/") }
        let what = "plan: two paths are, but for large and small letters,"
        try Names.once(what, joined.map { $0.lowercased() })
        let known = Set(joined)
        for path in spelled {
            for k in 0 ..< path.count {
                let parent = k == 0 ? "." : path.prefix(k).joined(separator: "/")
                if known.contains(parent) {
                    let own = path.joined(separator: "/")
                    throw Fault.plan("plan: \(own) lies inside \(parent); paths lie side by side")
                }
            }
        }
        for file in plan.files where !isSHA256(file.sha256) {
            throw Fault.plan("plan: file \(file.path) has no SHA-256 but \(words(file.sha256))")
        }
    }

    /// 64 small hexadecimal digits.
    static func isSHA256(_ text: String) -> Bool {
        text.utf8.count == 64
            && text.utf8.allSatisfy { (48 ... 57).contains($0) || (97 ... 102).contains($0) }
    }
}
