import Foundation

/// A gate that holds a machine up between steps: closed by memory warnings and while an app is in the
/// background. While it is closed the machine starts no step and no load; what runs ends as usual.
///
/// Closing and opening take effect at once, in the order of the calls, from any thread (an actor's calls
/// from callbacks could be carried out in another order). Closed for several reasons it opens when the last
/// one is gone.
public final class Pause: @unchecked Sendable {
    private let lock = NSLock()
    private var reasons: Set<String> = []
    private var closings = 0
    private var waiting: [ObjectIdentifier: Waiter] = [:]

    public init() {}

    public var isClosed: Bool { lock.withLock { !reasons.isEmpty } }

    /// Nobody waits for it.
    var isIdle: Bool { lock.withLock { waiting.isEmpty } }

    public func close(_ reason: String = "") {
        lock.withLock { if reasons.insert(reason).inserted { closings += 1 } }
    }

    public func open(_ reason: String = "") {
        let woken: [Waiter] = lock.withLock {
            reasons.remove(reason)
            return reasons.isEmpty ? Array(waiting.values) : []
        }
        for waiter in woken { waiter.release() }
    }

    /// One who waits for it to open.
    func waiter() -> Waiter { Waiter(self) }

    /// Until it is open, or the task is cancelled.
    public func untilOpen() async { await waiter().untilOpen() }

    private static let mostAgain = 5

    /// Do what the system may refuse while this is closed, such as work on the GPU in the background: what
    /// failed and saw this closed is done again when it is open, a few times. Other errors are the caller's,
    /// and so is `CancellationError`.
    public func again<T: Sendable>(
        isolation: isolated (any Actor)? = #isolation, _ work: () async throws -> T
    ) async throws -> T {
        for _ in 0..<Self.mostAgain {
            let (before, wasClosed) = lock.withLock { (closings, !reasons.isEmpty) }
            do {
                return try await work()
            } catch let error where !(error is CancellationError) {
                guard wasClosed || lock.withLock({ closings != before }) else { throw error }
                await untilOpen()
                try Task.checkCancellation()
            }
        }
        return try await work()
    }

    /// Waits once.
    final class Waiter: @unchecked Sendable {
        private let pause: Pause
        /// Both under the pause's lock.
        private var isReleased = false
        private var continuation: CheckedContinuation<Void, Never>?

        init(_ pause: Pause) { self.pause = pause }

        /// Until it is open, or `release` was called, or the task is cancelled.
        func untilOpen() async {
            await withTaskCancellationHandler {
                await withCheckedContinuation { continuation in
                    let waits = pause.lock.withLock {
                        if pause.reasons.isEmpty || isReleased { return false }
                        self.continuation = continuation
                        pause.waiting[ObjectIdentifier(self)] = self
                        return true
                    }
                    if !waits { continuation.resume() }
                }
            } onCancel: {
                release()
            }
        }

        /// Wait no longer, whether it opens or not.
        func release() {
            let woken = pause.lock.withLock {
                isReleased = true
                pause.waiting[ObjectIdentifier(self)] = nil
                defer { continuation = nil }
                return continuation
            }
            woken?.resume()
        }
    }
}
