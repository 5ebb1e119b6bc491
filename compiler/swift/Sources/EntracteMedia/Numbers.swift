import EntractePlan

/// How a file keeps a number.
struct ElementType: Equatable {
    enum Kind: Equatable { case float, signed, unsigned }

    let kind: Kind
    let widthBytes: Int
    let isBig: Bool

    /// As numpy calls it.
    var name: String {
        let letter = [Kind.float: "f", .signed: "i", .unsigned: "u"][kind] ?? "f"
        if isBig && widthBytes > 1 { return ">\(letter)\(widthBytes)" }
        let word = [Kind.float: "float", .signed: "int", .unsigned: "uint"][kind] ?? "float"
        return "\(word)\(8 * widthBytes)"
    }
}

/// Numbers of a file -> a tensor of a port: of exactly its shape, floats for fp32, whole numbers for int32.
struct Filling {
    let tensor: Tensor
    private let type: ElementType
    /// Of each axis in the file's order, the fastest first: its length, and how far its elements lie apart.
    private let axes: [(length: Int, step: Int)]
    /// The file keeps them as the tensor does.
    private let isSame: Bool
    private var index: [Int]
    /// Of the next element; of the next byte where they are the same.
    private var place = 0
    private var isAllFinite = true
    private var isTooLarge = false

    /// Throws `MediaFault` before anything is read. `type` nil: `called` is no kind of number.
    init(_ port: Port, _ shape: [Int], _ type: ElementType?, called: String, isFortran: Bool) throws {
        let isWhole = port.dtype == .int32
        guard shape == port.shape, let type, (type.kind != .float) == isWhole else {
            throw MediaFault(
                "is \(called) of \(words(shape)); give \(isWhole ? "whole numbers" : "floats") of "
                    + "\(words(port.shape)), which become \(port.dtype.rawValue)")
        }
        self.type = type
        tensor = Tensor(zeros: shape, port.dtype)
        var steps: [(length: Int, step: Int)] = []
        var step = 1
        for length in shape.reversed() {
            steps.append((length, step))
            step *= length
        }
        axes = isFortran ? steps.reversed() : steps
        isSame = !isFortran && type.widthBytes == 4 && !type.isBig && type.kind != .unsigned
        index = [Int](repeating: 0, count: shape.count)
    }

    /// Of the whole tensor, as the file keeps it.
    var sizeBytes: Int { tensor.count * type.widthBytes }

    /// The next of the file's bytes: of whole elements.
    mutating func take(_ bytes: ArraySlice<UInt8>) {
        bytes.withUnsafeBytes { raw in
            if isSame {
                UnsafeMutableRawBufferPointer(rebasing: tensor.bytes[place...]).copyMemory(from: raw)
                place += raw.count
                return
            }
            for at in stride(from: 0, to: raw.count, by: type.widthBytes) {
                put(pattern(raw, at))
                next()
            }
        }
    }

    /// The tensor. Throws `MediaFault` where a number does not fit.
    func done() throws -> Tensor {
        if isTooLarge && (type.kind != .float || isAllFinite) {
            throw MediaFault("holds numbers that \(tensor.dtype.rawValue) does not")
        }
        return tensor
    }

    private func pattern(_ raw: UnsafeRawBufferPointer, _ at: Int) -> UInt64 {
        var value: UInt64 = 0
        let width = type.widthBytes
        for k in 0..<width { value |= UInt64(raw[at + k]) << UInt64(8 * (type.isBig ? width - 1 - k : k)) }
        return value
    }

    private mutating func put(_ pattern: UInt64) {
        switch type.kind {
        case .float: putFloat(pattern)
        case .signed:
            let shift = UInt64(64 - 8 * type.widthBytes)
            putWhole(Int64(bitPattern: pattern << shift) >> Int64(shift))
        case .unsigned: putWhole(Int64(clamping: pattern))
        }
    }

    private mutating func putWhole(_ value: Int64) {
        isTooLarge = isTooLarge || value != Int64(Int32(clamping: value))
        tensor.ints[place] = Int32(clamping: value)
    }

    private mutating func putFloat(_ pattern: UInt64) {
        let value: Float
        switch type.widthBytes {
        case 2: value = Half.float(UInt16(truncatingIfNeeded: pattern))
        case 4: value = Float(bitPattern: UInt32(truncatingIfNeeded: pattern))
        default:
            let wide = Double(bitPattern: pattern)
            value = Float(wide)
            isTooLarge = isTooLarge || (wide.isFinite && !value.isFinite)
            isAllFinite = isAllFinite && wide.isFinite
        }
        tensor.floats[place] = value
    }

    private mutating func next() {
        for (k, axis) in axes.enumerated() {
            index[k] += 1
            place += axis.step
            if index[k] < axis.length { return }
            index[k] = 0
            place -= axis.length * axis.step
        }
    }
}
