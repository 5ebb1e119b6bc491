import Foundation

extension Plan {
    /// The build folder is complete: every file that the plan names is there, inside it, and what it was.
    ///
    /// Packages' bytes are looked at before their first load (`Package.checkBytes`). `rows`: the table of
    /// host operations, by which some files have an exact size; `digests` keeps what it has read. Raises
    /// `Fault`.
    public func checkFiles(in folder: URL, rows: [any HostRow], digests: FileDigests) throws {
        let place = folder.path
        guard built else {
            throw Fault.plan("\(place): a dry run, nothing was built; compile without dry_run=true")
        }
        for package in packages {
            _ = try existing(place, package.path, isFolder: true)
            try checkAllInside(place, package.path)
            if let arrays = package.arrays { _ = try existing(place, arrays.path, isFolder: false) }
        }
        if !program.constants.isEmpty, !files.contains(where: { $0.path == PlanFormat.constants }) {
            throw Fault.plan("\(place): the plan names no digest of \(PlanFormat.constants); compile again")
        }
        let exact = exactBytes(rows)
        for file in files { try check(file, place, exact[file.path], digests) }
    }

    private func check(_ file: PlanFile, _ folder: String, _ exact: Int?, _ digests: FileDigests) throws {
        let (path, state) = try existing(folder, file.path, isFolder: false)
        if let exact, state.sizeBytes != exact {
            throw Fault.plan(
                "\(folder): \(file.path) has \(state.sizeBytes) bytes, the plan says \(exact); compile "
                    + "again, or copy "
                    + "the build again")
        }
        if exact == nil, state.sizeBytes > PlanFormat.mostFileBytes {
            throw Fault.plan("\(folder): \(file.path) is larger than \(PlanFormat.mostFileBytes) bytes")
        }
        guard try digests.sha256(path) == file.sha256 else {
            throw Fault.plan("\(folder): \(file.path) changed since it was written; compile again")
        }
    }

    private func existing(
        _ folder: String, _ name: String, isFolder: Bool
    ) throws -> (path: String, state: FileState) {
        guard let found = inside(folder, name) else {
            if FileState(folder + "/" + name, follow: false) == nil, realPath(folder) != nil {
                throw Fault.plan("\(folder): \(name) is missing; compile again")
            }
            throw leads(folder, name)
        }
        guard (found.state.kind == .folder) == isFolder else {
            throw Fault.plan("\(folder): \(name) is no \(isFolder ? "folder" : "file"); compile again")
        }
        return found
    }

    /// Below a package there are folders and regular files inside the build folder, and nothing else.
    private func checkAllInside(_ folder: String, _ package: String) throws {
        for (name, state) in filesBelow(folder + "/" + package) where state.kind != .regular {
            let below = package + "/" + name
            if inside(folder, below) == nil { throw leads(folder, below) }
        }
    }

    private func leads(_ folder: String, _ name: String) -> Fault {
        .plan("\(folder): \(name) leads out of the build folder, or is a device or a pipe; compile again")
    }

    /// The plan's constants, by name, each of its port's shape and type. Raises `Fault`.
    public func constants(in folder: URL) throws -> [String: Tensor] {
        guard !program.constants.isEmpty else { return [:] }
        let place = folder.path
        guard let (path, _) = inside(place, PlanFormat.constants) else {
            throw Fault.plan("\(place): there is no file \(PlanFormat.constants); compile again")
        }
        let file = try SafeTensors(path)
        var made: [String: Tensor] = [:]
        for port in program.constants {
            guard let entry = file.entry(port.name), entry.shape == port.shape,
                let tensor = file.tensor(entry, as: port.dtype)
            else {
                throw Fault.plan(
                    "\(place): \(PlanFormat.constants) lacks \(port.name), \(port.dtype) of "
                        + "\(words(port.shape))")
            }
            made[port.name] = tensor
        }
        return made
    }
}
