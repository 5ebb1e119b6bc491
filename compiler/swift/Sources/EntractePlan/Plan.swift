// What is decided, emitted and promised: field for field the dataclasses of `compiler/entracte/ir.py`.

public struct Work: Equatable, Sendable {
    public let kind: String
    public let flops: Int
    public let movedBytes: Int
}

public struct Variant: Equatable, Sendable {
    public let name: String
    public let start: Int
    public let stop: Int
    public let activationBytes: Int
    public let flops: Int
    public let movedBytes: Int
    public let work: [Work]
    public let graph: String
    public let inputs: [Port]
    public let outputs: [Port]
}

public struct Chunk: Equatable, Sendable {
    public let id: String
    public let graph: String
    public let start: Int
    public let stop: Int
    public let inputs: [Port]
    public let outputs: [Port]
    public let weightBytes: Int
    public let activationBytes: Int
    public let flops: Int
    public let movedBytes: Int
    public let variants: [Variant]
    public let work: [Work]
    /// What it runs on: `cpuOnly`, `cpuAndGPU`, `cpuAndNeuralEngine`, `all`; empty: as the target says.
    public let computeUnit: String
    /// Whose weights it holds, as the checkpoint names them: for people.
    public let modules: [String]
    /// The first chunk that computes the same with other weights: one graph serves them all and takes their
    /// weights as inputs. Empty: its weights are constants of a package of its own.
    public let shares: String

    /// Inputs and outputs of a function: the chunk's, or those of another stage's function.
    public func ports(of function: String) -> (inputs: [Port], outputs: [Port]) {
        let own = variants.first { !$0.graph.isEmpty && $0.name == function }
        return own.map { ($0.inputs, $0.outputs) } ?? (inputs, outputs)
    }
}

public struct FunctionPorts: Equatable, Sendable {
    public let function: String
    public let inputs: [Port]
    public let outputs: [Port]
}

/// A chunk's weights as a file of arrays that its shared graph takes as inputs.
public struct Arrays: Equatable, Sendable {
    /// Of a safetensors file, relative to the build folder.
    public let path: String
    /// SHA-256 of the file.
    public let digest: String
    public let fileBytes: Int
    /// The arrays in the file's order, by the names of the graph's inputs.
    public let ports: [Port]
}

/// One package on disk and what it really needs.
public struct Package: Equatable, Sendable {
    public let chunk: String
    /// Relative to the build folder.
    public let path: String
    public let digest: String
    public let fileBytes: Int
    public let weightBytes: Int
    public let activationBytes: Int
    public let precision: String
    public let compression: String
    public let inputs: [Port]
    public let outputs: [Port]
    public let psnrDb: Double?
    public let functions: [String]
    public let ownPorts: [FunctionPorts]
    /// Of a graph that several chunks share: this chunk's weights, which are no part of it. `weightBytes` are
    /// theirs.
    public let arrays: Arrays?

    /// Inputs and outputs of a function.
    public func ports(of function: String) -> (inputs: [Port], outputs: [Port]) {
        ownPorts.first { $0.function == function }.map { ($0.inputs, $0.outputs) }
            ?? (inputs, outputs)
    }

    /// What the package itself declares: these ports, or those of a graph that is shared, which calls them by
    /// their places and takes the arrays too.
    public func features(of function: String) -> (inputs: [Port], outputs: [Port]) {
        let (inputs, outputs) = ports(of: function)
        guard let arrays else { return (inputs, outputs) }
        func numbered(_ ports: [Port], _ name: String) -> [Port] {
            ports.enumerated().map { Port(name: "\(name)\($0)", shape: $1.shape, dtype: $1.dtype) }
        }
        return (numbered(inputs, "in") + arrays.ports, numbered(outputs, "out"))
    }
}

public struct Compared: Equatable, Sendable {
    public let chunk: String
    public let of: String
    public let floorDb: Double
    public let db: Double?
    public let maxError: Double?
    public let inputs: String
    public let share: Double
    public let repaired: String
    public let why: String
}

/// (name, number), as `efficiency`, `exec_by`, `stage_s` and `stalls` have them.
public struct NamedNumber: Equatable, Sendable {
    public let name: String
    public let value: Double
}

/// What scheduling needs to know of a chunk.
public struct ChunkFacts: Equatable, Sendable {
    public let id: String
    public let weightBytes: Int
    public let activationBytes: Int
    public let loadSeconds: Double
    public let execSeconds: Double
    /// More seconds of its first load in a run.
    public let coldSeconds: Double
    /// Of functions other than `main`.
    public let execBy: [NamedNumber]

    /// Seconds of one call of a function.
    public func exec(of function: String) -> Double {
        execBy.last { $0.name == function }?.value ?? execSeconds
    }
}

public enum Moment: String, Sendable, CaseIterable {
    case same, previous, last
}

/// The step whose end lets a load start.
public struct Gate: Equatable, Sendable {
    public let segment: Int
    public let step: Int
    public let moment: Moment
}

/// Bring a chunk in before `step` of a segment and drop it after `freeStep`.
public struct Load: Equatable, Sendable {
    public let chunk: String
    public let segment: Int
    /// `first` or `each`.
    public let iterations: String
    public let step: Int
    public let gate: Gate?
    public let freeStep: Int
    public let freeMoment: Moment
}

/// Chunks that the online rule keeps while loads are at least `slower` times as slow as planned.
public struct Kept: Equatable, Sendable {
    public let slower: Double
    public let chunks: [String]

    public init(slower: Double, chunks: [String]) {
        self.slower = slower
        self.chunks = chunks
    }
}

public struct Policy: Equatable, Sendable {
    public let name: String
    public let lookahead: Int
    public let retain: Bool
    public let keep: String
    public let driver: String
    public let margin: Int
}

public struct Schedule: Equatable, Sendable {
    public let policy: Policy
    public let budgetBytes: Int
    public let loads: [Load]
    public let resident: [String]
    /// What the runner follows: `gates` or `online`.
    public let driver: String
    public let kept: [Kept]
}

/// A bar of a timeline: of a forecast, or of a run.
public struct Bar: Equatable, Sendable {
    public let queue: String
    public let label: String
    public let segment: Int
    public let iteration: Int
    public let step: Int
    public let startSeconds: Double
    public let endSeconds: Double
    public let sizeBytes: Int

    public init(
        queue: String, label: String, segment: Int, iteration: Int, step: Int,
        startSeconds: Double, endSeconds: Double, sizeBytes: Int = 0
    ) {
        self.queue = queue
        self.label = label
        self.segment = segment
        self.iteration = iteration
        self.step = step
        self.startSeconds = startSeconds
        self.endSeconds = endSeconds
        self.sizeBytes = sizeBytes
    }
}

public struct Forecast: Equatable, Sendable {
    public let makespanSeconds: Double
    public let computeSeconds: Double
    public let loadingSeconds: Double
    public let stallSeconds: Double
    public let loadedBytes: Int
    public let loads: Int
    /// Over all timings, by accounting: an upper bound, not a prediction.
    public let peakBytes: Int
    public let peakStep: String
    public let lowerBoundSeconds: Double
    public let lowerBound: String
    public let stageSeconds: [NamedNumber]
    public let bars: [Bar]
    public let earliestSeconds: Double?
    public let stalls: [NamedNumber]
    /// Of the run in which all calls that may rest by a tensor do, but in the first iteration.
    public let restingSeconds: Double?
}

/// A device profile.
public struct Target: Equatable, Sendable {
    public let name: String
    public let title: String
    public let memoryBytes: Int
    public let baseFootprintBytes: Int
    public let settleFraction: Double
    public let chunkLimitBytes: Int
    public let deployment: String
    public let computeUnit: String
    public let loadBandwidth: Double
    public let loadOverheadSeconds: Double
    public let computeFlops: Double
    public let memoryBandwidth: Double
    public let callOverheadSeconds: Double
    public let sources: [String]
    public let estimated: [String]
    public let efficiency: [NamedNumber]
    public let coldBandwidth: Double?
    public let contention: Double
    public let pageBytes: Int
    /// A loaded package is bound to one function: a call of another one is a load.
    public let reloadOnSwitch: Bool
}

/// (path, SHA-256) of constants and tokenizer files.
public struct PlanFile: Equatable, Sendable {
    public let path: String
    public let sha256: String
}

/// Everything a runner needs, and what it may expect.
public struct Plan: Equatable, Sendable {
    public let version: Int
    public let entracte: String
    public let built: Bool
    public let pipeline: String
    public let title: String
    public let target: Target
    public let settings: String
    public let program: Program
    public let chunks: [Chunk]
    public let packages: [Package]
    public let facts: [ChunkFacts]
    public let schedule: Schedule
    public let forecast: Forecast
    public let files: [PlanFile]
    public let verify: String
    public let compared: [Compared]
    /// SHA-256 of the plan's bytes as they stand in its file: what a record of a run names.
    public let sha256: String

    /// Bytes of all packages, and of the arrays beside a graph; a graph that chunks share is there once.
    public var packageBytes: Int {
        let files = Dictionary(packages.map { ($0.path, $0.fileBytes) }) { first, _ in first }
        return plus(
            files.values.reduce(0, plus), packages.reduce(0) { plus($0, $1.arrays?.fileBytes ?? 0) })
    }
}
