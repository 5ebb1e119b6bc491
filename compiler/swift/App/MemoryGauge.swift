import EntracteCoreML
import EntractePlan
import EntracteRuntime
import Observation

/// What this process takes of what it may take.
@MainActor
@Observable
final class MemoryGauge {
    private(set) var usedBytes = 0
    private(set) var limitBytes: Int?
    /// What the plan claims, beside the app itself.
    private(set) var claimedBytes = 0

    func budget(of plan: Plan) {
        claimedBytes = plan.forecast.peakBytes
        read()
    }

    func read() {
        let reading = SystemMemory.reading()
        usedBytes = reading.footprintBytes ?? 0
        limitBytes = reading.limitBytes
    }

    /// Of the limit, from 0 to 1.
    var share: Double { limitBytes.map { min(1, Double(usedBytes) / Double(max(1, $0))) } ?? 0 }

    var words: String {
        let limit = limitBytes.map { " of \(Sizes.told($0))" } ?? ""
        return "\(Sizes.told(usedBytes))\(limit); the plan claims \(Sizes.told(claimedBytes))"
    }
}
