import EntractePlan

/// Where the tensors of a safetensors file lie, and which types of numbers are read.
///
/// The file is read, not mapped: whoever cuts it short meanwhile would end the process.
struct SafetensorsFile {
    let entries: [SafeTensorsHeader.Entry]
    /// The first byte behind the header.
    let base: Int

    /// Types of numbers that are read.
    static let order = ["F16", "F32", "F64", "I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64"]
    static let types: [String: ElementType] = Dictionary(
        uniqueKeysWithValues: order.map { name in
            let kind: ElementType.Kind = name.hasPrefix("F") ? .float : name.hasPrefix("I") ? .signed : .unsigned
            let bits = Int(name.dropFirst()) ?? 8
            return (name, ElementType(kind: kind, widthBytes: bits / 8, isBig: false))
        })

    /// Throws `MediaFault` for what is no whole safetensors file.
    init(_ file: InputFile) throws {
        do {
            let end = try file.read(0, 8).withUnsafeBytes {
                try SafeTensorsHeader.end($0, fileBytes: file.sizeBytes)
            }
            entries = try file.read(8, end - 8).withUnsafeBytes {
                try SafeTensorsHeader($0, tensorBytes: file.sizeBytes - end).entries
            }
            base = end
        } catch let error as JSONError {
            throw MediaFault("is no whole safetensors file (\(error.message))")
        }
    }
}
