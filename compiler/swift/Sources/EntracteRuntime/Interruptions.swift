import Foundation

/// Why a run waits at the end of a step.
public enum Interruption: String, Sendable, CaseIterable {
    /// The app is not in front: the system refuses its work on the GPU.
    case background
    /// The system is short of memory.
    case memory
}

/// Closes a run's pause while there is a reason to. Whoever hears the system calls it, from any thread.
///
/// A shortage of memory is over when the system says so, or so long after its last warning that none is to
/// be expected: not all systems say when it is over.
public final class Interruptions: @unchecked Sendable {
    private let calmSeconds: Double
    private let sleep: @Sendable (_ seconds: Double) async -> Void
    private let close: @Sendable (_ reason: String) -> Void
    private let open: @Sendable (_ reason: String) -> Void
    private let lock = NSLock()
    /// All three under the lock.
    private var reasons: Set<Interruption> = []
    private var warnings = 0
    private var told: [Interruption: Int] = [:]

    /// `close` and `open` are told one reason at a time; neither may call this again.
    public init(
        calmSeconds: Double = 5,
        sleep: @escaping @Sendable (_ seconds: Double) async -> Void = {
            try? await Task.sleep(nanoseconds: UInt64(max(0, $0) * 1e9))
        },
        close: @escaping @Sendable (_ reason: String) -> Void, open: @escaping @Sendable (_ reason: String) -> Void
    ) {
        self.calmSeconds = calmSeconds
        self.sleep = sleep
        self.close = close
        self.open = open
    }

    /// How often each reason came.
    public var counts: [Interruption: Int] { lock.withLock { told } }

    /// A reason has come. Of memory: a warning; it is over by `ends`, or when there was no other for a while.
    public func begins(_ reason: Interruption) {
        lock.withLock {
            told[reason, default: 0] += 1
            if reasons.insert(reason).inserted { close(reason.rawValue) }
            if reason == .memory { expectCalm() }
        }
    }

    /// A reason has gone.
    public func ends(_ reason: Interruption) {
        lock.withLock {
            if reasons.remove(reason) != nil { open(reason.rawValue) }
        }
    }

    private func expectCalm() {
        warnings += 1
        let mine = warnings
        Task {
            await sleep(calmSeconds)
            if lock.withLock({ mine == warnings }) { ends(.memory) }
        }
    }
}

extension Interruptions {
    /// Of a run's pause.
    public convenience init(_ pause: Pause, calmSeconds: Double = 5) {
        self.init(calmSeconds: calmSeconds, close: { pause.close($0) }, open: { pause.open($0) })
    }
}
