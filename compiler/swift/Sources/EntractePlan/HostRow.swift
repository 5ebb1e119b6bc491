/// An input of a host operation.
public struct HostReads: Equatable, Sendable {
    /// What it may read: an input of the plan of that kind, or a whole tensor.
    public enum Kind: Equatable, Sendable {
        case input(Input.Kind)
        case tensor
    }

    public let name: String
    public let kind: Kind

    public init(_ name: String, _ kind: Kind) {
        self.name = name
        self.kind = kind
    }
}

/// A row of the table of host operations, as far as reading a plan asks it
/// (`compiler/entracte/declare/host_ops/row.py`).
///
/// Words of faults are what follows `plan: stage NAME: ` in the Python side's messages.
public protocol HostRow: Sendable {
    var name: String { get }
    var inputs: [HostReads] { get }
    /// The params that name files of the build folder.
    var files: [String] { get }

    /// What is wrong with a step's params and the names of its inputs; nil where nothing is. Asked
    /// before anything else; no param stands twice.
    func fault(_ step: HostStep) -> String?
    /// What is wrong with the tensors that it reads, by input, or with what it would make of them.
    func wiredFault(_ step: HostStep, _ tensors: [String: Port]) -> String?
    /// What it gives, by its params and the tensors that it reads.
    func ports(_ step: HostStep, _ tensors: [String: Port]) -> [Port]
    /// The exact size of its files, where it follows from its params.
    func fileBytes(_ step: HostStep) -> Int?
}
