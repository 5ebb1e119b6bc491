import EntractePlan

/// Does the steps of a program, one after the other, as the machine starts them.
public protocol Performing: Sendable {
    /// Do the step of this absolute number: at a segment's first one the states move in first, after an
    /// iteration's last one `until` is read and they move on. `model` is the step's chunk where it calls
    /// one in this iteration. Gives whether a loop ended before all its iterations were done.
    func perform(_ number: Int, _ model: (any LoadedModel)?) async throws -> Bool

    /// Whether the call of a step that was just done rested, or slices of it, because a tensor said so.
    func rested(_ number: Int) async -> Bool
}

extension Performing {
    public func rested(_ number: Int) async -> Bool { false }
}

/// Is told what a machine does. Times are nanoseconds since the machine's begin.
public protocol MachineListener: Sendable {
    /// A unit came in, for a step.
    func loaded(unit: Int, for step: Int, startNs: Int, endNs: Int)
    /// A unit's memory was given back; the step is the one that runs or ran last.
    func freed(unit: Int, doing step: Int, atNs: Int)
    /// The computing side waited for its next step's loads.
    func waited(ns: Int)
    /// A step ended.
    func stepped(_ number: Int, startNs: Int, endNs: Int)
}
