import EntractePlan

/// Arrays whose rows have gaps, as Core ML gives them: the Neural Engine pads rows of 200 numbers to 224.
public enum Strided {
    /// Strides in elements of a row-major array without gaps.
    public static func packed(_ shape: [Int]) -> [Int] {
        var strides = [Int](repeating: 1, count: shape.count)
        for axis in stride(from: shape.count - 2, through: 0, by: -1) {
            strides[axis] = strides[axis + 1] &* shape[axis + 1]
        }
        return strides
    }

    /// Copy an array of `shape` with `strides` (both in elements, outermost axis first) into row-major memory
    /// without gaps. `target` is exactly as large as the elements; a `Fault` where the strides are not of the
    /// shape, are below 0, or lead outside `source`.
    public static func copy(
        from source: UnsafeRawBufferPointer, shape: [Int], strides: [Int], widthBytes: Int,
        to target: UnsafeMutableRawBufferPointer
    ) throws {
        let size = try elements(shape).multipliedReportingOverflow(by: widthBytes)
        guard !size.overflow, size.partialValue == target.count else {
            throw Fault.run("an array of \(shape) with \(widthBytes) B each into \(target.count) B: of another size")
        }
        if target.count == 0 { return }
        let reach = try lastByte(shape, strides, widthBytes)
        guard reach <= source.count, let from = source.baseAddress, let to = target.baseAddress else {
            throw Fault.run(
                "an array of \(shape) with strides \(strides) and \(widthBytes) B each reaches to byte \(reach) "
                    + "of \(source.count) B")
        }
        copyRuns(from, Layout(shape, strides, widthBytes), to)
    }

    private static func elements(_ shape: [Int]) throws -> Int {
        try shape.reduce(1) { total, extent in
            let next = total.multipliedReportingOverflow(by: extent)
            guard extent >= 0, !next.overflow else { throw Fault.run("a shape \(shape): no size of an array") }
            return next.partialValue
        }
    }

    /// Bytes from the first element's first to the last element's last.
    private static func lastByte(_ shape: [Int], _ strides: [Int], _ widthBytes: Int) throws -> Int {
        guard shape.count == strides.count, strides.allSatisfy({ $0 >= 0 }), widthBytes > 0 else {
            throw Fault.run("strides \(strides) for a shape \(shape): one for each axis, none below 0")
        }
        var last = 0
        for (extent, stride) in zip(shape, strides) {
            let far = (extent - 1).multipliedReportingOverflow(by: stride)
            let sum = last.addingReportingOverflow(far.partialValue)
            guard !far.overflow, !sum.overflow else { throw Fault.run("strides \(strides): beyond 64 bits") }
            last = sum.partialValue
        }
        let bytes = last.addingReportingOverflow(1).partialValue.multipliedReportingOverflow(by: widthBytes)
        guard !bytes.overflow else { throw Fault.run("strides \(strides): beyond 64 bits") }
        return bytes.partialValue
    }

    /// Outer axes, and the run of bytes that lies without gaps at each of their places.
    private struct Layout {
        var extents: [Int] = []
        var stepBytes: [Int] = []
        var runBytes: Int

        init(_ shape: [Int], _ strides: [Int], _ widthBytes: Int) {
            runBytes = widthBytes
            var isRun = true
            for axis in shape.indices.reversed() where shape[axis] != 1 {
                let step = strides[axis] * widthBytes
                isRun = isRun && step == runBytes
                if isRun {
                    runBytes *= shape[axis]
                } else {
                    extents.insert(shape[axis], at: 0)
                    stepBytes.insert(step, at: 0)
                }
            }
        }
    }

    private static func copyRuns(
        _ source: UnsafeRawPointer, _ layout: Layout, _ target: UnsafeMutableRawPointer
    ) {
        guard let inner = layout.extents.last, let step = layout.stepBytes.last else {
            return target.copyMemory(from: source, byteCount: layout.runBytes)
        }
        var place = [Int](repeating: 0, count: layout.extents.count - 1)
        var from = source
        var to = target
        while true {
            copyRow(from, step, inner, layout.runBytes, to)
            to += inner * layout.runBytes
            guard let moved = advance(&place, layout) else { return }
            from += moved
        }
    }

    /// One row of the innermost axis that has gaps.
    private static func copyRow(
        _ source: UnsafeRawPointer, _ step: Int, _ count: Int, _ run: Int, _ target: UnsafeMutableRawPointer
    ) {
        switch run {
        case 2:
            let to = target.assumingMemoryBound(to: UInt16.self)
            for k in 0..<count { to[k] = source.loadUnaligned(fromByteOffset: k * step, as: UInt16.self) }
        case 4:
            let to = target.assumingMemoryBound(to: UInt32.self)
            for k in 0..<count { to[k] = source.loadUnaligned(fromByteOffset: k * step, as: UInt32.self) }
        default:
            for k in 0..<count { (target + k * run).copyMemory(from: source + k * step, byteCount: run) }
        }
    }

    /// The next place of the outer axes, the last one running fastest: how far it is in bytes; nil at the end.
    private static func advance(_ place: inout [Int], _ layout: Layout) -> Int? {
        var moved = 0
        for axis in place.indices.reversed() {
            place[axis] += 1
            if place[axis] < layout.extents[axis] { return moved + layout.stepBytes[axis] }
            moved -= (layout.extents[axis] - 1) * layout.stepBytes[axis]
            place[axis] = 0
        }
        return nil
    }
}
