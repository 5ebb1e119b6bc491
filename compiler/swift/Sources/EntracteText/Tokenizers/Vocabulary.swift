/// Texts with a number each, looked up by either, byte by byte.
struct Vocabulary: Sendable {
    private let bytes: [UInt8]
    /// Where entry e begins; one more than there are entries.
    private let starts: [UInt32]
    private let ids: [Int32]
    /// Entry + 1 at the place of its hash, or behind it; 0 where there is none.
    private let slots: [UInt32]
    /// Entry + 1 of an id; empty where ids are far apart.
    private let entryOfId: [UInt32]
    private let entryOfFarId: [Int32: UInt32]

    /// Entries as they stand in a file.
    struct Builder {
        fileprivate var bytes: [UInt8] = []
        fileprivate var starts: [UInt32] = [0]
        fileprivate var ids: [Int32] = []

        init(entries: Int, bytes size: Int) {
            bytes.reserveCapacity(size)
            starts.reserveCapacity(entries + 1)
            ids.reserveCapacity(entries)
        }

        mutating func add(_ text: UnsafeBufferPointer<UInt8>, _ id: Int32) {
            bytes.append(contentsOf: text)
            starts.append(UInt32(truncatingIfNeeded: bytes.count))
            ids.append(id)
        }
    }

    /// Of equal texts the last one is found. Nil where two texts have one id.
    init?(_ made: Builder) {
        bytes = made.bytes
        starts = made.starts
        ids = made.ids
        var size = 16
        while size < made.ids.count * 2 { size *= 2 }
        var slots = [UInt32](repeating: 0, count: size)
        for entry in made.ids.indices {
            let text = Self.text(made.bytes, made.starts, entry)
            let slot = Self.slot(of: text, slots, made.bytes, made.starts)
            slots[slot] = UInt32(truncatingIfNeeded: entry + 1)
        }
        self.slots = slots
        let largest = Int(made.ids.max() ?? 0)
        guard largest < made.ids.count * 4 + 65536 else {
            var far: [Int32: UInt32] = [:]
            for (entry, id) in made.ids.enumerated() {
                guard far.updateValue(UInt32(entry + 1), forKey: id) == nil else { return nil }
            }
            entryOfFarId = far
            entryOfId = []
            return
        }
        var near = [UInt32](repeating: 0, count: largest + 1)
        for (entry, id) in made.ids.enumerated() {
            guard near[Int(id)] == 0 else { return nil }
            near[Int(id)] = UInt32(entry + 1)
        }
        entryOfId = near
        entryOfFarId = [:]
    }

    var count: Int { ids.count }
    var largestId: Int { entryOfId.isEmpty ? Int(entryOfFarId.keys.max() ?? 0) : entryOfId.count - 1 }

    func id(ofEntry entry: Int) -> Int32 { ids[entry] }

    func text(ofEntry entry: Int) -> ArraySlice<UInt8> { Self.text(bytes, starts, entry) }

    func entry(of text: some Collection<UInt8>) -> Int? {
        let slot = Self.slot(of: text, slots, bytes, starts)
        return slots[slot] == 0 ? nil : Int(slots[slot]) - 1
    }

    func id(of text: some Collection<UInt8>) -> Int32? { entry(of: text).map { ids[$0] } }

    func text(ofId id: Int32) -> ArraySlice<UInt8>? {
        guard id >= 0 else { return nil }
        if entryOfId.isEmpty { return entryOfFarId[id].map { text(ofEntry: Int($0) - 1) } }
        guard Int(id) < entryOfId.count, entryOfId[Int(id)] > 0 else { return nil }
        return text(ofEntry: Int(entryOfId[Int(id)]) - 1)
    }

    private static func text(_ bytes: [UInt8], _ starts: [UInt32], _ entry: Int) -> ArraySlice<UInt8> {
        bytes[Int(starts[entry]) ..< Int(starts[entry + 1])]
    }

    /// Where the text is, or would be.
    @inline(__always)
    private static func slot(
        of text: some Collection<UInt8>, _ slots: [UInt32], _ bytes: [UInt8], _ starts: [UInt32]
    ) -> Int {
        let mask = slots.count - 1
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        var size = 0
        for byte in text {
            hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3
            size += 1
        }
        var slot = Int(truncatingIfNeeded: hash ^ hash >> 29) & mask
        while slots[slot] != 0 {
            let entry = Int(slots[slot]) - 1
            let start = Int(starts[entry])
            if Int(starts[entry + 1]) - start == size, text.elementsEqual(bytes[start ..< start + size]) {
                return slot
            }
            slot = (slot + 1) & mask
        }
        return slot
    }
}

/// Texts in their order, byte by byte: finds those that a text begins with.
struct Prefixes: Sendable {
    private let bytes: [UInt8]
    private let starts: [UInt32]
    /// What each text stands for.
    private let values: [Int32]
    /// The first text that begins with a byte, or a larger one.
    private let firstOf: [Int32]

    /// Nil where a text is empty or stands there twice.
    init?(_ texts: [(text: ArraySlice<UInt8>, value: Int32)]) {
        let sorted = texts.indices.sorted {
            texts[$0].text.lexicographicallyPrecedes(texts[$1].text)
        }
        var bytes: [UInt8] = []
        var starts: [UInt32] = [0]
        var values: [Int32] = []
        var firstOf = [Int32](repeating: 0, count: 257)
        var last: ArraySlice<UInt8> = []
        for i in sorted {
            let text = texts[i].text
            guard let first = text.first, !text.elementsEqual(last) else { return nil }
            bytes += text
            starts.append(UInt32(truncatingIfNeeded: bytes.count))
            values.append(texts[i].value)
            firstOf[Int(first) + 1] += 1
            last = text
        }
        for b in 1 ... 256 { firstOf[b] += firstOf[b - 1] }
        (self.bytes, self.starts, self.values, self.firstOf) = (bytes, starts, values, firstOf)
    }

    var isEmpty: Bool { values.isEmpty }

    /// Those that `text` from `start` on begins with, short ones first: their size and value.
    func find(_ text: UnsafeBufferPointer<UInt8>, from start: Int, _ each: (Int, Int32) -> Void) {
        guard start < text.count else { return }
        var low = Int(firstOf[Int(text[start])])
        var high = Int(firstOf[Int(text[start]) + 1])
        bytes.withUnsafeBufferPointer { bytes in
            starts.withUnsafeBufferPointer { starts in
                var depth = 1
                while low < high {
                    let first = Int(starts[low])
                    if Int(starts[low + 1]) - first == depth {
                        each(depth, values[low])
                        low += 1
                    }
                    guard low < high, start + depth < text.count else { return }
                    let byte = text[start + depth]
                    low = Self.bound(bytes, starts, low, high, depth) { $0 < byte }
                    high = Self.bound(bytes, starts, low, high, depth) { $0 <= byte }
                    depth += 1
                }
            }
        }
    }

    /// The first of them whose byte at `depth` is not before.
    @inline(__always)
    private static func bound(
        _ bytes: UnsafeBufferPointer<UInt8>, _ starts: UnsafeBufferPointer<UInt32>, _ low: Int, _ high: Int,
        _ depth: Int, _ isBefore: (UInt8) -> Bool
    ) -> Int {
        var (low, high) = (low, high)
        while low < high {
            let middle = (low + high) / 2
            if isBefore(bytes[Int(starts[middle]) + depth]) { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
