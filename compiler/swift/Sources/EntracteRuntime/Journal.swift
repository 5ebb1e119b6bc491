import EntractePlan
import Foundation

/// The most memory that the process itself took, from whoever can measure it.
public protocol FootprintProbe: Sendable {
    /// Bytes that the process has now; nil where the system does not say.
    func bytes() -> Int?
}

/// What happened in a run, as it happens: the machine and the interpreter write here.
public final class Journal: MachineListener, @unchecked Sendable {
    private struct LastCall {
        let number: Int
        let ns: Int
        let switchNs: Int?
    }

    private struct Tally {
        var loads = 0
        var calls = 0
        var loadNs = 0
        var execNs = 0
    }

    private let lock = NSLock()
    private let units: [(chunk: Int, sizeBytes: Int)]
    private let chunks: [String]
    private let numbers: [String: Int]
    private let segments: [Segment]
    private let bases: [Int]
    private let begunNs = Journal.now()
    private let probe: (any FootprintProbe)?
    private let startFootprint: Int?

    private var tallies: [Tally]
    private var bars: [Bar] = []
    private var stages: [(name: String, ns: Int)] = []
    private var stageNumbers: [String: Int] = [:]
    private var iterations: [(String, Int)] = []
    private var notes: [String] = []
    private var outputs: [(String, Int)] = []
    private var keptBytes = 0
    private var stallNs = 0
    private var loadedBytes = 0
    private var unitBytes = 0
    private var runningBytes = 0
    private var peakBytes = 0
    private var footprintPeak = 0
    /// The step that was called last, how long, and how long its package took to be loaded again before it.
    private var lastCall = LastCall(number: -1, ns: 0, switchNs: nil)
    /// The last step whose call rested because a tensor said so.
    private var restedNumber = -1

    /// `units` are the table's: the chunk of each and its bytes. Numbers of chunks not in `packages` are
    /// refused by the table before.
    public init(_ plan: Plan, units: [(chunk: String, sizeBytes: Int)], probe: (any FootprintProbe)? = nil) {
        chunks = plan.packages.map(\.chunk)
        var numbers: [String: Int] = [:]
        for (n, chunk) in chunks.enumerated() { numbers[chunk] = n }
        self.numbers = numbers
        self.units = units.map { (numbers[$0.chunk] ?? -1, $0.sizeBytes) }
        segments = plan.program.segments
        var total = 0
        bases = plan.program.segments.map { segment in
            defer { total += segment.count * segment.steps.count }
            return total
        }
        tallies = [Tally](repeating: Tally(), count: chunks.count)
        self.probe = probe
        startFootprint = probe?.bytes()
    }

    /// Nanoseconds of a clock that only goes forward.
    public static func now() -> Int { Int(truncatingIfNeeded: DispatchTime.now().uptimeNanoseconds) }

    // MARK: - the machine's

    public func loaded(unit: Int, for step: Int, startNs: Int, endNs: Int) {
        look()
        lock.withLock {
            guard units.indices.contains(unit) else { return }
            let own = units[unit]
            loadedBytes += own.sizeBytes
            unitBytes += own.sizeBytes
            weigh()
            guard chunks.indices.contains(own.chunk) else { return }
            tallies[own.chunk].loads += 1
            tallies[own.chunk].loadNs += endNs - startNs
            bar("load", own.chunk, step, startNs, endNs, own.sizeBytes)
        }
    }

    public func freed(unit: Int, doing step: Int, atNs: Int) {
        lock.withLock {
            guard units.indices.contains(unit) else { return }
            let own = units[unit]
            unitBytes -= own.sizeBytes
            if chunks.indices.contains(own.chunk) { bar("free", own.chunk, step, atNs, atNs, own.sizeBytes) }
        }
    }

    public func waited(ns: Int) { lock.withLock { stallNs += ns } }

    public func stepped(_ number: Int, startNs: Int, endNs: Int) {
        lock.withLock {
            let (s, i, k) = place(number)
            guard segments.indices.contains(s), segments[s].steps.indices.contains(k) else { return }
            let step = segments[s].steps[k]
            if case .call(let call) = step, call.isCalled(i), number != restedNumber,
                let chunk = numbers[call.chunk]
            {
                let all = LastCall(number: number, ns: endNs - startNs, switchNs: nil)
                let own = lastCall.number == number ? lastCall : all
                let start = startNs + (own.switchNs ?? 0)
                if own.switchNs != nil { switched(chunk, number, startNs, start) }
                bar("compute", chunk, number, start, min(endNs, start + own.ns), 0)
            }
            if stageNumbers[step.stage] == nil {
                stageNumbers[step.stage] = stages.count
                stages.append((step.stage, 0))
            }
            if let own = stageNumbers[step.stage] { stages[own].ns += endNs - startNs }
        }
    }

    // MARK: - the interpreter's

    /// A slice of a call begins beside so many bytes of tensors.
    func slicing(heldBytes: Int) {
        look()
        lock.withLock {
            runningBytes = heldBytes
            weigh()
        }
    }

    /// One slice of a call is done.
    func sliced(_ chunk: String, ns: Int) {
        look()
        lock.withLock {
            runningBytes = 0
            guard let own = numbers[chunk] else { return }
            tallies[own].calls += 1
            tallies[own].execNs += ns
        }
    }

    /// All slices of a call are done; before it its package was loaded again, which took `switchNs`.
    func called(_ number: Int, ns: Int, switchNs: Int?) {
        lock.withLock { lastCall = LastCall(number: number, ns: ns, switchNs: switchNs) }
    }

    /// The call of a step rested, because a tensor said so.
    func rested(_ number: Int) { lock.withLock { restedNumber = number } }

    /// A loop that may end early did so many iterations.
    func ended(_ loop: String, _ done: Int) { lock.withLock { iterations.append((loop, done)) } }

    /// What a host step has to say; once, however often it says so.
    @Sendable func noted(_ text: String) {
        lock.withLock { if !notes.contains(text) { notes.append(text) } }
    }

    /// Output -> pieces that its writer took; and bytes of outputs that stay in memory.
    public func wrote(_ counts: [(output: String, pieces: Int)], keptBytes: Int) {
        lock.withLock {
            outputs = counts.map { ($0.output, $0.pieces) }
            self.keptBytes = keptBytes
        }
    }

    // MARK: - the record

    /// The record, when all is done; it is not yet of a plan (`RunRecord.signed`).
    public func run(device: String) -> RunRecord {
        let left = probe?.bytes()
        return lock.withLock {
            let footprint = startFootprint.map { max(0, footprintPeak - $0) }
            let kept = startFootprint.flatMap { start in left.map { max(0, $0 - start - keptBytes) } }
            return RunRecord(
                device: device,
                wallSeconds: seconds(Journal.now() - begunNs),
                peakBytes: peakBytes,
                stallSeconds: seconds(stallNs),
                loadedBytes: loadedBytes,
                chunks: zip(chunks, tallies).map {
                    ChunkRun(
                        chunk: $0, loads: $1.loads, calls: $1.calls, loadSeconds: seconds($1.loadNs),
                        execSeconds: seconds($1.execNs), peakActivationBytes: 0)
                },
                stageSeconds: stages.map { NamedSeconds(name: $0.name, seconds: seconds($0.ns)) },
                iterations: iterations.map { NamedCount(name: $0.0, count: $0.1) },
                bars: sortedBars(),
                anonymousPeakBytes: footprint,
                startBytes: kept,
                notes: notes,
                outputs: outputs.map { NamedCount(name: $0.0, count: $0.1) })
        }
    }

    // MARK: - with the lock

    private func weigh() { peakBytes = max(peakBytes, unitBytes + runningBytes) }

    /// A package was dropped and loaded again for another function.
    private func switched(_ chunk: Int, _ number: Int, _ start: Int, _ end: Int) {
        let size = units.reduce(0) { $0 + ($1.chunk == chunk ? $1.sizeBytes : 0) }
        tallies[chunk].loads += 1
        tallies[chunk].loadNs += end - start
        loadedBytes += size
        stallNs += end - start
        bar("free", chunk, number, start, start, size)
        bar("load", chunk, number, start, end, size)
    }

    private func look() {
        guard let bytes = probe?.bytes() else { return }
        lock.withLock { footprintPeak = max(footprintPeak, bytes) }
    }

    private func bar(_ queue: String, _ chunk: Int, _ number: Int, _ start: Int, _ end: Int, _ size: Int) {
        let (s, i, k) = place(number)
        bars.append(
            Bar(
                queue: queue, label: chunks[chunk], segment: s, iteration: i, step: k,
                startSeconds: seconds(start), endSeconds: seconds(end), sizeBytes: size))
    }

    /// By end; of equal ends as they were told.
    private func sortedBars() -> [Bar] {
        bars.enumerated().sorted { ($0.element.endSeconds, $0.offset) < ($1.element.endSeconds, $1.offset) }
            .map(\.element)
    }

    private func place(_ number: Int) -> (Int, Int, Int) {
        var low = 0, high = bases.count
        while low < high {
            let middle = (low + high) / 2
            if bases[middle] <= number { low = middle + 1 } else { high = middle }
        }
        let s = low - 1
        guard s >= 0, !segments[s].steps.isEmpty else { return (0, 0, 0) }
        let (i, k) = (number - bases[s]).quotientAndRemainder(dividingBy: segments[s].steps.count)
        // A load for no step of the program is told as one for its last.
        return i < segments[s].count ? (s, i, k) : (s, segments[s].count - 1, segments[s].steps.count - 1)
    }
}

private func seconds(_ ns: Int) -> Double { Double(ns) / 1e9 }
