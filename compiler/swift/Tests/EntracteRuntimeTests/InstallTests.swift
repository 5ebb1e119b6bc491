@testable import EntractePlan
@testable import EntracteRuntime
import Foundation
import Testing

/// A compiler that writes files, and does at each phase what a test says.
private final class FakeCompiler: PackageCompiler, @unchecked Sendable {
    enum Act { case works, fails }

    let work: URL
    private let lock = NSLock()
    private var log: [String] = []
    private let act: @Sendable (String) throws -> Act

    init(_ work: URL, act: @escaping @Sendable (String) throws -> Act = { _ in .works }) {
        self.work = work
        self.act = act
    }

    var did: [String] { lock.withLock { log } }

    private func note(_ what: String) throws {
        lock.withLock { log.append(what) }
        if try act(what) == .fails { throw Fault.run("the fake fails at \(what)") }
    }

    func check(_ package: Package, in folder: URL) throws { try note("check \(package.chunk)") }

    func compile(_ package: Package, in folder: URL) async throws -> URL {
        try note("compile \(package.chunk)")
        let made = work.appendingPathComponent("compiled-\(UUID().uuidString).mlmodelc", isDirectory: true)
        try FileManager.default.createDirectory(
            at: made.appendingPathComponent("weights"), withIntermediateDirectories: true)
        try Data(package.chunk.utf8).write(to: made.appendingPathComponent("model.mil"))
        try Data(count: 1000).write(to: made.appendingPathComponent("weights/weight.bin"))
        return made
    }

    func probe(
        _ compiled: URL, _ package: Package, in folder: URL, function: String, unit: ComputeUnit,
        phase: @Sendable (InstallPhase) throws -> Void
    ) async throws -> ProbeTimes {
        try phase(.load)
        try note("load \(package.chunk) \(function) \(unit.rawValue)")
        try phase(.probe)
        try note("probe \(package.chunk) \(function) \(unit.rawValue)")
        return ProbeTimes(function: function, loadSeconds: 2, callSeconds: 1)
    }
}

/// The state of the disk at one moment, which is what the next process finds when this one ends there.
private final class Snapshot: @unchecked Sendable {
    let from: URL
    let to: URL

    init(_ from: URL, _ to: URL) {
        self.from = from
        self.to = to
    }

    func take() throws { try FileManager.default.copyItem(at: from, to: to) }
}

private let system = SystemIdentity(os: "22A3354", device: "iPhone16,1")
private let digestA = String(repeating: "0a", count: 32)
private let digestB = String(repeating: "0b", count: 32)

private func package(_ chunk: String, _ digest: String, _ bytes: Int, _ functions: [String] = ["main"]) -> Package {
    Package(
        chunk: chunk, path: "packages/\(chunk).mlpackage", digest: digest, fileBytes: bytes, weightBytes: bytes,
        activationBytes: 0, precision: "fp16", compression: "none", inputs: [], outputs: [], psnrDb: nil,
        functions: functions, ownPorts: [], arrays: nil)
}

private func temporary() throws -> URL {
    let place = FileManager.default.temporaryDirectory.appendingPathComponent(
        "entracte-\(UUID().uuidString)", isDirectory: true)
    try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
    return place
}

/// Of a process that is over: no system gives so high a number.
private func dead() -> ProcessIdentity { ProcessIdentity(pid: 2_000_000_000, start: UUID().uuidString) }

private func installer(
    _ compiler: FakeCompiler, _ folder: URL, _ system: SystemIdentity = system,
    _ process: ProcessIdentity = dead(), mayFallBack: Bool = true
) throws -> (Installer, CompiledCache, InstallLog) {
    let cache = try CompiledCache(folder: folder, system: system, process: process)
    let log = try InstallLog(cache, process: process)
    return (Installer(compiler, cache: cache, log: log, mayFallBack: mayFallBack), cache, log)
}

@Suite final class InstallTests {
    let root: URL
    var store: URL { root.appendingPathComponent("cache", isDirectory: true) }

    init() throws { root = try temporary() }

    deinit { try? FileManager.default.removeItem(at: root) }

    @Test func smallestFirstAndNothingTwice() async throws {
        let compiler = FakeCompiler(root)
        let packages = [package("big", digestA, 2000, ["main", "other"]), package("small", digestB, 10)]
        let (first, cache, _) = try installer(compiler, store)
        let done = try await first.install(packages, in: root) { _ in .all }
        #expect(
            compiler.did == [
                "check small", "compile small", "load small main all", "probe small main all",
                "check big", "compile big", "load big main all", "probe big main all",
                "load big other all", "probe big other all",
            ])
        #expect(done.map(\.chunk) == ["big", "small"])
        #expect(done[0].times.map(\.function) == ["main", "other"])
        #expect(cache.find(digestA) == done[0].compiled)
        let again = FakeCompiler(root)
        let (second, _, _) = try installer(again, store)
        #expect(try await second.install(packages, in: root) { _ in .all } == done)
        #expect(again.did == [])
    }

    /// Chunks that share a graph have packages of one digest; on another unit it is tried again.
    @Test func aSharedGraphIsInstalledOnce() async throws {
        let compiler = FakeCompiler(root)
        let packages = [package("a", digestA, 10), package("b", digestA, 10), package("c", digestA, 10)]
        let (installer, _, _) = try installer(compiler, store)
        let done = try await installer.install(packages, in: root) { $0 == "c" ? .cpuOnly : .all }
        #expect(
            compiler.did == [
                "check a", "compile a", "load a main all", "probe a main all", "load c main cpuOnly",
                "probe c main cpuOnly",
            ])
        #expect(done.map(\.chunk) == ["a", "b", "c"] && done.map(\.unit) == [.all, .all, .cpuOnly])
        #expect(Set(done.map(\.compiled)).count == 1)
    }

    @Test func anotherSystemOrDigestCompilesAnew() async throws {
        let (first, cache, _) = try installer(FakeCompiler(root), store)
        _ = try await first.install([package("a", digestA, 10)], in: root) { _ in .all }
        #expect(cache.find(digestB) == nil)
        for other in [
            SystemIdentity(os: "22B83", device: system.device), SystemIdentity(os: system.os, device: "iPhone17,1"),
        ] {
            let compiler = FakeCompiler(root)
            let (next, _, _) = try installer(compiler, store, other)
            _ = try await next.install([package("a", digestA, 10)], in: root) { _ in .all }
            #expect(compiler.did.first == "check a" && compiler.did.count == 4)
        }
        try cache.purge(allBut: [digestA])
        #expect(cache.find(digestA) != nil)
        #expect(try FileManager.default.contentsOfDirectory(atPath: store.path).count { !$0.hasPrefix(".") } == 1)
        try cache.purge()
        #expect(cache.find(digestA) == nil)
    }

    @Test func anEntryThatIsNotWholeIsNotUsed() async throws {
        let (first, cache, _) = try installer(FakeCompiler(root), store)
        let done = try await first.install([package("a", digestA, 10)], in: root) { _ in .all }
        let weights = done[0].compiled.appendingPathComponent("weights/weight.bin")
        try Data(count: 999).write(to: weights)
        #expect(cache.find(digestA) == nil)
        let compiler = FakeCompiler(root)
        let (next, other, _) = try installer(compiler, store)
        _ = try await next.install([package("a", digestA, 10)], in: root) { _ in .all }
        #expect(compiler.did.contains("compile a"))
        #expect(other.find(digestA) != nil)
        // A seal of another digest in the entry's place.
        let seal = done[0].compiled.deletingLastPathComponent().appendingPathComponent("seal.json")
        let text = String(decoding: try Data(contentsOf: seal), as: UTF8.self)
        try Data(text.replacingOccurrences(of: digestA, with: digestB).utf8).write(to: seal)
        #expect(cache.find(digestA) == nil)
    }

    @Test func whatAProcessLeftHalfMadeGoes() throws {
        let half = store.appendingPathComponent(".making-2000000000-X", isDirectory: true)
        try FileManager.default.createDirectory(at: half, withIntermediateDirectories: true)
        let alive = store.appendingPathComponent(
            ".making-\(ProcessInfo.processInfo.processIdentifier)-X", isDirectory: true)
        try FileManager.default.createDirectory(at: alive, withIntermediateDirectories: true)
        _ = try CompiledCache(folder: store, system: system, process: dead())
        #expect(!FileManager.default.fileExists(atPath: half.path))
        #expect(FileManager.default.fileExists(atPath: alive.path))
    }

    @Test func aProcessThatEndsNamesItsChunk() async throws {
        let next = root.appendingPathComponent("next", isDirectory: true)
        let snapshot = Snapshot(store, next)
        let compiler = FakeCompiler(root) { what in
            if what == "probe a main all" { try snapshot.take() }
            return .works
        }
        let (first, _, _) = try installer(compiler, store)
        _ = try await first.install([package("a", digestA, 10)], in: root) { _ in .all }
        // The next process finds the disk as it was during the probe.
        let (_, cache, log) = try installer(FakeCompiler(root), next)
        let found = try log.takeLeftovers()
        #expect(found.map(\.chunk) == ["a"] && found.map(\.phase) == [.probe] && found.map(\.unit) == [.all])
        #expect(try log.takeLeftovers() == [])
        #expect(log.outcome("a", digestA).ends(on: .all) == 1)
        // It was compiled before: that is not done again; and once is no reason to leave the unit.
        #expect(cache.find(digestA) != nil)
        let second = FakeCompiler(root)
        let (again, _, _) = try installer(second, next)
        let done = try await again.install([package("a", digestA, 10)], in: root) { _ in .all }
        #expect(second.did == ["load a main all", "probe a main all"])
        #expect(done[0].unit == .all && done[0].why == "")
    }

    @Test func twoEndsAndItRunsOnAnotherUnitOrSaysSo() async throws {
        var place = store
        for turn in 0..<2 {
            let next = root.appendingPathComponent("after\(turn)", isDirectory: true)
            let snapshot = Snapshot(place, next)
            let compiler = FakeCompiler(root) { what in
                if what == "load a main all" { try snapshot.take() }
                return .works
            }
            let (one, _, _) = try installer(compiler, place)
            _ = try await one.install([package("a", digestA, 10)], in: root) { _ in .all }
            place = next
        }
        let (strict, _, _) = try installer(FakeCompiler(root), place, mayFallBack: false)
        do {
            _ = try await strict.install([package("a", digestA, 10)], in: root) { _ in .all }
            Issue.record("it must not fall back")
        } catch let fault as Fault {
            #expect(fault.message.contains("package a") && fault.message.contains("cpuAndGPU or cpuOnly may work"))
        }
        let compiler = FakeCompiler(root)
        let (free, _, log) = try installer(compiler, place)
        let done = try await free.install([package("a", digestA, 10)], in: root) { _ in .all }
        #expect(compiler.did == ["load a main cpuAndGPU", "probe a main cpuAndGPU"])
        #expect(done[0].unit == .cpuAndGPU && done[0].asked == .all)
        #expect(done[0].why == "all: the process ended 2 times")
        #expect(try await free.install([package("a", digestA, 10)], in: root) { _ in .all } == done)
        try log.forget(digestA)
        _ = try await free.install([package("a", digestA, 10)], in: root) { _ in .all }
        #expect(compiler.did.last == "probe a main all")
    }

    @Test func anErrorTriesTheNextUnitAndIsTold() async throws {
        let compiler = FakeCompiler(root) { $0.hasSuffix(" cpuOnly") ? .works : .fails }
        let cache = try CompiledCache(folder: store, system: system)
        let log = try InstallLog(cache)
        _ = try cache.keep(try await FakeCompiler(root).compile(package("a", digestA, 10), in: root), digest: digestA)
        let free = Installer(compiler, cache: cache, log: log)
        let done = try await free.install([package("a", digestA, 10)], in: root) { _ in .cpuAndNeuralEngine }
        #expect(done[0].unit == .cpuOnly)
        #expect(done[0].why.contains("cpuAndGPU: the fake fails at load a main cpuAndGPU"))
        #expect(try log.takeLeftovers() == [])
        let none = Installer(FakeCompiler(root) { _ in .fails }, cache: cache, log: log)
        await #expect(throws: Fault.self) {
            try await none.install([package("a", digestA, 10)], in: root) { _ in .cpuAndGPU }
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: store.path + "/.marks") == [])
    }

    /// In the background the system refuses work on the GPU: that says nothing of the package or the unit.
    @Test func whatFailsInTheBackgroundIsDoneAgain() async throws {
        let pause = Pause(), turns = Told()
        let compiler = FakeCompiler(root) { what in
            guard what == "probe a main all", turns.all.isEmpty else { return .works }
            turns.add(InstallProgress(
                chunk: "a", phase: .probe, unit: .all, done: 0, count: 1, doneBytes: 0, totalBytes: 0))
            pause.close("background")
            Task {
                // Open again when somebody waits for it.
                for _ in 0..<1_000_000 where pause.isIdle { await Task.yield() }
                pause.open("background")
            }
            return .fails
        }
        let cache = try CompiledCache(folder: store, system: system)
        let one = Installer(compiler, cache: cache, log: try InstallLog(cache), pause: pause)
        let done = try await one.install([package("a", digestA, 10)], in: root) { _ in .all }
        #expect(done[0].unit == .all && done[0].why == "")
        let tried = ["load a main all", "probe a main all"]
        #expect(compiler.did == ["check a", "compile a"] + tried + tried)
    }

    @Test func nothingBeginsInTheBackground() async throws {
        let pause = Pause(), compiler = FakeCompiler(root)
        pause.close()
        let cache = try CompiledCache(folder: store, system: system)
        let one = Installer(compiler, cache: cache, log: try InstallLog(cache), pause: pause)
        let place = root
        let task = Task { try await one.install([package("a", digestA, 10)], in: place) { _ in .all } }
        for _ in 0..<1_000_000 where pause.isIdle { await Task.yield() }
        #expect(compiler.did == [])
        pause.open()
        #expect(try await task.value.count == 1)
    }

    @Test func aMarkIsThereWhileSomethingIsUnderWay() async throws {
        let marks = store.appendingPathComponent(".marks").path
        let compiler = FakeCompiler(root) { what in
            let names = try FileManager.default.contentsOfDirectory(atPath: marks)
            #expect(names.count == (what.hasPrefix("check") ? 0 : 1), "\(what)")
            return .works
        }
        let process = ProcessIdentity.current
        let (one, _, log) = try installer(compiler, store, system, process)
        _ = try await one.install([package("a", digestA, 10)], in: root) { _ in .all }
        #expect(compiler.did.count == 4)
        #expect(try log.takeLeftovers() == [])
    }

    @Test func aMarkOfAProcessThatLivesIsLeftAlone() async throws {
        let cache = try CompiledCache(folder: store, system: system)
        let reader = try InstallLog(cache, process: ProcessIdentity(pid: 2_000_000_001, start: "other"))
        let compiler = FakeCompiler(root) { what in
            let found = what.hasPrefix("probe") ? try reader.takeLeftovers() : []
            #expect(found == [])
            return .works
        }
        let (one, _, log) = try installer(compiler, store, system, .current)
        _ = try await one.install([package("a", digestA, 10)], in: root) { _ in .all }
        #expect(log.outcome("a", digestA).ended == [:])
    }

    /// Two systems whose names give one name of an entry.
    @Test func anEntryOfAnotherSystemInItsPlaceIsNotUsed() async throws {
        let (one, cache, log) = try installer(FakeCompiler(root), store)
        let done = try await one.install([package("a", digestA, 10)], in: root) { _ in .all }
        let outcome = store.appendingPathComponent(".outcomes/\(try cache.name(digestA)).json")
        let seal = done[0].compiled.deletingLastPathComponent().appendingPathComponent("seal.json")
        #expect(log.outcome("a", digestA).works == ["all": .all])
        for place in [outcome, seal] {
            let text = String(decoding: try Data(contentsOf: place), as: UTF8.self)
            try Data(text.replacingOccurrences(of: system.os, with: "1A1").utf8).write(to: place)
        }
        #expect(log.outcome("a", digestA).works == [:])
        #expect(cache.find(digestA) == nil)
    }

    @Test func aDigestThatIsNoneIsRefused() throws {
        let cache = try CompiledCache(folder: store, system: system)
        for digest in ["", "../../x", String(repeating: "A", count: 64), digestA + "0"] {
            #expect(throws: Fault.self) { try cache.name(digest) }
            #expect(cache.find(digest) == nil)
        }
    }

    @Test func progressCountsPackagesAndBytes() async throws {
        let told = Told()
        let cache = try CompiledCache(folder: store, system: system)
        let one = Installer(
            FakeCompiler(root), cache: cache, log: try InstallLog(cache), progress: { told.add($0) })
        _ = try await one.install([package("a", digestA, 30), package("b", digestB, 10)], in: root) { _ in .all }
        #expect(told.all.map(\.phase) == [.check, .compile, .load, .probe, .check, .compile, .load, .probe])
        #expect(told.all.map(\.doneBytes) == [0, 0, 0, 0, 10, 10, 10, 10])
        #expect(told.all.allSatisfy { $0.count == 2 && $0.totalBytes == 40 })
    }
}

private final class Told: @unchecked Sendable {
    private let lock = NSLock()
    private var list: [InstallProgress] = []
    func add(_ one: InstallProgress) { lock.withLock { list.append(one) } }
    var all: [InstallProgress] { lock.withLock { list } }
}
