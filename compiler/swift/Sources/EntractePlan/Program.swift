// What is computed, in which order: field for field the dataclasses of `compiler/entracte/ir.py`.

/// What a user gives to a run.
public struct Input: Equatable, Sendable {
    public enum Kind: String, Sendable, CaseIterable {
        case text, seed, number, choice, image, video, audio, tensor
    }

    public let name: String
    public let kind: Kind
    /// What it is where nothing is given; nil: it must be given.
    public let `default`: Param?
    public let port: Port?
    public let choices: [String]
    public let least: Double?
    public let most: Double?
    public let low: Double
    public let high: Double
    public let fit: String
    public let rate: Double
}

/// What a run gives.
public struct Output: Equatable, Sendable {
    public enum Kind: String, Sendable, CaseIterable {
        case video, image, audio, text, tensor
    }

    public let name: String
    public let kind: Kind
    /// Joined along `axis` in this order; they differ there only.
    public let values: [String]
    public let axis: Int
    public let rate: Double
    public let low: Double
    public let high: Double
    /// Of text: a file of the plan.
    public let tokenizer: String
    /// Of text: tokens that end it.
    public let end: [Int]
}

/// A value in `params`: a text, a number, a truth value, nothing, or a list of such.
public indirect enum Param: Equatable, Sendable {
    case none
    case flag(Bool)
    case whole(Int)
    case number(Double)
    case text(String)
    case list([Param])
}

/// Which index picks the piece of a tensor that a call reads or writes.
public enum By: String, Sendable, CaseIterable {
    case whole, map, iteration
}

/// Piece k along an axis: [start + k stride, start + k stride + size), k below `count`.
public struct Window: Equatable, Sendable {
    public let axis: Int
    public let size: Int
    public let count: Int
    public let stride: Int
    public let start: Int

    public init(axis: Int, size: Int, count: Int, stride: Int, start: Int = 0) {
        self.axis = axis
        self.size = size
        self.count = count
        self.stride = stride
        self.start = start
    }

    /// Where piece k begins.
    public func begin(_ k: Int) -> Int { start + k * stride }
}

/// A feature of a package, or a port of a host step, tied to a tensor of the program.
public struct Binding: Equatable, Sendable {
    public let feature: String
    public let tensor: String
    public let by: By
    public let windows: [Window]
}

/// A tensor of the program, `slots` times its port's bytes.
public struct TensorDecl: Equatable, Sendable {
    public let port: Port
    public let slots: Int
    /// Not 0: made in so many pieces of `port`, each of which goes to its output as it is made.
    public let streamed: Int

    public var name: String { port.name }

    /// Bytes of all slots; of what is streamed, of one piece.
    public var sizeBytes: Int { port.sizeBytes * slots }
}

/// A function while the iteration is below `below`.
public struct Switch: Equatable, Sendable {
    public let function: String
    public let below: Int
}

/// Run a chunk `repeat` times and then free tensors.
public struct Call: Equatable, Sendable {
    public let stage: String
    public let chunk: String
    public let inputs: [Binding]
    public let outputs: [Binding]
    public let `repeat`: Int
    public let frees: [String]
    public let function: String
    public let `switch`: [Switch]
    /// The iterations in which it is called; empty: all.
    public let at: [Int]
    /// A tensor of `repeat` elements: where the k-th is not zero slice k rests, unless the iteration is the
    /// first; empty: it does not ask.
    public let restsBy: String

    /// Whether it is called in an iteration of its segment, if no tensor says that it rests.
    public func isCalled(_ iteration: Int) -> Bool { at.isEmpty || at.contains(iteration) }

    /// The function that it uses in an iteration of its segment.
    public func function(at iteration: Int) -> String {
        self.switch.first { iteration < $0.below }?.function ?? function
    }
}

/// (port, value) of a host step.
public struct HostInput: Equatable, Sendable {
    public let port: String
    public let value: String
}

/// One of the runner's own steps: a host operation, by its name in `op`.
public struct HostStep: Equatable, Sendable {
    public let stage: String
    public let op: String
    /// In the plan's order; no name stands twice.
    public let params: [NamedParam]
    public let inputs: [HostInput]
    public let outputs: [Binding]
    public let frees: [String]

    public func param(_ name: String) -> Param? { params.first { $0.name == name }?.value }
}

public struct NamedParam: Equatable, Sendable {
    public let name: String
    public let value: Param
}

public enum Step: Equatable, Sendable {
    case call(Call)
    case host(HostStep)

    public var stage: String {
        switch self {
        case .call(let x): x.stage
        case .host(let x): x.stage
        }
    }

    public var outputs: [Binding] {
        switch self {
        case .call(let x): x.outputs
        case .host(let x): x.outputs
        }
    }

    public var frees: [String] {
        switch self {
        case .call(let x): x.frees
        case .host(let x): x.frees
        }
    }

    /// The chunk that it calls; nil of a host step.
    public var chunk: String? {
        if case .call(let x) = self { x.chunk } else { nil }
    }

    /// The tensors (and plain inputs) that it reads.
    public var reads: [String] {
        switch self {
        case .call(let x): x.inputs.map(\.tensor) + (x.restsBy.isEmpty ? [] : [x.restsBy])
        case .host(let x): x.inputs.map(\.value)
        }
    }
}

/// A state of a segment: moves `first` in at entry and `next` after each iteration.
public struct Carried: Equatable, Sendable {
    public let name: String
    public let first: String
    public let next: String
}

/// Steps in order, `count` times.
public struct Segment: Equatable, Sendable {
    public let name: String
    public let count: Int
    public let steps: [Step]
    public let state: [Carried]
    public let frees: [String]
    public let until: String?
    public let sliced: Bool

    /// Whether its steps run more than once, or carry a state.
    public var isLoop: Bool { !state.isEmpty || count > 1 }
}

/// Loops are never unrolled.
public struct Program: Equatable, Sendable {
    public let inputs: [Input]
    public let constants: [Port]
    public let tensors: [TensorDecl]
    public let segments: [Segment]
    public let outputs: [Output]

    /// Steps of all iterations: what a run's progress counts to.
    public var stepCount: Int { segments.reduce(0) { $0 + $1.count * $1.steps.count } }
}
