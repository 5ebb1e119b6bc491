@testable import EntracteRuntime
import Foundation
import Testing

private final class Log: @unchecked Sendable {
    private let lock = NSLock()
    private var list: [String] = []
    var lines: [String] { lock.withLock { list } }
    func add(_ line: String) { lock.withLock { list.append(line) } }
}

/// A sleep that ends when the test says so.
private actor Alarm {
    private var sleepers: [CheckedContinuation<Void, Never>] = []
    var count: Int { sleepers.count }
    func sleep() async { await withCheckedContinuation { sleepers.append($0) } }
    func ring(_ which: Int) { sleepers[which].resume() }
}

private func made(_ log: Log, _ alarm: Alarm) -> Interruptions {
    Interruptions(
        calmSeconds: 5, sleep: { _ in await alarm.sleep() }, close: { log.add("close \($0)") },
        open: { log.add("open \($0)") })
}

/// Lets other tasks run until something is so; gives up after many turns.
private func until(_ holds: () async -> Bool) async -> Bool {
    for _ in 0..<100_000 {
        if await holds() { return true }
        await Task.yield()
    }
    return false
}

@Suite struct InterruptionsTests {
    @Test func eachReasonOnceAndInOrder() async {
        let log = Log(), alarm = Alarm()
        let one = made(log, alarm)
        one.ends(.background)
        one.begins(.background)
        one.begins(.background)
        one.begins(.memory)
        one.ends(.background)
        one.ends(.memory)
        #expect(log.lines == ["close background", "close memory", "open background", "open memory"])
        #expect(one.counts == [.background: 2, .memory: 1])
        #expect(await until { await alarm.count == 1 })
        await alarm.ring(0)
    }

    @Test func aWarningIsOverAfterTheLastOne() async {
        let log = Log(), alarm = Alarm()
        let one = made(log, alarm)
        one.begins(.memory)
        #expect(await until { await alarm.count == 1 })
        one.begins(.memory)
        #expect(await until { await alarm.count == 2 })
        // The first one's time has passed, but there was another since.
        await alarm.ring(0)
        for _ in 0..<100 { await Task.yield() }
        #expect(log.lines == ["close memory"])
        await alarm.ring(1)
        #expect(await until { log.lines.count == 2 })
        #expect(log.lines == ["close memory", "open memory"])
    }
}

/// What fails now and then.
private struct Refused: Error {}

@Suite struct AgainTests {
    @Test func anErrorInFrontIsTheCallers() async {
        let pause = Pause(), log = Log()
        await #expect(throws: Refused.self) {
            try await pause.again {
                log.add("tried")
                throw Refused()
            }
        }
        #expect(log.lines.count == 1)
    }

    @Test func whatSawItClosedIsTriedAgain() async throws {
        let pause = Pause(), log = Log()
        let made = try await pause.again {
            log.add("tried")
            if log.lines.count > 2 { return 7 }
            // Closed and open again within the work: that is enough to be refused.
            pause.close()
            pause.open()
            throw Refused()
        }
        #expect(made == 7 && log.lines.count == 3)
    }

    @Test func itGivesUpAndItIsCancelled() async {
        let pause = Pause(), log = Log()
        await #expect(throws: Refused.self) {
            try await pause.again {
                log.add("tried")
                pause.close()
                pause.open()
                throw Refused()
            }
        }
        #expect(log.lines.count == 6)
        pause.close()
        let task = Task { try await pause.again { throw Refused() } }
        for _ in 0..<1_000_000 where pause.isIdle { await Task.yield() }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
    }
}
