import EntractePlan

/// Of what a host operation makes: a stranger's plan must not fill the memory of whoever runs it.
enum HostLimits {
    static let elements = 1 << 26
    static let axes = 16
    static let scores = 16
    static let scoreLength = 200
    static let segment = 1_000_000
    /// Ids are int32.
    static let id = Int(Int32.max)

    /// The elements of a shape; nil where they are more than the limit, or a size is below 0.
    static func elements(_ shape: [Int]) -> Int? {
        var made = 1
        for size in shape {
            let (product, overflows) = made.multipliedReportingOverflow(by: size)
            guard !overflows, size >= 0 else { return nil }
            made = product
        }
        return made <= elements ? made : nil
    }
}

/// What values a param may have.
struct HostKind: Sendable {
    let words: String
    let holds: @Sendable (Param) -> Bool

    static let text = HostKind(words: "a text") { $0.asText != nil }
    static let flag = HostKind(words: "true or false") { $0.asFlag != nil }
    static let size = HostKind(words: "a whole number above 0, at most \(HostLimits.elements)", holds: isSize)
    static let shape = HostKind(
        words: "a list of sizes, each above 0, together at most \(HostLimits.elements) elements"
    ) {
        guard let sizes = $0.asList, 1...HostLimits.axes ~= sizes.count, sizes.allSatisfy(isSize)
        else { return false }
        return HostLimits.elements(sizes.compactMap(\.asWhole)) != nil
    }
    static let ids = HostKind(words: "a list of whole numbers from 0 to \(HostLimits.id)") {
        guard let ids = $0.asList else { return false }
        return ids.allSatisfy { $0.asWhole.map { 0...HostLimits.id ~= $0 } ?? false }
    }
    static let scores = HostKind(
        words: "a list of 1 to \(HostLimits.scores) texts LABEL: VALUE, of \(HostLimits.scoreLength) "
            + "characters at most"
    ) {
        guard let scores = $0.asList, 1...HostLimits.scores ~= scores.count else { return false }
        return scores.allSatisfy(isScore)
    }
    static let file = HostKind(words: "a file's name, without folders") {
        guard let name = $0.asText else { return false }
        return !["", ".", ".."].contains(name) && !name.unicodeScalars.contains { $0 == "/" || $0 == "\\" }
    }

    static func oneOf(_ words: [String]) -> HostKind {
        HostKind(words: "one of " + words.joined(separator: ", ")) {
            guard let text = $0.asText else { return false }
            return words.contains { $0.utf8.elementsEqual(text.utf8) }
        }
    }

    static func whole(_ range: ClosedRange<Int>) -> HostKind {
        HostKind(words: "a whole number from \(range.lowerBound) to \(range.upperBound)") {
            $0.asWhole.map(range.contains) ?? false
        }
    }

    private static func isSize(_ value: Param) -> Bool {
        value.asWhole.map { 1...HostLimits.elements ~= $0 } ?? false
    }

    private static func isScore(_ value: Param) -> Bool {
        guard let signs = value.asText?.unicodeScalars, signs.count <= HostLimits.scoreLength,
            let colon = signs.firstIndex(of: ":")
        else { return false }
        return colon > signs.startIndex
    }
}

extension Param {
    var asText: String? { if case .text(let x) = self { x } else { nil } }
    var asWhole: Int? { if case .whole(let x) = self { x } else { nil } }
    var asFlag: Bool? { if case .flag(let x) = self { x } else { nil } }
    var asList: [Param]? { if case .list(let x) = self { x } else { nil } }

    /// As messages show it: lists inside of a list in parentheses, as Python keeps them.
    var shown: String {
        if case .list(let items) = self { return "[" + items.map(\.inner).joined(separator: ", ") + "]" }
        return inner
    }

    private var inner: String {
        switch self {
        case .none: "None"
        case .flag(let x): x ? "True" : "False"
        case .whole(let x): String(x)
        case .number(let x): words(x)
        case .text(let x): words(x)
        case .list(let x): tupleWords(x.map(\.inner))
        }
    }
}
