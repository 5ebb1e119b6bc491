@testable import EntracteRuntime
import EntractePlan
import Foundation
import Testing

/// A process whose memory comes back by a rule, in a time that only sleeping moves.
private final class FakeProcess: @unchecked Sendable {
    private let lock = NSLock()
    private var ns = 0
    private let footprint: @Sendable (Int) -> Int?

    init(_ footprint: @escaping @Sendable (_ ns: Int) -> Int?) { self.footprint = footprint }

    var now: Int { lock.withLock { ns } }

    var world: SettleWorld {
        SettleWorld(
            footprintBytes: { self.footprint(self.now) }, nowNs: { self.now },
            sleep: { seconds in self.lock.withLock { self.ns += Int(seconds * 1e9) } })
    }
}

@Suite struct SettleTests {
    @Test func nothingFreedIsNoWait() async {
        let world = FakeProcess { _ in 1000 }
        let settle = Settle(world.world)
        await settle.wait()
        #expect(world.now == 0)
        #expect(await settle.records == [])
    }

    @Test func itWaitsUntilMostIsBack() async throws {
        // 1000 B, of which 400 come back in 0.5 s, 10 B every 12.5 ms.
        let world = FakeProcess { ns in 1000 - min(400, ns / 1_250_000) }
        let settle = Settle(world.world, options: SettleOptions(share: 0.75, longestSeconds: 2, pollSeconds: 0.01))
        await settle.frees("a", addedBytes: 400)
        await settle.wait()
        let record = try #require(await settle.records.first)
        #expect(record.chunks == ["a"] && record.expectedBytes == 400 && !record.isLate)
        #expect(record.returnedBytes >= 300 && record.returnedBytes < 310)
        #expect(record.seconds >= 0.375 && record.seconds < 0.39)
        let before = world.now
        await settle.wait()
        #expect(world.now == before)
    }

    @Test func itEndsWhenTheLongestTimeHasPassed() async throws {
        let world = FakeProcess { _ in 1000 }
        let settle = Settle(world.world, options: SettleOptions(share: 0.8, longestSeconds: 0.5, pollSeconds: 0.1))
        await settle.frees("a", addedBytes: 400)
        await settle.frees("b", addedBytes: 100)
        await settle.wait()
        let record = try #require(await settle.records.first)
        #expect(record.chunks == ["a", "b"] && record.expectedBytes == 500 && record.isLate)
        #expect(abs(record.seconds - 0.5) < 0.101)
    }

    /// Sleeping would end at once: the wait would be a loop without rest.
    @Test func aCancelledTaskDoesNotWait() async {
        let world = FakeProcess { _ in 1000 }
        let settle = Settle(world.world)
        await settle.frees("a", addedBytes: 400)
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            await settle.wait()
        }
        await task.value
        #expect(world.now == 0)
    }

    @Test func mappedWeightsAreNotWaitedFor() async {
        let world = FakeProcess { _ in 1000 }
        let settle = Settle(world.world)
        await settle.frees("a", addedBytes: 0)
        await settle.wait()
        #expect(world.now == 0)
    }
}

@Suite struct BudgetTests {
    @Test func theSmallerLimitCounts() {
        #expect(MemoryReading(footprintBytes: 100, availableBytes: 900, workingSetBytes: 2000).limitBytes == 1000)
        #expect(MemoryReading(footprintBytes: 100, availableBytes: 900, workingSetBytes: 700).limitBytes == 700)
        #expect(MemoryReading(footprintBytes: 100, availableBytes: 900, workingSetBytes: 700).freeBytes == 600)
        #expect(MemoryReading(footprintBytes: nil, availableBytes: nil, workingSetBytes: nil).limitBytes == nil)
        #expect(
            MemoryReading(footprintBytes: 9, availableBytes: .max, workingSetBytes: nil).limitBytes == .max)
    }

    @Test func whatCannotFitIsRefusedWithNumbers() throws {
        let mib = 1 << 20
        let reading = MemoryReading(footprintBytes: 60 * mib, availableBytes: 3000 * mib, workingSetBytes: 5000 * mib)
        #expect(reading.refusal(claimBytes: 3000 * mib, baseBytes: 20 * mib, what: "p") == nil)
        let fault = try #require(reading.refusal(claimBytes: 3000 * mib + 1, baseBytes: 20 * mib, what: "p"))
        #expect(fault.kind == .run)
        for part in ["p: ", "60.0 MiB in use", "2.9 GiB available", "extended-virtual-addressing", "1 B too much"] {
            #expect(fault.message.contains(part), "\(part)")
        }
        #expect(reading.refusal(claimBytes: .max, baseBytes: 1, what: "p") != nil)
        let silent = MemoryReading(footprintBytes: 5, availableBytes: nil, workingSetBytes: nil)
        #expect(silent.refusal(claimBytes: .max, baseBytes: 0, what: "p") == nil)
    }
}
