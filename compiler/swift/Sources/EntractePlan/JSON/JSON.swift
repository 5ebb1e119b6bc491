import Foundation

/// A value of JSON. Whole numbers and fractions are kept apart as they are spelled: `1` and `1.0`.
public indirect enum JSON: Equatable, Sendable {
    case null
    case flag(Bool)
    case whole(Int)
    case number(Double)
    case text(String)
    case list([JSON])
    /// In the order in which they stand in the text; no name stands twice, byte by byte.
    ///
    /// (Swift calls texts equal that are canonically equivalent, so a dictionary by `String` could lose
    /// one of two names that the file keeps apart.)
    case object([Member])

    public struct Member: Equatable, Sendable {
        public let name: String
        public let value: JSON

        public init(_ name: String, _ value: JSON) {
            self.name = name
            self.value = value
        }
    }

    /// What a text of JSON holds: UTF-8, no key twice in an object, no NaN or infinity, no half of a
    /// surrogate pair, whole numbers within 64 bits with a sign, at most 80 containers in each other.
    ///
    /// Raises `JSONError`.
    public init(parsing data: Data) throws {
        let tape = try data.withUnsafeBytes { try Parser.parse($0) }
        self = try JSON(tape, 0)
    }

    /// The same of a text.
    public init(parsing text: String) throws {
        try self.init(parsing: Data(text.utf8))
    }

    /// Recursion ends: the parser has looked at the depth. Raises `JSONError` for numbers that are
    /// out of range.
    init(_ tape: Tape, _ node: Int) throws {
        let n = tape.nodes[node]
        switch n.kind {
        case .null: self = .null
        case .no: self = .flag(false)
        case .yes: self = .flag(true)
        case .text: self = .text(tape.text(node))
        case .real:
            let value = tape.real(node)
            guard value.isFinite else { throw JSONError(message: "\(value) is not finite") }
            self = .number(value)
        case .whole:
            guard let value = tape.whole(node) else {
                throw JSONError(message: "\(wholeWords(tape, node)) does not fit into 64 bits")
            }
            self = .whole(value)
        case .list:
            var items: [JSON] = []
            items.reserveCapacity(Int(n.count))
            var child = node + 1
            while child < Int(n.next) {
                items.append(try JSON(tape, child))
                child = tape.behind(child)
            }
            self = .list(items)
        case .object:
            var members: [Member] = []
            members.reserveCapacity(Int(n.count))
            var key = node + 1
            while key < Int(n.next) {
                members.append(Member(tape.text(key), try JSON(tape, key + 1)))
                key = tape.behind(key + 1)
            }
            self = .object(members)
        }
    }

    // MARK: what is inside

    /// The member of that name, byte by byte; nil where there is none, or this is no object. Looks
    /// at one after the other: take `asMembers` where there are many.
    public subscript(_ name: String) -> JSON? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.name.utf8.elementsEqual(name.utf8) }?.value
    }

    /// The item at that place; nil where there is none, or this is no list.
    public subscript(_ place: Int) -> JSON? {
        guard case .list(let items) = self, items.indices.contains(place) else { return nil }
        return items[place]
    }

    public var isNull: Bool { self == .null }
    public var asFlag: Bool? { if case .flag(let x) = self { x } else { nil } }
    public var asText: String? { if case .text(let x) = self { x } else { nil } }
    public var asList: [JSON]? { if case .list(let x) = self { x } else { nil } }
    public var asMembers: [Member]? { if case .object(let x) = self { x } else { nil } }

    /// A whole number; nil of what is spelled as a fraction.
    public var asWhole: Int? { if case .whole(let x) = self { x } else { nil } }

    /// A number, whole or not.
    public var asNumber: Double? {
        switch self {
        case .whole(let x): Double(x)
        case .number(let x): x
        default: nil
        }
    }
}
