import EntractePlan

/// What of a device a loaded package computes on. Raw values are the plan's words.
public enum ComputeUnit: String, Sendable, CaseIterable, Codable {
    case all, cpuAndNeuralEngine, cpuAndGPU, cpuOnly

    /// What may be tried where this one fails, in this order: fewer kinds of hardware, the same arithmetic.
    public var fallbacks: [ComputeUnit] {
        switch self {
        case .all, .cpuAndNeuralEngine: [.cpuAndGPU, .cpuOnly]
        case .cpuAndGPU: [.cpuOnly]
        case .cpuOnly: []
        }
    }
}

extension Plan {
    /// What a chunk is to be loaded on: as it says itself, else as the target does.
    public func computeUnit(of chunk: String) throws -> ComputeUnit {
        let own = chunks.first { $0.id == chunk }?.computeUnit ?? ""
        let name = own.isEmpty ? target.computeUnit : own
        guard let unit = ComputeUnit(rawValue: name) else {
            let allowed = ComputeUnit.allCases.map(\.rawValue).joined(separator: ", ")
            throw Fault.plan("chunk \(chunk): compute unit '\(name)' is not one of \(allowed); compile again")
        }
        return unit
    }
}
