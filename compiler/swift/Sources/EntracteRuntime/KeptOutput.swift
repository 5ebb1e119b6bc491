import EntractePlan

/// A sink of one output that keeps it in memory.
public actor KeptOutput: Sink {
    private let axis: Int
    private var pieces: [Tensor] = []

    public init(_ output: Output) { axis = output.axis }

    public func take(_ piece: Tensor) async throws { pieces.append(piece) }

    /// All pieces, joined; nil where none came. Throws `Fault` where they do not fit together.
    public func value() throws -> Tensor? {
        guard pieces.count > 1, let first = pieces.first else { return pieces.first }
        let made = try KeptOutput.joined(pieces, first, along: axis)
        pieces = [made]
        return made
    }

    private static func joined(_ pieces: [Tensor], _ first: Tensor, along axis: Int) throws -> Tensor {
        var shape = first.shape
        let isAlike = pieces.allSatisfy { $0.shape.count == shape.count && $0.dtype == first.dtype }
        guard shape.indices.contains(axis), isAlike else {
            throw Fault.run("an output's pieces differ beside their axis")
        }
        shape[axis] = pieces.reduce(0) { $0 + $1.shape[axis] }
        let made = Tensor(zeros: shape, first.dtype)
        var at = 0
        for piece in pieces {
            let begin = Begin(axis: axis, at: at)
            try Box(of: shape, at: [begin], sizes: piece.shape, "an output").write(piece, into: made)
            at += piece.shape[axis]
        }
        return made
    }
}
