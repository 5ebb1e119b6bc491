import EntractePlan
import Foundation

/// A whole build folder, checked: its plan and the files that the plan names.
public struct OpenBuild: Sendable {
    public let plan: Plan
    public let folder: URL
    private let digests: FileDigests

    /// Throws `Fault` for a folder without a plan, for a plan that cannot be, and for files that are missing,
    /// changed, or lead out of the folder.
    public init(_ folder: URL) throws {
        self.folder = folder
        plan = try Plan.read(folder: folder, rows: HostTable.rows)
        digests = FileDigests()
        try plan.checkFiles(in: folder, rows: HostTable.rows, digests: digests)
    }

    /// The plan's constants, by name. Throws `Fault`.
    public func constants() throws -> [String: Tensor] { try plan.constants(in: folder) }

    /// A package's bytes are the plan's: to be called right before its first load, so that the load finds in the
    /// system's page cache what this has read. Throws `Fault`.
    public func check(_ package: Package) throws { try package.checkBytes(in: folder, digests: digests) }
}
