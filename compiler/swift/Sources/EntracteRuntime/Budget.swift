import EntractePlan

/// What the system says of memory, in bytes; nil where it does not say.
public struct MemoryReading: Equatable, Sendable {
    /// What counts against the process's limit now (`phys_footprint`).
    public let footprintBytes: Int?
    /// What the process may take beside that before the system ends it.
    public let availableBytes: Int?
    /// What the GPU recommends to have in use at once.
    public let workingSetBytes: Int?

    public init(footprintBytes: Int?, availableBytes: Int?, workingSetBytes: Int?) {
        self.footprintBytes = footprintBytes
        self.availableBytes = availableBytes
        self.workingSetBytes = workingSetBytes
    }

    /// The most that the process can be: the smaller of its own limit and the GPU's working set.
    public var limitBytes: Int? {
        let process = availableBytes.map { $0.addingReportingOverflow(footprintBytes ?? 0) }
        let own = process.map { $0.overflow ? Int.max : $0.partialValue }
        return [own, workingSetBytes].compactMap { $0 }.min()
    }

    /// What the process may still take.
    public var freeBytes: Int? { limitBytes.map { max(0, $0 - (footprintBytes ?? 0)) } }

    /// Why a plan cannot run here: its claim and the app's own footprint, or what that is now if it is more,
    /// are above the limit. Nil where it fits, and where the system does not say.
    public func refusal(of plan: Plan) -> Fault? {
        refusal(
            claimBytes: plan.forecast.peakBytes, baseBytes: plan.target.baseFootprintBytes,
            what: "plan of \(plan.pipeline) for \(plan.target.name)")
    }

    /// As `refusal(of:)`, of a claim in bytes.
    public func refusal(claimBytes: Int, baseBytes: Int, what: String) -> Fault? {
        guard let limit = limitBytes else { return nil }
        let base = max(baseBytes, footprintBytes ?? 0)
        let need = claimBytes.addingReportingOverflow(base)
        guard need.overflow || need.partialValue > limit else { return nil }
        let short = need.overflow ? claimBytes : need.partialValue - limit
        return Fault.run(
            "\(what): claims \(Self.told(claimBytes)) beside \(Self.told(base)) of the app itself, and this "
                + "process may be \(Self.told(limit)) (\(parts)): \(Self.told(short)) too much; compile it "
                + "with a lower `target.memory`, or give the app the entitlements "
                + "com.apple.developer.kernel.increased-memory-limit and "
                + "com.apple.developer.kernel.extended-virtual-addressing, both, and close other apps")
    }

    private var parts: String {
        let process = availableBytes.map {
            "\(Self.told(footprintBytes ?? 0)) in use and \(Self.told($0)) available"
        }
        let gpu = workingSetBytes.map { "the GPU's working set is \(Self.told($0))" }
        return [process, gpu].compactMap { $0 }.joined(separator: "; ")
    }

    private static func told(_ bytes: Int) -> String { Sizes.told(bytes) }
}

/// Sizes as people read them.
public enum Sizes {
    /// Such as `812.5 MiB`: one digit behind the point, B as they are.
    public static func told(_ bytes: Int) -> String {
        let units = ["KiB", "MiB", "GiB"]
        guard bytes >= 1024 else { return "\(bytes) B" }
        var value = Double(bytes) / 1024
        var unit = 0
        while value >= 1024, unit + 1 < units.count {
            value /= 1024
            unit += 1
        }
        return "\((value * 10).rounded() / 10) \(units[unit])"
    }
}
