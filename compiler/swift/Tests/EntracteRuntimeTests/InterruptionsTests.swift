import EntracteRuntime
import Testing

private actor Log {
    private(set) var lines: [String] = []
    func add(_ line: String) { lines.append(line) }
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
        calmSeconds: 5, sleep: { _ in await alarm.sleep() }, close: { await log.add("close \($0.rawValue)") },
        open: { await log.add("open") })
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
    @Test func openOnlyWhenNoReasonIsLeft() async {
        let log = Log(), alarm = Alarm()
        let one = made(log, alarm)
        await one.ends(.background)
        await one.begins(.background)
        await one.begins(.memory)
        await one.ends(.background)
        #expect(await log.lines == ["close background"])
        await one.ends(.memory)
        #expect(await log.lines == ["close background", "open"])
        #expect(await one.counts == [.background: 1, .memory: 1])
        #expect(await until { await alarm.count == 1 })
        await alarm.ring(0)
    }

    @Test func aWarningIsOverAfterTheLastOne() async {
        let log = Log(), alarm = Alarm()
        let one = made(log, alarm)
        await one.begins(.memory)
        #expect(await until { await alarm.count == 1 })
        await one.begins(.memory)
        #expect(await until { await alarm.count == 2 })
        // The first one's time has passed, but there was another since.
        await alarm.ring(0)
        for _ in 0..<100 { await Task.yield() }
        #expect(await log.lines == ["close memory"])
        await alarm.ring(1)
        #expect(await until { await log.lines.count == 2 })
        #expect(await log.lines == ["close memory", "open"])
    }
}
