/// Where arrays lie in their file: safetensors whose header follows from their ports alone
/// (`compiler/entracte/store/arrays.py`).
///
/// So a reader parses nothing: the file begins with exactly these bytes and is exactly so long, or it is
/// refused. The header is filled up with spaces, so that the data begins on a page of any device and can be
/// mapped; arrays lie in the order of their ports without gaps.
package struct ArraysLayout: Sendable {
    /// All that stands before the data: the header's length in 8 bytes, JSON, spaces.
    package let header: [UInt8]
    /// Of each array's bytes, from the first byte of the data on.
    package let places: [Range<Int>]

    /// Of Apple's devices: memory that Metal borrows begins on one.
    private static let pageBytes = 16 << 10

    package init(_ ports: [Port]) {
        var at = 0
        places = ports.map { port in
            defer { at = plus(at, port.sizeBytes) }
            return at ..< plus(at, port.sizeBytes)
        }
        let members = zip(ports, places).map { port, place in
            JSON.Member(port.name, .object([
                JSON.Member("dtype", .text(Self.name(port.dtype))),
                JSON.Member("shape", .list(port.shape.map { .whole($0) })),
                JSON.Member("data_offsets", .list([.whole(place.lowerBound), .whole(place.upperBound)])),
            ]))
        }
        let text = JSON.object(members).data(isCompact: true)
        let pages = (8 + text.count + Self.pageBytes - 1) / Self.pageBytes
        let length = UInt64(pages * Self.pageBytes - 8).littleEndian
        let spaces = [UInt8](repeating: UInt8(ascii: " "), count: Int(length) - text.count)
        header = withUnsafeBytes(of: length) { Array($0) } + text + spaces
    }

    /// Of all arrays.
    package var dataBytes: Int { places.last?.upperBound ?? 0 }

    private static func name(_ dtype: DType) -> String {
        switch dtype {
        case .fp16: "F16"
        case .fp32: "F32"
        case .int32: "I32"
        }
    }
}
