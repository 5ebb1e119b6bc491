import EntractePlan

/// Characters, and pairs of them joined, the first rule of all first.
struct BytePairs: Sendable {
    let vocabulary: Vocabulary
    let rules: Rules
    let merges: Merges

    struct Rules: Sendable {
        var unknown: Int32?
        /// A token is named for what is unknown, but not in the vocabulary.
        var lacksUnknown = false
        /// Of what does not begin a word.
        var prefix: [UInt8] = []
        /// Of what ends a word.
        var suffix: [UInt8] = []
        var fusesUnknown = false
        var fallsBackToBytes = false
        var takesWholeWords = false
    }

    private let bytes: [Int32]

    init(_ vocabulary: Vocabulary, _ rules: Rules, _ merges: Merges) {
        self.vocabulary = vocabulary
        self.rules = rules
        self.merges = merges
        bytes = rules.fallsBackToBytes ? byteTokens(vocabulary) : []
    }

    func tokens(_ piece: [UInt8]) throws -> [Token] {
        if rules.takesWholeWords, let id = vocabulary.id(of: piece) {
            return [Token(id: id, begin: 0, end: piece.count)]
        }
        var word = try symbols(piece)
        merges.join(&word)
        var made: [Token] = []
        made.reserveCapacity(word.count)
        var at = 0
        for symbol in word where symbol.size > 0 {
            made.append(Token(id: symbol.id, begin: at, end: at + symbol.size))
            at += symbol.size
        }
        return made
    }

    struct Symbol {
        var id: Int32
        /// 0 of one that was joined to another.
        var size: Int
        var previous: Int
        var next: Int
    }

    private func symbols(_ piece: [UInt8]) throws -> [Symbol] {
        var made: [Symbol] = []
        made.reserveCapacity(piece.count)
        var unknownSize = 0
        func add(_ id: Int32, _ size: Int) {
            if let last = made.indices.last { made[last].next = last + 1 }
            made.append(Symbol(id: id, size: size, previous: made.count - 1, next: -1))
        }
        func addUnknown() {
            if unknownSize > 0, let unknown = rules.unknown { add(unknown, unknownSize) }
            unknownSize = 0
        }
        var start = 0
        while start < piece.count {
            let end = min(start + UTF8Text.length(piece[start]), piece.count)
            let size = end - start
            if let id = id(piece, start, end) {
                addUnknown()
                add(id, size)
            } else if !bytes.isEmpty, piece[start ..< end].allSatisfy({ bytes[Int($0)] >= 0 }) {
                // The library, too, leaves what is unknown before them behind them.
                for byte in piece[start ..< end] { add(bytes[Int(byte)], 1) }
            } else if rules.lacksUnknown {
                throw Fault.run(
                    "tokenize: the tokenizer's token for unknown characters is not in its vocabulary; "
                        + "give another one")
            } else if rules.unknown != nil {
                if !rules.fusesUnknown { addUnknown() }
                unknownSize += size
            }
            start = end
        }
        addUnknown()
        return made
    }

    private func id(_ piece: [UInt8], _ start: Int, _ end: Int) -> Int32? {
        let hasPrefix = start > 0 && !rules.prefix.isEmpty
        let hasSuffix = end == piece.count && !rules.suffix.isEmpty
        if !hasPrefix, !hasSuffix { return vocabulary.id(of: piece[start ..< end]) }
        var text = hasPrefix ? rules.prefix : []
        text += piece[start ..< end]
        if hasSuffix { text += rules.suffix }
        return vocabulary.id(of: text)
    }
}

/// Which pairs become one, and in which order.
struct Merges: Sendable {
    /// Pairs of ids as one number; `UInt64.max` where there is none.
    private var pairs: [UInt64]
    private var ranks: [Int32]
    private var made: [Int32]

    init(count: Int) {
        var size = 16
        while size < count * 2 { size *= 2 }
        pairs = [UInt64](repeating: .max, count: size)
        ranks = [Int32](repeating: 0, count: size)
        made = ranks
    }

    /// Of equal pairs the last one counts. At most as many as `count` said.
    mutating func add(_ a: Int32, _ b: Int32, rank: Int32, made id: Int32) {
        let pair = Self.pair(a, b)
        let slot = slot(of: pair)
        pairs[slot] = pair
        ranks[slot] = rank
        made[slot] = id
    }

    private static func pair(_ a: Int32, _ b: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: a)) << 32 | UInt64(UInt32(bitPattern: b))
    }

    @inline(__always)
    private func slot(of pair: UInt64) -> Int {
        let mask = pairs.count - 1
        let hash = pair &* 0x9E37_79B9_7F4A_7C15
        var slot = Int(truncatingIfNeeded: hash >> 32) & mask
        while pairs[slot] != .max, pairs[slot] != pair { slot = (slot + 1) & mask }
        return slot
    }

    @inline(__always)
    private func find(_ a: Int32, _ b: Int32) -> (rank: Int32, id: Int32)? {
        let slot = slot(of: Self.pair(a, b))
        return pairs[slot] == .max ? nil : (ranks[slot], made[slot])
    }

    private struct Wanted: Comparable {
        let rank: Int32
        let place: Int
        let id: Int32

        static func < (a: Wanted, b: Wanted) -> Bool {
            a.rank != b.rank ? a.rank < b.rank : a.place < b.place
        }
    }

    /// The pair of the first rule, of equal ones the leftmost, becomes one, until none is left.
    func join(_ word: inout [BytePairs.Symbol]) {
        guard word.count > 1 else { return }
        var queue = Heap<Wanted>()
        for i in 0 ..< word.count - 1 {
            if let (rank, id) = find(word[i].id, word[i + 1].id) {
                queue.push(Wanted(rank: rank, place: i, id: id))
            }
        }
        while let top = queue.pop() {
            let place = top.place
            let next = word[place].next
            guard word[place].size > 0, next >= 0 else { continue }
            // What it was put there for may be gone.
            guard let found = find(word[place].id, word[next].id), found.id == top.id else { continue }
            word[place].id = top.id
            word[place].size += word[next].size
            word[place].next = word[next].next
            word[next].size = 0
            let behind = word[place].next
            if behind >= 0 { word[behind].previous = place }
            let before = word[place].previous
            if before >= 0, let (rank, id) = find(word[before].id, word[place].id) {
                queue.push(Wanted(rank: rank, place: before, id: id))
            }
            if behind >= 0, let (rank, id) = find(word[place].id, word[behind].id) {
                queue.push(Wanted(rank: rank, place: place, id: id))
            }
        }
    }
}

/// The least first.
struct Heap<Element: Comparable> {
    private var items: [Element] = []

    mutating func push(_ item: Element) {
        items.append(item)
        var child = items.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard items[child] < items[parent] else { return }
            items.swapAt(child, parent)
            child = parent
        }
    }

    mutating func pop() -> Element? {
        guard let least = items.first, let last = items.popLast() else { return nil }
        guard !items.isEmpty else { return least }
        items[0] = last
        var parent = 0
        while true {
            var child = parent * 2 + 1
            guard child < items.count else { return least }
            if child + 1 < items.count, items[child + 1] < items[child] { child += 1 }
            guard items[child] < items[parent] else { return least }
            items.swapAt(child, parent)
            parent = child
        }
    }
}
