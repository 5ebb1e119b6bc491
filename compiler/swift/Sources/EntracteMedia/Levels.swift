import EntractePlan

// Numbers as files have them: docs/plan-format.md, "Outputs". In fp32, rounded half to even; a NaN is 0.

/// A tensor's elements as fp32.
struct Elements {
    private let tensor: Tensor
    private let dtype: DType
    private let floats: UnsafeMutableBufferPointer<Float>
    private let halves: UnsafeMutableBufferPointer<UInt16>
    private let ints: UnsafeMutableBufferPointer<Int32>

    init(_ tensor: Tensor) {
        self.tensor = tensor
        dtype = tensor.dtype
        let none = UnsafeMutableRawBufferPointer(start: nil, count: 0)
        floats = dtype == .fp32 ? tensor.floats : none.bindMemory(to: Float.self)
        halves = dtype == .fp16 ? tensor.halves : none.bindMemory(to: UInt16.self)
        ints = dtype == .int32 ? tensor.ints : none.bindMemory(to: Int32.self)
    }

    @inline(__always)
    subscript(_ place: Int) -> Float {
        switch dtype {
        case .fp32: floats[place]
        case .fp16: Half.float(halves[place])
        case .int32: Float(ints[place])
        }
    }
}

/// Numbers in [low, high] -> whole ones.
struct Scale {
    private let low: Float
    private let range: Float
    private let isPlain: Bool

    /// `plain`: the range that is taken as it is.
    init(_ output: Output, plain: (Double, Double)) {
        low = Float(output.low)
        range = Float(output.high - output.low)
        isPlain = (output.low, output.high) == plain
    }

    /// round(255 (x - low) / (high - low)), within 0 to 255.
    @inline(__always)
    func level(_ x: Float) -> UInt8 {
        let unit = isPlain ? x : (x - low) / range
        let level = (unit * 255).rounded(.toNearestOrEven)
        return level >= 255 ? 255 : level > 0 ? UInt8(level) : 0
    }

    /// round(32767 (2 (x - low) / (high - low) - 1)), within -32768 to 32767.
    @inline(__always)
    func sample(_ x: Float) -> Int16 {
        let unit = isPlain ? x : 2 * ((x - low) / range) - 1
        let level = (unit * 32767).rounded(.toNearestOrEven)
        if level.isNaN { return 0 }
        return level >= 32767 ? 32767 : level <= -32768 ? -32768 : Int16(level)
    }
}

/// Part of an output as its file has it: of the axis along which such parts are joined.
struct Grain {
    /// As numpy writes the type: `|u1`, `<i2`, `<f4`.
    let descr: String
    let shape: [Int]
    let bytes: [UInt8]
}

/// What a file makes of an output's pieces.
enum GrainKind: Sendable {
    /// (frames, height, width, 3) of a video or of images.
    case frames
    /// (samples, channels).
    case samples
    /// As they are, joined along the output's own axis.
    case plain
}

private let partBytes = 1 << 20

/// A piece part by part: what becomes of a large one in a file is never there whole.
struct Grains {
    let count: Int
    private let make: (Int) -> Grain

    /// Throws `MediaFault` for a piece that is not of its kind.
    init(_ kind: GrainKind, _ output: Output, _ piece: Tensor) throws {
        let shape = piece.shape
        switch kind {
        case .plain: (count, make) = Self.plain(output, piece)
        case .frames:
            let isVideo = output.kind == .video
            guard shape.count == (isVideo ? 5 : 4), shape[1] == 3, !isVideo || shape[0] == 1 else {
                throw MediaFault("a piece of \(words(shape)) is no \(output.kind.rawValue)")
            }
            (count, make) = Self.frames(output, piece)
        case .samples:
            guard (2...3).contains(shape.count), shape[0] == 1 else {
                throw MediaFault("a piece of \(words(shape)) is no audio")
            }
            (count, make) = Self.samples(output, piece)
        }
    }

    subscript(_ place: Int) -> Grain { make(place) }

    /// One frame each.
    private static func frames(_ output: Output, _ piece: Tensor) -> (Int, (Int) -> Grain) {
        let shape = piece.shape, isVideo = output.kind == .video
        let height = shape[shape.count - 2], width = shape[shape.count - 1], area = height * width
        let many = shape[isVideo ? 2 : 0], scale = Scale(output, plain: (0, 1)), elements = Elements(piece)
        return (many, { frame in
            let begin = isVideo ? frame * area : frame * 3 * area, stride = isVideo ? many * area : area
            let bytes = [UInt8](unsafeUninitializedCapacity: 3 * area) { buffer, done in
                for c in 0..<3 {
                    let from = begin + c * stride
                    for k in 0..<area { buffer[3 * k + c] = scale.level(elements[from + k]) }
                }
                done = 3 * area
            }
            return Grain(descr: "|u1", shape: [1, height, width, 3], bytes: bytes)
        })
    }

    private static func samples(_ output: Output, _ piece: Tensor) -> (Int, (Int) -> Grain) {
        let many = piece.shape[piece.shape.count - 1], channels = piece.shape.count == 3 ? piece.shape[1] : 1
        let scale = Scale(output, plain: (-1, 1)), elements = Elements(piece)
        let most = max(1, partBytes / (2 * max(1, channels)))
        return ((many + most - 1) / most, { k in
            let begin = k * most, end = min(many, begin + most)
            var bytes: [UInt8] = []
            bytes.reserveCapacity((end - begin) * channels * 2)
            for n in begin..<end {
                for c in 0..<channels { bytes.append(little: scale.sample(elements[c * many + n])) }
            }
            return Grain(descr: "<i2", shape: [end - begin, channels], bytes: bytes)
        })
    }

    private static func plain(_ output: Output, _ piece: Tensor) -> (Int, (Int) -> Grain) {
        let descr = [DType.fp16: "<f2", .fp32: "<f4", .int32: "<i4"][piece.dtype] ?? "<f4"
        let shape = piece.shape
        guard !shape.isEmpty, piece.count > 0 else {
            return (1, { _ in Grain(descr: descr, shape: shape, bytes: Array(piece.bytes)) })
        }
        let axis = placeOf(output.axis, shape.count)
        let outer = shape[..<axis].reduce(1, *), extent = shape[axis]
        let inner = piece.bytes.count / (outer * extent)
        let most = max(1, partBytes * extent / piece.bytes.count)
        return ((extent + most - 1) / most, { k in
            let begin = k * most, end = min(extent, begin + most)
            var bytes: [UInt8] = []
            bytes.reserveCapacity(outer * (end - begin) * inner)
            for o in 0..<outer {
                let from = (o * extent + begin) * inner
                bytes += UnsafeRawBufferPointer(rebasing: piece.bytes[from..<from + (end - begin) * inner])
            }
            var own = shape
            own[axis] = end - begin
            return Grain(descr: descr, shape: own, bytes: bytes)
        })
    }
}

/// An axis counted from the front; within those that there are.
func placeOf(_ axis: Int, _ count: Int) -> Int {
    let place = axis < 0 ? axis + count : axis
    return min(max(0, place), max(0, count - 1))
}
