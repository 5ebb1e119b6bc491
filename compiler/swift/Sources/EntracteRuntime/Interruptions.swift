import Foundation

/// Why a run waits at the end of a step.
public enum Interruption: String, Sendable, CaseIterable {
    /// The app is not in front: the system refuses its work on the GPU.
    case background
    /// The system is short of memory.
    case memory
}

/// Closes a run's pause while there is a reason to, and opens it when the last one has gone.
///
/// A shortage of memory has gone when the system says so, or so long after its last warning that none is to
/// be expected: not all systems say when it is over.
public actor Interruptions {
    private let calmSeconds: Double
    private let sleep: @Sendable (_ seconds: Double) async -> Void
    private let close: @Sendable (Interruption) async -> Void
    private let open: @Sendable () async -> Void
    private var reasons: Set<Interruption> = []
    private var warnings = 0
    /// How often each reason came.
    public private(set) var counts: [Interruption: Int] = [:]

    /// `close` is called when the first reason comes, `open` when none is left.
    public init(
        calmSeconds: Double = 5,
        sleep: @escaping @Sendable (_ seconds: Double) async -> Void = {
            try? await Task.sleep(nanoseconds: UInt64(max(0, $0) * 1e9))
        },
        close: @escaping @Sendable (Interruption) async -> Void, open: @escaping @Sendable () async -> Void
    ) {
        self.calmSeconds = calmSeconds
        self.sleep = sleep
        self.close = close
        self.open = open
    }

    /// A reason has come. Of memory: a warning; it is over by `ends`, or when there was no other for a while.
    public func begins(_ reason: Interruption) async {
        counts[reason, default: 0] += 1
        let isFirst = reasons.isEmpty
        reasons.insert(reason)
        if reason == .memory { expectCalm() }
        if isFirst { await close(reason) }
    }

    /// A reason has gone.
    public func ends(_ reason: Interruption) async {
        guard reasons.remove(reason) != nil, reasons.isEmpty else { return }
        await open()
    }

    private func expectCalm() {
        warnings += 1
        let mine = warnings
        Task {
            await sleep(calmSeconds)
            await calmed(mine)
        }
    }

    private func calmed(_ warning: Int) async {
        if warning == warnings { await ends(.memory) }
    }
}
