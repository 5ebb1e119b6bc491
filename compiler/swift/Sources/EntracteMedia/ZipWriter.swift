/// Arrays by name in a zip archive, stored, as numpy reads it (and byte for byte as Python's `zipfile` writes it).
///
/// The comment is the archive's and no entry: whoever goes through the entries finds arrays only.
func writeNpz(_ spools: [(name: String, spool: Spool)], _ comment: String, _ path: String) throws {
    let file = try WriteFile(new: path)
    var at = 0
    var entries: [ZipEntry] = []
    for (name, spool) in spools {
        var entry = ZipEntry(name: Array("\(name).npy".utf8), at: at)
        let begin = at + entry.local.count
        var crc: UInt32 = 0
        let end = try spool.writeNpy(file, at: begin) { crc = crc32($0, before: crc) }
        entry.crc = crc
        entry.sizeBytes = end - begin
        try file.write(entry.local, at: at)
        entries.append(entry)
        at = end
    }
    let directory = entries.flatMap(\.central)
    try file.write(directory + zipEnd(entries.count, at, directory.count, comment), at: at)
    try file.finish()
}

private let most32 = 0x7FFF_FFFF

private struct ZipEntry {
    let name: [UInt8]
    let at: Int
    var crc: UInt32 = 0
    var sizeBytes = 0

    init(name: [UInt8], at: Int) {
        self.name = name
        self.at = at
    }

    /// Its sizes stand in the extra field, always: nobody knows them when it is begun.
    var local: [UInt8] {
        var made: [UInt8] = [0x50, 0x4B, 3, 4, 45, 0] + same
        made.append(little: UInt32.max)
        made.append(little: UInt32.max)
        made.append(little: UInt16(clamping: name.count))
        made.append(little: UInt16(20))
        return made + name + extra([sizeBytes, sizeBytes])
    }

    /// Flags, method, date (the first that there is), checksum.
    private var same: [UInt8] {
        var made: [UInt8] = [0, 0, 0, 0, 0, 0, 0x21, 0]
        made.append(little: crc)
        return made
    }

    private func extra(_ numbers: [Int]) -> [UInt8] {
        guard !numbers.isEmpty else { return [] }
        var made: [UInt8] = []
        made.append(little: UInt16(1))
        made.append(little: UInt16(8 * numbers.count))
        for number in numbers { made.append(little: UInt64(number)) }
        return made
    }

    var central: [UInt8] {
        let isLarge = sizeBytes > most32
        let wide = extra((isLarge ? [sizeBytes, sizeBytes] : []) + (at > most32 ? [at] : []))
        var made: [UInt8] = [0x50, 0x4B, 1, 2, 45, 3, 45, 0] + same
        for _ in 0..<2 { made.append(little: isLarge ? UInt32.max : UInt32(clamping: sizeBytes)) }
        made.append(little: UInt16(clamping: name.count))
        made.append(little: UInt16(wide.count))
        made += [UInt8](repeating: 0, count: 6)
        made.append(little: UInt32(0o600) << 16)
        made.append(little: at > most32 ? UInt32.max : UInt32(clamping: at))
        return made + name + wide
    }
}

private func zipEnd(_ count: Int, _ at: Int, _ size: Int, _ comment: String) -> [UInt8] {
    var made: [UInt8] = []
    if at > most32 {
        made += [0x50, 0x4B, 6, 6]
        made.append(little: UInt64(44))
        made += [45, 0, 45, 0] + [UInt8](repeating: 0, count: 8)
        for number in [count, count, size, at] { made.append(little: UInt64(number)) }
        made += [0x50, 0x4B, 6, 7, 0, 0, 0, 0]
        made.append(little: UInt64(at + size))
        made.append(little: UInt32(1))
    }
    made += [0x50, 0x4B, 5, 6, 0, 0, 0, 0]
    for _ in 0..<2 { made.append(little: UInt16(clamping: count)) }
    made.append(little: UInt32(clamping: size))
    made.append(little: at > most32 ? UInt32.max : UInt32(clamping: at))
    let said = Array(comment.utf8.prefix(0xFFFF))
    made.append(little: UInt16(said.count))
    return made + said
}
