import EntractePlan
import EntracteRuntime

/// One file, of one output, or of several where its format holds them. It is whole or not there.
///
/// Whatever its writer has against an output, the run goes on, and what was computed is kept.
public actor FileSink {
    /// As the user named it.
    public nonisolated let path: String
    /// The outputs that it takes.
    public nonisolated let outputs: [String]
    /// Why it is not written; empty: it is.
    public private(set) var fault = ""
    private let format: Format
    private let made: [Made]
    private let aside: Aside
    private var spools: [(name: String, spool: Spool)] = []
    private var writer: (any Writer)?
    private var isDone = false

    init(_ path: String, _ format: Format, _ made: [Made]) {
        self.path = path
        self.format = format
        self.made = made
        outputs = made.map(\.output.name)
        aside = Aside(path)
    }

    /// Open it. `comment`: what it says of how it was made, in ASCII. Throws `Fault` where it cannot be written
    /// at all.
    public func begin(_ comment: String = "") async throws {
        spools = made.map { one in
            (one.output.name, Spool(aside.final, axis: format.grain == .plain ? one.output.axis : 0))
        }
        do {
            writer = try await format.open(made, comment, aside.path)
        } catch {
            await abandon()
            throw told(error)
        }
    }

    /// What takes an output's pieces into this file; nil where it is another's.
    public nonisolated func sink(of output: String) -> (any Sink)? {
        outputs.contains(output) ? OutputSink(file: self, output: output) : nil
    }

    func take(_ name: String, _ piece: Tensor) async throws {
        guard let output = made.first(where: { $0.output.name == name })?.output,
            let spool = spools.first(where: { $0.name == name })?.spool
        else { return }
        do {
            let grains = try Grains(format.grain, output, piece)
            for k in 0..<grains.count {
                let grain = grains[k]
                spool.append(grain)
                await write(grain)
            }
        } catch {
            await fail(error)
        }
    }

    private func write(_ grain: Grain) async {
        guard fault.isEmpty, let writer else { return }
        do { try await writer.take(grain) } catch { await fail(error) }
    }

    /// All came: the file takes its place. What could not be written is kept, and `fault` says where.
    public func finish() async {
        guard !isDone else { return }
        if fault.isEmpty, let writer {
            do {
                try await writer.finish(spools)
                try aside.keep()
            } catch { await fail(error) }
        }
        isDone = true
        if !fault.isEmpty { fault = kept(fault) }
        spools = []
    }

    /// The run failed: nothing stays.
    public func abandon() async {
        guard !isDone else { return }
        isDone = true
        await writer?.abandon()
        writer = nil
        aside.drop()
        spools = []
    }

    private func fail(_ error: any Error) async {
        guard fault.isEmpty else { return }
        fault = told(error).message
        await writer?.abandon()
        writer = nil
        aside.drop()
    }

    private func told(_ error: any Error) -> Fault {
        switch error {
        case let fault as Fault: fault
        case let fault as SystemFault: aside.written(fault)
        case let fault as MediaFault: .run("\(path): \(fault.message); give a file that ends in .npy")
        default:
            .run("\(path): cannot be encoded (\(String("\(error)".prefix(200)))); give a file that ends in .npy")
        }
    }

    private func kept(_ fault: String) -> String {
        let isTensor = format.called == "tensor"
        let kept = spools.compactMap { $0.spool.keep(aside.final) }
        guard kept.count == spools.count else {
            return "\(fault); nor could its \(format.called) be kept: \(isTensor ? "it is" : "they are") lost"
        }
        let verb = isTensor && kept.count == 1 ? "is" : "are"
        return "\(fault); its \(format.called) \(verb) kept in \(kept.joined(separator: ", ")) (`numpy.load`)"
    }
}

/// One output of a file.
struct OutputSink: Sink {
    let file: FileSink
    let output: String

    func take(_ piece: Tensor) async throws { try await file.take(output, piece) }
}
