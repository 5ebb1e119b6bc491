import EntractePlan

/// What a step did with the tensors of a run, for tests and for whoever watches closely.
public enum Happening: Sendable {
    /// A state begins with its first value.
    case entered(state: String, first: String, value: Tensor)
    /// One slice of a call begins, beside so many bytes of tensors, its outputs included; reads are in the
    /// order of its bindings.
    case called(chunk: String, function: String, slice: Int, heldBytes: Int, reads: [Read])
    /// A host step begins.
    case hosted(stage: String, op: String, reads: [String])
    /// What a slice or a host step made was written.
    case wrote(tensor: String, place: [Int]?, piece: Int?)
    /// A piece went to the writer of an output.
    case delivered(output: String, value: Tensor)
    /// A tensor was dropped by a step's or a segment's frees, or as a first value that a state took.
    case freed(tensor: String)
    /// Whether the loop is over was read.
    case asked(until: String, over: Bool)
    /// A state took its next value.
    case moved(state: String, next: String, value: Tensor)
    /// A segment is over after so many iterations.
    case ended(segment: String, iterations: Int)

    /// A feature of a call, and what it is given: of a tensor, all (`place` and `piece` nil), the box that
    /// begins at `place`, or the piece that is kept under that number.
    public struct Read: Sendable {
        public let feature: String
        public let tensor: String
        public let place: [Int]?
        public let piece: Int?
        public let value: Tensor
    }
}

/// Is told of everything, in order; nothing goes on before it returns.
public typealias RunWatcher = @Sendable (Happening) -> Void
