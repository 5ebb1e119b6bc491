/// The files of a zip archive (PKWARE's APPNOTE 6.3): stored or deflated, with 64 bits where needed.
struct ZipReader {
    struct Entry: Equatable {
        let name: String
        let method: Int
        let crc: UInt32
        let packedBytes: Int
        let sizeBytes: Int
        /// Of its local header.
        let at: Int
        let isEncrypted: Bool
    }

    let entries: [Entry]
    private let file: InputFile
    private static let damaged = MediaFault("is no whole zip archive; is it whole?")

    /// Throws `MediaFault` for an archive that is damaged.
    init(_ file: InputFile) throws {
        self.file = file
        let tailAt = max(0, file.sizeBytes - 22 - 65535)
        let tail = try file.read(tailAt, 22 + 65535)
        guard let end = stride(from: tail.count - 22, through: 0, by: -1)
            .first(where: { tail.little($0, 4) == 0x0605_4B50 }),
            var size = tail.little(end + 12, 4), var begin = tail.little(end + 16, 4)
        else { throw Self.damaged }
        if size == 0xFFFF_FFFF || begin == 0xFFFF_FFFF {
            (size, begin) = try Self.wide(file, tail.little(end - 20, 4) == 0x0706_4B50
                ? tail.little(end - 12, 8) : nil)
        }
        guard size <= 1 << 26, begin <= UInt64(file.sizeBytes) else { throw Self.damaged }
        let directory = try file.read(Int(begin), Int(size))
        var found: [Entry] = [], at = 0
        while at < directory.count { found.append(try Self.entry(directory, &at)) }
        entries = found
    }

    private static func wide(_ file: InputFile, _ at: UInt64?) throws -> (UInt64, UInt64) {
        guard let at, at <= UInt64(file.sizeBytes) else { throw damaged }
        let end = try file.read(Int(at), 56)
        guard end.little(0, 4) == 0x0606_4B50, let size = end.little(40, 8), let begin = end.little(48, 8) else {
            throw damaged
        }
        return (size, begin)
    }

    private static func entry(_ data: [UInt8], _ at: inout Int) throws -> Entry {
        func number(_ place: Int, _ count: Int) throws -> UInt64 {
            guard let value = data.little(at + place, count) else { throw damaged }
            return value
        }
        guard try number(0, 4) == 0x0201_4B50 else { throw damaged }
        let nameCount = Int(try number(28, 2)), extraCount = Int(try number(30, 2))
        let behind = at + 46 + nameCount + extraCount + Int(try number(32, 2))
        guard behind <= data.count else { throw damaged }
        var sizes = [try number(24, 4), try number(20, 4), try number(42, 4)]
        let extra = Array(data[at + 46 + nameCount..<at + 46 + nameCount + extraCount])
        try widen(&sizes, extra)
        guard sizes.allSatisfy({ $0 < 1 << 40 }) else { throw damaged }
        let made = Entry(
            name: String(decoding: data[at + 46..<at + 46 + nameCount], as: UTF8.self),
            method: Int(try number(10, 2)), crc: UInt32(try number(16, 4)), packedBytes: Int(sizes[1]),
            sizeBytes: Int(sizes[0]), at: Int(sizes[2]), isEncrypted: try number(8, 2) & 1 == 1)
        at = behind
        return made
    }

    /// Those of size, packed size and place that do not fit into 32 bits stand in the extra field.
    private static func widen(_ sizes: inout [UInt64], _ extra: [UInt8]) throws {
        guard sizes.contains(0xFFFF_FFFF) else { return }
        var at = 0
        while let kind = extra.little(at, 2), let length = extra.little(at + 2, 2) {
            var from = at + 4
            for k in sizes.indices where kind == 1 && sizes[k] == 0xFFFF_FFFF {
                guard let value = extra.little(from, 8), from + 8 <= at + 4 + Int(length) else { throw damaged }
                sizes[k] = value
                from += 8
            }
            at += 4 + Int(length)
        }
    }

    /// Where the bytes of an entry begin.
    private func begin(_ entry: Entry) throws -> Int {
        let local = try file.read(entry.at, 30)
        guard local.little(0, 4) == 0x0403_4B50, let name = local.little(26, 2), let extra = local.little(28, 2)
        else { throw Self.damaged }
        return entry.at + 30 + Int(name) + Int(extra)
    }

    /// An entry's bytes, the first `most` of a packed one. Throws `MediaFault` where they are not what the
    /// archive says.
    func bytes(of entry: Entry, most: Int) throws -> any Readable {
        guard !entry.isEncrypted else { throw MediaFault("\(entry.name) in it is encrypted; save it again") }
        let begin = try begin(entry)
        guard begin + entry.packedBytes <= file.sizeBytes else { throw Self.damaged }
        let made: any Readable
        switch entry.method {
        case 0: made = FilePart(file: file, begin: begin, sizeBytes: entry.packedBytes)
        case 8:
            let packed = try file.read(begin, entry.packedBytes)
            made = Unpacked(bytes: try Inflate.raw(packed, 0..<packed.count, most: min(most, entry.sizeBytes)))
        default:
            throw MediaFault(
                "\(entry.name) in it is packed in a way that is not read; save it with numpy.savez")
        }
        guard try made.sizeBytes < entry.sizeBytes || crc(made) == entry.crc else {
            throw MediaFault("the checksum of \(entry.name) in it is wrong; save it again")
        }
        return made
    }

    private func crc(_ bytes: any Readable) throws -> UInt32 {
        var made: UInt32 = 0
        for at in stride(from: 0, to: bytes.sizeBytes, by: 1 << 22) {
            made = crc32(try bytes.read(at, 1 << 22), before: made)
        }
        return made
    }
}
