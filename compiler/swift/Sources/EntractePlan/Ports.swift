/// Element type of a tensor that crosses a package boundary.
public enum DType: String, Sendable, CaseIterable {
    case fp16, fp32, int32

    /// Bytes of one element.
    public var widthBytes: Int { self == .fp16 ? 2 : 4 }
}

/// A named, shaped, typed input or output.
public struct Port: Equatable, Sendable {
    public let name: String
    public let shape: [Int]
    public let dtype: DType

    public init(name: String, shape: [Int], dtype: DType) {
        self.name = name
        self.shape = shape
        self.dtype = dtype
    }

    public var elements: Int { shape.reduce(1, *) }

    /// Bytes of all its elements.
    public var sizeBytes: Int { elements * dtype.widthBytes }
}
