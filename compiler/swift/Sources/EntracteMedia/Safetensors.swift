import EntractePlan
import Foundation

/// Where the tensors of a safetensors file lie: 8 bytes of the header's length, a JSON object of tensors
/// (`dtype`, `shape`, `data_offsets`) and texts (`__metadata__`), then their bytes, gapless.
struct SafetensorsHeader {
    struct Stored: Equatable {
        let name: String
        let dtype: String
        let shape: [Int]
        /// From the file's first byte.
        let begin: Int
        let sizeBytes: Int
    }

    let tensors: [Stored]

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
        guard let length = try file.read(0, 8).little(0, 8), length >= 2, length <= 100_000_000,
            Int(length) <= file.sizeBytes - 8
        else { throw MediaFault("is no safetensors file, or only a part of one (its header's length is wrong)") }
        let begin = 8 + Int(length)
        let header: JSON
        do {
            header = try JSON(parsing: Data(file.read(8, Int(length))))
        } catch let error as JSONError {
            throw MediaFault("its header is no JSON (\(error.message))")
        }
        guard let members = header.asMembers else { throw MediaFault("its header is no table of tensors") }
        tensors = try members.filter { $0.name != "__metadata__" }.map { try Self.stored($0, begin) }
        var at = begin
        for tensor in tensors.sorted(by: { ($0.begin, $0.sizeBytes) < ($1.begin, $1.sizeBytes) }) {
            guard tensor.begin == at else {
                let what = tensor.begin < at ? "overlap those before them" : "leave a gap"
                throw MediaFault("is no whole safetensors file (the bytes of \(tensor.name.prefix(100)) \(what))")
            }
            at += tensor.sizeBytes
        }
        guard at == file.sizeBytes else {
            throw MediaFault("is no whole safetensors file (\(file.sizeBytes) bytes, \(at) are named)")
        }
    }

    private static func stored(_ member: JSON.Member, _ begin: Int) throws -> Stored {
        let fault = MediaFault("its header says of '\(member.name.prefix(100))' what cannot be")
        guard let dtype = member.value["dtype"]?.asText, let shape = member.value["shape"]?.asList,
            let places = member.value["data_offsets"]?.asList, member.value.asMembers?.count == 3,
            places.count == 2, let from = places[0].asWhole, let to = places[1].asWhole,
            from >= 0, to >= from, to < 1 << 62
        else { throw fault }
        let sides = shape.compactMap(\.asWhole)
        guard sides.count == shape.count, sides.allSatisfy({ $0 >= 0 }) else { throw fault }
        return Stored(name: member.name, dtype: dtype, shape: sides, begin: begin + from, sizeBytes: to - from)
    }
}
