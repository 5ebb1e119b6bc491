import EntractePlan

/// Runs host steps as their rows in the table of host operations say.
public struct HostRunner: HostSteps {
    public init() {}

    /// A tensor for each port of the operation. Throws a `Fault` of kind `run`: the plan may be a
    /// stranger's.
    public func run(
        _ step: HostStep, _ inputs: [String: HostValue], _ place: HostPlace
    ) throws -> [String: Tensor] {
        let stage = "stage \(step.stage): "
        guard let op = HostTable.op(step.op) else {
            throw Fault.run(
                "\(stage)this runner has no host step \(words(step.op)); it has \(HostTable.names)")
        }
        let params = HostParams(step)
        if let fault = op.fault(params, inputs: Array(inputs.keys)) { throw Fault.run(stage + fault) }
        let told = HostPlace(folder: place.folder, iteration: place.iteration) { place.note(stage + $0) }
        let made: [String: Tensor]
        do {
            made = try op.run(params, inputs, told)
        } catch let fault as Fault {
            throw Fault.run(stage + fault.message)
        }
        let ports = op.gives(params, [:]).map(\.name)
        let stray = Set(step.outputs.map(\.feature)).subtracting(made.keys).min()
        if let stray {
            throw Fault.run("\(stage)\(step.op) gives \(ports.joined(separator: ", ")), not \(words(stray))")
        }
        return made
    }
}

extension [String: HostValue] {
    /// A tensor that a step reads.
    func tensor(_ name: String, _ op: String) throws -> Tensor {
        guard case .tensor(let tensor)? = self[name] else {
            throw Fault.run("\(op): \(name) is no tensor; a step before must make it")
        }
        return tensor
    }
}
