import EntractePlan
import Foundation

/// How long memory took to come back after a free.
public struct SettleRecord: Equatable, Sendable {
    public let chunks: [String]
    /// What had to come back: at most what the loads had added to the footprint.
    public let expectedBytes: Int
    /// What had come back when the wait ended.
    public let returnedBytes: Int
    /// From the first free to the end of the wait.
    public let seconds: Double
    /// Whether the wait ended because its longest time had passed.
    public let isLate: Bool
}

/// When a wait for freed memory ends.
public struct SettleOptions: Equatable, Sendable {
    /// Of the freed bytes, how many must have come back.
    public let share: Double
    public let longestSeconds: Double
    public let pollSeconds: Double

    public init(share: Double = 0.8, longestSeconds: Double = 2, pollSeconds: Double = 0.01) {
        self.share = share
        self.longestSeconds = longestSeconds
        self.pollSeconds = pollSeconds
    }
}

/// What a wait looks at: the process and the time, or a test's.
public struct SettleWorld: Sendable {
    /// The process's footprint in bytes; nil where the system does not say.
    public let footprintBytes: @Sendable () -> Int?
    public let nowNs: @Sendable () -> Int
    public let sleep: @Sendable (_ seconds: Double) async -> Void

    public init(
        footprintBytes: @escaping @Sendable () -> Int?, nowNs: @escaping @Sendable () -> Int,
        sleep: @escaping @Sendable (_ seconds: Double) async -> Void
    ) {
        self.footprintBytes = footprintBytes
        self.nowNs = nowNs
        self.sleep = sleep
    }

    /// The system's time, and a footprint.
    public init(footprintBytes: @escaping @Sendable () -> Int?) {
        self.init(
            footprintBytes: footprintBytes,
            nowNs: { Int(clamping: DispatchTime.now().uptimeNanoseconds) },
            sleep: { try? await Task.sleep(nanoseconds: UInt64(max(0, $0) * 1e9)) })
    }
}

/// Between a free and the next load: waits until the memory is really back, or a time has passed.
///
/// Dropping a model gives its memory back late, and a load that begins before is what ends apps. Files that
/// are mapped count in no footprint, so no more is waited for than the loads were seen to add.
public actor Settle {
    private let options: SettleOptions
    private let world: SettleWorld
    private var chunks: [String] = []
    private var expected = 0
    private var before = 0
    private var firstNs = 0
    /// All waits so far, in their order.
    public private(set) var records: [SettleRecord] = []

    public init(_ world: SettleWorld, options: SettleOptions = SettleOptions()) {
        self.world = world
        self.options = options
    }

    /// To be told right before a model is dropped. `addedBytes`: what its load was seen to add.
    public func frees(_ chunk: String, addedBytes: Int) {
        guard let now = world.footprintBytes() else { return }
        if chunks.isEmpty {
            before = now
            firstNs = world.nowNs()
        } else {
            // What is back of the earlier ones must not be waited for twice.
            before = max(before, now)
        }
        chunks.append(chunk)
        expected += max(0, addedBytes)
    }

    /// The footprint at which enough is back.
    private var goal: Int { before - Int(Double(expected) * options.share) }

    /// To be awaited before a load: returns at once where nothing is due.
    public func wait() async {
        guard !chunks.isEmpty else { return }
        let deadline = firstNs + Int(options.longestSeconds * 1e9)
        var now = world.footprintBytes() ?? 0
        // Of a task that is cancelled a sleep ends at once.
        while now > goal, world.nowNs() < deadline, !Task.isCancelled {
            await world.sleep(options.pollSeconds)
            now = world.footprintBytes() ?? 0
        }
        records.append(
            SettleRecord(
                chunks: chunks, expectedBytes: expected, returnedBytes: max(0, before - now),
                seconds: Double(world.nowNs() - firstNs) / 1e9, isLate: now > goal))
        chunks = []
        expected = 0
    }
}
