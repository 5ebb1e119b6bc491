import EntractePlan

/// Where a piece begins along an axis.
struct Begin: Equatable, Sendable {
    let axis: Int
    let at: Int
}

/// A box of a tensor, as runs of elements that lie side by side in it.
struct Box {
    let begins: [Int]
    let sizes: [Int]
    let shape: [Int]
    /// Elements of one run.
    let run: Int
    /// Axes before this one are counted through; from it on all is one run.
    private let outer: Int

    /// The box of these sizes that begins there; all of other axes. Throws `Fault` where it lies outside.
    init(of shape: [Int], at begins: [Begin], sizes: [Int], _ name: String) throws {
        var starts = [Int](repeating: 0, count: shape.count)
        for begin in begins where starts.indices.contains(begin.axis) { starts[begin.axis] = begin.at }
        guard sizes.count == shape.count else { throw Box.outside(name) }
        for axis in shape.indices {
            let (end, over) = starts[axis].addingReportingOverflow(sizes[axis])
            guard !over, starts[axis] >= 0, sizes[axis] >= 0, end <= shape[axis] else {
                throw Box.outside(name)
            }
        }
        self.begins = starts
        self.sizes = sizes
        self.shape = shape
        var outer = shape.count
        var run = 1
        while outer > 0 {
            run *= sizes[outer - 1]
            outer -= 1
            if sizes[outer] != shape[outer] { break }
        }
        self.outer = outer
        self.run = run
    }

    private static func outside(_ name: String) -> Fault {
        .plan("plan: a piece lies outside of \(name); compile again")
    }

    /// Whether it is the whole tensor.
    var isAll: Bool { sizes == shape }

    /// For each run: its first element in the tensor and in the piece, both in row-major order.
    func forEachRun(_ body: (_ whole: Int, _ piece: Int) -> Void) {
        guard !sizes.contains(0) else { return }
        var strides = [Int](repeating: 1, count: shape.count)
        for axis in stride(from: shape.count - 2, through: 0, by: -1) {
            strides[axis] = strides[axis + 1] * shape[axis + 1]
        }
        var at = zip(begins, strides).reduce(0) { $0 + $1.0 * $1.1 }
        var place = [Int](repeating: 0, count: outer)
        var piece = 0
        while true {
            body(at, piece)
            piece += run
            var axis = outer - 1
            while axis >= 0 {
                place[axis] += 1
                at += strides[axis]
                if place[axis] < sizes[axis] { break }
                at -= sizes[axis] * strides[axis]
                place[axis] = 0
                axis -= 1
            }
            if axis < 0 { return }
        }
    }

    /// The box of a tensor as a tensor of its own; the tensor itself where the box is all of it.
    func read(_ whole: Tensor) -> Tensor {
        if isAll { return whole }
        let made = Tensor(zeros: sizes, whole.dtype)
        let width = whole.dtype.widthBytes
        guard let from = whole.bytes.baseAddress, let to = made.bytes.baseAddress else { return made }
        forEachRun { at, piece in
            (to + piece * width).copyMemory(from: from + at * width, byteCount: run * width)
        }
        return made
    }

    /// Write a piece of the same type into the box.
    func write(_ piece: Tensor, into whole: Tensor) {
        let width = whole.dtype.widthBytes
        guard let from = piece.bytes.baseAddress, let to = whole.bytes.baseAddress else { return }
        forEachRun { at, begin in
            (to + at * width).copyMemory(from: from + begin * width, byteCount: run * width)
        }
    }
}
