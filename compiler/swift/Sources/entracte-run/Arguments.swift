/// The words behind a command's name: `--option value` or `--option=value`, `--flag`, and the others in their order.
struct Arguments {
    /// Used in a way that the command does not have.
    struct Misuse: Error {
        let message: String
    }

    let words: [String]
    private let values: [String: [String]]

    /// `options` all take a value, `flags` none. Throws `Misuse`.
    init(_ raw: ArraySlice<String>, options: [String], flags: [String] = [], words wanted: [String]) throws {
        var words: [String] = [], values: [String: [String]] = [:]
        var rest = raw
        while let word = rest.popFirst() {
            guard word.hasPrefix("--"), word.count > 2 else {
                words.append(word)
                continue
            }
            let parts = word.dropFirst(2).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let name = String(parts.first ?? "")
            if flags.contains(name), parts.count == 1 {
                values[name, default: []].append("")
                continue
            }
            guard !flags.contains(name) else { throw Misuse(message: "--\(name): takes no value") }
            guard options.contains(name) else {
                let known = (options + flags).map { "--\($0)" }.joined(separator: ", ")
                throw Misuse(message: "--\(name): there is no such option; give one of \(known)")
            }
            guard let value = parts.count > 1 ? String(parts[1]) : rest.popFirst() else {
                throw Misuse(message: "--\(name): give it a value")
            }
            values[name, default: []].append(value)
        }
        guard words.count == wanted.count else {
            let given = words.isEmpty ? "nothing" : words.map { "'\($0)'" }.joined(separator: " ")
            throw Misuse(message: "give \(wanted.joined(separator: " ")), not \(given)")
        }
        self.words = words
        self.values = values
    }

    /// Whether a flag stands there.
    func has(_ flag: String) -> Bool { values[flag] != nil }

    /// All values of an option that may stand several times.
    func all(_ name: String) -> [String] { values[name] ?? [] }

    /// The value of an option that may stand once. Throws `Misuse`.
    func one(_ name: String) throws -> String? {
        let found = all(name)
        guard found.count < 2 else { throw Misuse(message: "--\(name): is given \(found.count) times") }
        return found.first
    }

    /// A whole number. Throws `Misuse`.
    func whole(_ name: String, least: Int) throws -> Int? {
        guard let text = try one(name) else { return nil }
        guard let number = Int(text), number >= least else {
            throw Misuse(message: "--\(name): '\(text)' is no whole number from \(least) on")
        }
        return number
    }

    /// Bytes, as `3000000000`, `3GB` or `2.8GiB`. Throws `Misuse`.
    func bytes(_ name: String) throws -> Int? {
        guard let text = try one(name) else { return nil }
        let units = ["": 1.0, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KIB": 0x1p10, "MIB": 0x1p20, "GIB": 0x1p30]
        let digits = text.prefix { $0.isNumber || $0 == "." }
        let unit = text.dropFirst(digits.count).uppercased().filter { $0 != " " }
        guard let number = Double(digits), let factor = units[unit], number * factor < 0x1p62 else {
            throw Misuse(message: "--\(name): '\(text)' is no size; give bytes, or a size such as 3GB or 2.8GiB")
        }
        return Int(number * factor)
    }

    /// `NAME=VALUE`, each name once. Throws `Misuse`.
    func pairs(_ name: String, _ what: String) throws -> [String: String] {
        var made: [String: String] = [:]
        for text in all(name) {
            guard let equals = text.firstIndex(of: "=") else {
                throw Misuse(message: "--\(name) \(text): write \(what)")
            }
            let key = String(text[..<equals])
            guard made.updateValue(String(text[text.index(after: equals)...]), forKey: key) == nil else {
                throw Misuse(message: "--\(name) \(text): '\(key)' is given twice")
            }
        }
        return made
    }
}
