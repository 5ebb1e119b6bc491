import EntractePlan

/// The header of an array in numpy's own format (versions 1.0 and 2.0).
struct NpyHeader {
    let shape: [Int]
    /// Nil: no kind of number that is read.
    let type: ElementType?
    /// What it is called in messages.
    let called: String
    let isFortran: Bool
    /// Where its numbers begin.
    let begin: Int

    /// Most bytes of a header that is read: numpy's own limit is 10,000 characters.
    static let mostBytes = 1 << 16

    /// Of the first bytes of a file. Throws `MediaFault`.
    init(_ first: [UInt8]) throws {
        guard first.starts(with: [0x93] + Array("NUMPY".utf8)), first.count >= 10 else {
            throw MediaFault("is no array in numpy's format; save it with numpy.save")
        }
        let version = (Int(first[6]), Int(first[7]))
        guard version == (1, 0) || version == (2, 0) else {
            throw MediaFault("is of version \(version) of numpy's format; save it again")
        }
        let from = version.0 == 1 ? 10 : 12
        guard let length = first.little(8, from - 8).map({ Int($0) }), from + length <= first.count else {
            throw MediaFault("its header is cut off or too long; is it whole?")
        }
        begin = from + length
        var text = Literal(String(decoding: first[from..<begin], as: UTF8.self))
        let entries = try text.entries()
        guard entries.count == 3, case .text(let descr)? = entries["descr"],
            case .flag(let isFortran)? = entries["fortran_order"], case .shape(let shape)? = entries["shape"]
        else { throw MediaFault("its header is not that of an array of numbers; save it again") }
        self.shape = shape
        self.isFortran = isFortran
        type = Self.type(descr)
        let others = ["|b1": "bool", "|O": "object", "<c8": "complex64", "<c16": "complex128", "<f16": "float128"]
        called = type?.name ?? others[descr] ?? descr
    }

    private static func type(_ descr: String) -> ElementType? {
        let letters = Array(descr.utf8)
        guard letters.count == 3, let width = ["1": 1, "2": 2, "4": 4, "8": 8][descr.suffix(1)] else {
            return nil
        }
        let kinds: [UInt8: ElementType.Kind] = [0x66: .float, 0x69: .signed, 0x75: .unsigned]
        guard let kind = kinds[letters[1]], kind != .float || width > 1,
            descr.hasPrefix("<") || descr.hasPrefix(">") || (width == 1 && descr.hasPrefix("|"))
        else { return nil }
        return ElementType(kind: kind, widthBytes: width, isBig: descr.hasPrefix(">"))
    }
}

/// As `numpy.save` writes it, version 1.0; `descr` is its type's.
func npyHeader(_ descr: String, _ shape: [Int]) -> [UInt8] {
    var text = "{'descr': '\(descr)', 'fortran_order': False, 'shape': \(words(shape)), }"
    // Room to grow along the first axis, as numpy leaves it.
    if let first = shape.first { text += String(repeating: " ", count: max(0, 21 - String(first).count)) }
    let padding = 64 - (10 + text.utf8.count + 1) % 64
    text += String(repeating: " ", count: padding) + "\n"
    var made: [UInt8] = [0x93] + Array("NUMPY".utf8) + [1, 0]
    made.append(little: UInt16(clamping: text.utf8.count))
    return made + Array(text.utf8)
}

/// The few literals of Python that such a header has.
private struct Literal {
    enum Value: Equatable {
        case text(String)
        case flag(Bool)
        case shape([Int])
    }

    private static let fault = MediaFault("its header is damaged")
    private let letters: [UInt8]
    private var at = 0

    init(_ text: String) { letters = Array(text.utf8) }

    mutating func entries() throws -> [String: Value] {
        var made: [String: Value] = [:]
        try expect("{")
        while !found("}") {
            guard case .text(let key) = try value(), made[key] == nil else { throw Self.fault }
            try expect(":")
            made[key] = try value()
            if !found(",") {
                try expect("}")
                break
            }
        }
        skip()
        guard at == letters.count else { throw Self.fault }
        return made
    }

    private mutating func value() throws -> Value {
        for quote: Character in ["'", "\""] where found(quote) {
            let begin = at
            while at < letters.count, letters[at] != quote.asciiValue, letters[at] != 0x5C { at += 1 }
            let text = String(decoding: letters[begin..<at], as: UTF8.self)
            try expect(quote)
            return .text(text)
        }
        if found("T") { return try word("rue", .flag(true)) }
        if found("F") { return try word("alse", .flag(false)) }
        try expect("(")
        return try .shape(numbers())
    }

    private mutating func numbers() throws -> [Int] {
        var made: [Int] = []
        while !found(")") {
            skip()
            let begin = at
            while at < letters.count, (0x30...0x39).contains(letters[at]) { at += 1 }
            let text = String(decoding: letters[begin..<at], as: UTF8.self)
            guard let number = Int(text), made.count < 64 else { throw Self.fault }
            made.append(number)
            if !found(",") {
                try expect(")")
                break
            }
        }
        return made
    }

    private mutating func word(_ rest: String, _ value: Value) throws -> Value {
        let wanted = Array(rest.utf8)
        guard letters[at...].starts(with: wanted) else { throw Self.fault }
        at += wanted.count
        return value
    }

    private mutating func skip() {
        while at < letters.count, [0x20, 0x0A, 0x09].contains(letters[at]) { at += 1 }
    }

    private mutating func found(_ letter: Character) -> Bool {
        skip()
        guard at < letters.count, letters[at] == letter.asciiValue else { return false }
        at += 1
        return true
    }

    private mutating func expect(_ letter: Character) throws {
        guard found(letter) else { throw Self.fault }
    }
}
