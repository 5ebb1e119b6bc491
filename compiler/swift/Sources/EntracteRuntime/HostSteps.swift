import EntractePlan
import Foundation

/// What a host step may read: a text or a seed as given, or a tensor.
public enum HostValue: Sendable {
    case text(String)
    case seed(Int)
    case tensor(Tensor)
}

/// Where and when a host step runs.
public struct HostPlace: Sendable {
    /// The build folder.
    public let folder: URL
    /// Of the loop that the step is in.
    public let iteration: Int
    /// Told what whoever runs the plan should know of the step, a line each.
    public let note: @Sendable (String) -> Void

    public init(folder: URL, iteration: Int, note: @escaping @Sendable (String) -> Void) {
        self.folder = folder
        self.iteration = iteration
        self.note = note
    }
}

/// Runs host steps: gives a tensor for each port that the step's operation has.
public protocol HostSteps: Sendable {
    func run(_ step: HostStep, _ inputs: [String: HostValue], _ place: HostPlace) throws -> [String: Tensor]
}
