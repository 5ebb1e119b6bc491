import EntractePlan

/// Takes the pieces of one output in their order, as they are made.
public protocol Sink: Sendable {
    func take(_ piece: Tensor) async throws
}
