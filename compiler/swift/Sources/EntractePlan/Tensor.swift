import Foundation

/// Numbers in row-major order without gaps, little-endian; fp16 as bit patterns (`UInt16`).
///
/// Owns its memory, which is the system's again when the last reference goes. Whoever makes it fills
/// it before others see it; afterwards only `Tensors` of a run writes into it, between calls.
public final class Tensor: @unchecked Sendable {
    public let shape: [Int]
    public let dtype: DType
    public let bytes: UnsafeMutableRawBufferPointer

    /// Zeros.
    public init(zeros shape: [Int], _ dtype: DType) {
        self.shape = shape
        self.dtype = dtype
        let size = shape.reduce(1, *) * dtype.widthBytes
        let memory = calloc(max(size, 1), 1)!
        bytes = UnsafeMutableRawBufferPointer(start: memory, count: size)
    }

    public convenience init(_ values: [Float], shape: [Int]) {
        self.init(zeros: shape, .fp32)
        precondition(values.count == count)
        values.withUnsafeBytes { bytes.copyMemory(from: $0) }
    }

    public convenience init(_ values: [Int32], shape: [Int]) {
        self.init(zeros: shape, .int32)
        precondition(values.count == count)
        values.withUnsafeBytes { bytes.copyMemory(from: $0) }
    }

    /// Bit patterns of fp16.
    public convenience init(halves values: [UInt16], shape: [Int]) {
        self.init(zeros: shape, .fp16)
        precondition(values.count == count)
        values.withUnsafeBytes { bytes.copyMemory(from: $0) }
    }

    deinit { free(bytes.baseAddress) }

    public var count: Int { bytes.count / dtype.widthBytes }

    // The memory is the tensor's: hold it in a variable or a parameter while these are read. Of what is only an
    // expression (`made["x"]?.floats.map`) the tensor is gone before its memory is read.
    public var floats: UnsafeMutableBufferPointer<Float> { bytes.bindMemory(to: Float.self) }
    public var ints: UnsafeMutableBufferPointer<Int32> { bytes.bindMemory(to: Int32.self) }
    public var halves: UnsafeMutableBufferPointer<UInt16> { bytes.bindMemory(to: UInt16.self) }
}
