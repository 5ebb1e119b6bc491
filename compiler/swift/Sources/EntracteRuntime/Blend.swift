import EntractePlan

// Pieces of a tensor that overlap, as one: each fades in while the one before it fades out.
//
// Along an axis, piece k shares its first o = size - stride elements with the piece before it. There its
// weight at offset y is y / o, and that of the other 1 - y / o; elsewhere a weight is 1. Weights of two
// axes multiply. Sums are taken in fp32, in the order of the pieces; weights are rounded to fp32 once.

/// Whether pieces overlap.
func isBlended(_ windows: [Window]) -> Bool {
    windows.contains { $0.count > 1 && $0.stride < $0.size }
}

/// The place of piece k in the grid of all windows, the last one's running fastest.
func indices(_ windows: [Window], _ k: Int) -> [Int] {
    var rest = k
    var found = [Int](repeating: 0, count: windows.count)
    for n in windows.indices.reversed() {
        let count = max(1, windows[n].count)
        found[n] = rest % count
        rest /= count
    }
    return found
}

/// Where piece k begins along each axis that is cut.
func begins(_ windows: [Window], _ k: Int) -> [Begin] {
    zip(windows, indices(windows, k)).map { Begin(axis: $0.axis, at: $0.begin($1)) }
}

/// The weight of each element of piece k along the window's axis.
func ramp(_ window: Window, _ k: Int) -> [Float] {
    let shared = window.size - window.stride
    var weights = [Double](repeating: 1, count: window.size)
    guard shared > 0, window.stride >= 0 else { return weights.map { Float($0) } }
    for y in 0..<shared {
        let rise = Double(y) / Double(shared)
        if k > 0 { weights[y] = rise }
    }
    if k < window.count - 1 {
        for y in 0..<shared { weights[window.stride + y] = 1 - Double(y) / Double(shared) }
    }
    return weights.map { Float($0) }
}

/// Add piece k, times its weights, to the sum, which is fp32. A piece is never there a second time.
func addWeighted(_ piece: Tensor, _ windows: [Window], _ k: Int, to sum: Tensor, _ name: String) throws {
    let box = try Box(of: sum.shape, at: begins(windows, k), sizes: piece.shape, name)
    guard let last = piece.shape.indices.last, piece.count > 0 else { return }
    let weights = zip(windows, indices(windows, k)).map { ramp($0, $1) }
    let row = Row(windows: windows, weights: weights, shape: piece.shape, width: piece.shape[last])
    let total = sum.floats
    switch piece.dtype {
    case .fp32:
        let values = piece.floats
        row.add(box, to: total) { values[$0] }
    case .fp16:
        let values = piece.halves
        row.add(box, to: total) { Half.float(values[$0]) }
    case .int32:
        let values = piece.ints
        row.add(box, to: total) { Float(values[$0]) }
    }
}

/// Adds a weighted piece row by row of its last axis.
private struct Row {
    let windows: [Window]
    let weights: [[Float]]
    let shape: [Int]
    let width: Int

    /// The first window's weights are multiplied on first.
    @inline(__always)
    func add(_ box: Box, to total: UnsafeMutableBufferPointer<Float>, _ value: (Int) -> Float) {
        guard let sum = total.baseAddress, !windows.isEmpty else { return }
        let strides = windows.map { shape[($0.axis + 1)...].reduce(1, *) }
        // Of each window the weights of a row's elements.
        var factors = [Float](repeating: 0, count: windows.count * width)
        var filled = [Int](repeating: -1, count: windows.count)
        box.forEachRun { at, piece in
            for begin in stride(from: 0, to: box.run, by: width) {
                for n in windows.indices { fill(n, &factors, &filled, (piece + begin) / strides[n]) }
                factors.withUnsafeBufferPointer { weight in
                    for j in 0..<width {
                        var x = value(piece + begin + j) * weight[j]
                        for n in 1..<max(1, windows.count) { x *= weight[n * width + j] }
                        sum[at + begin + j] += x
                    }
                }
            }
        }
    }

    /// A window along the last axis has a weight for each element of a row, another one the same for all.
    private func fill(_ n: Int, _ factors: inout [Float], _ filled: inout [Int], _ place: Int) {
        let isLast = windows[n].axis == shape.count - 1
        let index = isLast ? 0 : place % weights[n].count
        if filled[n] == index { return }
        filled[n] = index
        for j in 0..<width { factors[n * width + j] = weights[n][isLast ? j : index] }
    }
}
