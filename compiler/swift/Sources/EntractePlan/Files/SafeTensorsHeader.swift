/// Where the tensors of a safetensors file lie: 8 bytes of the header's length, a JSON object of tensors
/// (`dtype`, `shape`, `data_offsets`) and texts (`__metadata__`), then their bytes.
///
/// Strict: a header of at most 100 MB, tensors that lie side by side without gaps to the file's end, none
/// twice, each as long as its shape and type say.
package struct SafeTensorsHeader {
    package struct Entry: Sendable, Equatable {
        package let name: String
        /// As the file spells it: `F16`, `F32`, `I32`, ...
        package let dtype: String
        package let shape: [Int]
        /// From the first byte behind the header on.
        package let begin: Int
        package let end: Int
    }

    /// In the order of their bytes.
    package let entries: [Entry]

    private static let mostBytes = 100_000_000
    private static let widths = [
        "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
        "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
    ]

    /// The first byte behind the header of a file that begins with `bytes`. Throws a `JSONError`.
    package static func end(_ bytes: UnsafeRawBufferPointer, fileBytes: Int) throws -> Int {
        guard bytes.count >= 8 else { throw JSONError(message: "\(bytes.count) bytes") }
        let length = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
        guard length <= UInt64(mostBytes), Int(length) <= fileBytes - 8 else {
            throw JSONError(message: "a header of \(length) bytes")
        }
        return 8 + Int(length)
    }

    /// Of the header's own bytes. Throws a `JSONError`.
    package init(_ text: UnsafeRawBufferPointer, tensorBytes: Int) throws {
        guard text.first == UInt8(ascii: "{") else { throw JSONError(message: "its header is no object") }
        let header = try JSON(Parser.parse(text), 0)
        let named = (header.asMembers ?? []).filter { $0.name != "__metadata__" }
        let found = try named.map { try Self.entry($0.name, $0.value) }
            .sorted { ($0.begin, $0.end) < ($1.begin, $1.end) }
        var at = 0
        for entry in found {
            guard entry.begin == at else {
                throw JSONError(message: "\(words(entry.name)) overlaps or leaves a gap")
            }
            at = entry.end
        }
        guard at == tensorBytes else { throw JSONError(message: "\(at) bytes of tensors in \(tensorBytes)") }
        entries = found
    }

    private static func entry(_ name: String, _ value: JSON) throws -> Entry {
        let what = "tensor \(words(name))"
        guard let dtype = value["dtype"]?.asText, let width = widths[dtype] else {
            throw JSONError(message: "\(what) has no known type")
        }
        let shape = value["shape"]?.asList.flatMap(wholes) ?? [-1]
        let offsets = value["data_offsets"]?.asList.flatMap(wholes) ?? []
        guard offsets.count == 2, offsets[0] <= offsets[1], value.asMembers?.count == 3 else {
            throw JSONError(message: "\(what) has no place")
        }
        var size = width
        for extent in shape {
            let (product, over) = size.multipliedReportingOverflow(by: extent)
            guard extent >= 0, !over else { throw JSONError(message: "\(what) has no shape") }
            size = product
        }
        guard size == offsets[1] - offsets[0] else {
            throw JSONError(message: "\(what) has \(offsets[1] - offsets[0]) bytes, its shape \(size)")
        }
        return Entry(name: name, dtype: dtype, shape: shape, begin: offsets[0], end: offsets[1])
    }

    /// Whole numbers, none below 0; nil where one is another.
    private static func wholes(_ items: [JSON]) -> [Int]? {
        let found = items.compactMap { $0.asWhole }.filter { $0 >= 0 }
        return found.count == items.count ? found : nil
    }
}
