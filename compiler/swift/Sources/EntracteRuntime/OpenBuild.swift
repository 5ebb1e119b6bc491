import EntractePlan
import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// A whole build folder, checked: its plan and the files that the plan names.
public struct OpenBuild: Sendable {
    public let plan: Plan
    public let folder: URL
    private let digests: FileDigests

    /// Throws `Fault` for a folder without a plan, for a plan that cannot be, and for files that are missing,
    /// changed, or lead out of the folder. `exactBytes`: of files whose size follows from the plan, that size.
    public init(_ folder: URL, rows: [any HostRow]? = nil, exactBytes: (Plan) -> [String: Int] = { _ in [:] }) throws {
        self.folder = folder
        plan = try Plan.read(folder: folder, rows: rows)
        digests = FileDigests()
        let place = folder.path
        guard plan.built else {
            throw Fault.plan("\(place): a dry run, nothing was built; compile without dry_run=true")
        }
        for package in plan.packages { _ = try Self.inside(place, package.path, isFolder: true) }
        let exact = exactBytes(plan)
        for file in plan.files { try Self.check(place, file, exact[file.path], digests) }
    }

    /// A package's bytes are the plan's: to be called right before its first load, so that the load finds in the
    /// system's page cache what this has read. Throws `Fault`.
    public func check(_ package: Package) throws { try package.checkBytes(in: folder, digests: digests) }

    private static func check(_ folder: String, _ file: PlanFile, _ exactBytes: Int?, _ digests: FileDigests) throws {
        let path = try inside(folder, file.path, isFolder: false)
        var state = stat()
        let size = stat(path, &state) == 0 ? Int(state.st_size) : 0
        if let exactBytes, size != exactBytes {
            throw Fault.plan(
                "\(folder): \(file.path) has \(size) bytes, the plan says \(exactBytes); compile again, or copy the "
                    + "build again")
        }
        if exactBytes == nil, size > PlanFormat.mostFileBytes {
            throw Fault.plan("\(folder): \(file.path) is larger than \(PlanFormat.mostFileBytes) bytes")
        }
        guard try digests.sha256(path) == file.sha256 else {
            throw Fault.plan("\(folder): \(file.path) changed since it was written; compile again")
        }
    }

    /// The real path of a file or folder of the folder. Throws `Fault` where there is none, or it lies elsewhere.
    private static func inside(_ folder: String, _ name: String, isFolder: Bool) throws -> String {
        guard let root = real(folder), let path = real(folder + "/" + name) else {
            throw Fault.plan("\(folder): \(name) is missing; compile again")
        }
        var state = stat()
        let kind = stat(path, &state) == 0 ? state.st_mode & S_IFMT : 0
        guard path.hasPrefix(root == "/" ? root : root + "/"), kind == S_IFREG || kind == S_IFDIR else {
            throw Fault.plan(
                "\(folder): \(name) leads out of the build folder, or is a device or a pipe; compile again")
        }
        guard (kind == S_IFDIR) == isFolder else {
            throw Fault.plan("\(folder): \(name) is no \(isFolder ? "folder" : "file"); compile again")
        }
        return path
    }

    private static func real(_ path: String) -> String? {
        guard let found = realpath(path, nil) else { return nil }
        defer { Foundation.free(found) }
        return String(cString: found)
    }

    /// The plan's constants, by name. Throws `Fault`.
    public func constants() throws -> [String: Tensor] {
        let wanted = plan.program.constants, folder = self.folder.path
        guard !wanted.isEmpty else { return [:] }
        guard plan.files.contains(where: { $0.path == PlanFormat.constants }) else {
            throw Fault.plan("\(folder): the plan names no digest of \(PlanFormat.constants); compile again")
        }
        let file = try SafeTensors(folder + "/" + PlanFormat.constants)
        var made: [String: Tensor] = [:]
        for port in wanted {
            guard let entry = file.entry(port.name), let tensor = file.tensor(entry), tensor.shape == port.shape,
                tensor.dtype == port.dtype
            else {
                throw Fault.plan(
                    "\(folder): \(PlanFormat.constants) has no \(port.name), \(port.dtype.rawValue) of \(port.shape); "
                        + "compile again")
            }
            made[port.name] = tensor
        }
        return made
    }
}
