import EntractePlan
import EntracteRuntime

/// One of several runs of a plan. Names are decided before anything is run: `clip.mp4` becomes
/// `clip-a-red-circle-seed3.mp4`, with what differs between the runs in it and nothing else.
public struct BatchRun: Sendable {
    /// What the names of its files end in; empty where it is the only one.
    public let name: String
    public let inputs: [String: GivenValue]
    /// Inputs that are not the same in all runs, in their order.
    public let differing: [String]
}

/// What an input may be, for a run each: texts and whole numbers.
public struct BatchValues: Sendable {
    public let input: String
    public let options: [GivenValue]

    public init(input: String, options: [GivenValue]) {
        self.input = input
        self.options = options
    }
}

/// More runs at once are a mistake.
public let mostRuns = 10_000

/// A run for each combination of `values`; the first input changes slowest. `same`: inputs that all runs are given.
///
/// Throws `Fault` for a value that is given twice, and for too many runs.
public func batch(same: [String: GivenValue], _ values: [BatchValues]) throws -> [BatchRun] {
    for one in values { try checkOnce(one) }
    let count = values.reduce(1) { times($0, $1.options.count) }
    guard count <= mostRuns else {
        throw Fault.run("\(count) runs are too many: at most \(mostRuns) at once; give fewer")
    }
    let differing = values.filter { $0.options.count > 1 }.map(\.input)
    var made = [BatchRun(name: "", inputs: same, differing: differing)]
    for one in values {
        let labels = one.options.count > 1 ? batchLabels(one) : [""]
        made = made.flatMap { before in
            zip(labels, one.options).map { label, option in before.with(label, one.input, option) }
        }
    }
    return made
}

extension BatchRun {
    fileprivate func with(_ label: String, _ input: String, _ value: GivenValue) -> BatchRun {
        let name = [name, label].filter { !$0.isEmpty }.joined(separator: "-")
        return BatchRun(name: name, inputs: inputs.merging([input: value]) { $1 }, differing: differing)
    }
}

/// By bytes: texts that look alike may be two.
private func checkOnce(_ values: BatchValues) throws {
    let texts = values.options.map(\.batchWords)
    var counts: [[UInt8]: Int] = [:]
    for text in texts { counts[Array(text.utf8), default: 0] += 1 }
    guard let twice = texts.first(where: { counts[Array($0.utf8), default: 0] > 1 }) else { return }
    throw Fault.run("input \(words(values.input)): \(cut(twice)) is given twice; leave one out")
}

/// Of each value, as a part of a file's name: no two are the same.
private func batchLabels(_ values: BatchValues) -> [String] {
    let texts = values.options.map { option in
        if case .text(let text) = option { return letters(text) }
        return values.input + option.batchWords
    }
    if !texts.contains(""), Set(texts).count == texts.count { return texts }
    let width = String(texts.count).count
    return texts.enumerated().map { k, text in
        let number = String(k + 1)
        let whole = String(repeating: "0", count: width - number.count) + number
        return text.isEmpty ? whole : "\(whole)-\(text)"
    }
}

private let longestLabel = 40

/// A text's letters and digits, in lower case; ASCII, which every file system takes alike.
private func letters(_ text: String) -> String {
    let plain = String(decoding: text.lowercased().unicodeScalars.map { c -> UInt8 in
        let isTaken = (0x30...0x39).contains(c.value) || (0x61...0x7A).contains(c.value)
        return isTaken ? UInt8(truncatingIfNeeded: c.value) : 0x20
    }, as: UTF8.self)
    var made = ""
    for word in plain.split(separator: " ") {
        if made.count + word.count + 1 > longestLabel { return made.isEmpty ? String(word.prefix(longestLabel)) : made }
        made += made.isEmpty ? String(word) : "-\(word)"
    }
    return made
}

extension GivenValue {
    /// As a message names it: texts in quotes.
    fileprivate var batchWords: String {
        switch self {
        case .text(let text): words(text)
        case .whole(let whole): String(whole)
        case .number(let number): words(number)
        case .tensor(let tensor): words(tensor.shape)
        }
    }
}

private func cut(_ text: String) -> String { String(String.UnicodeScalarView(text.unicodeScalars.prefix(60))) }

// ---------------------------------------------------------------- files

/// `clip.mp4` with `-NAME` before its ending; of `frames/` before the slash.
public func named(_ place: String, _ name: String) -> String {
    if name.isEmpty { return place }
    if place.hasSuffix("/") {
        var folder = Substring(place)
        while folder.hasSuffix("/") { folder.removeLast() }
        return "\(folder)-\(name)/"
    }
    let file = place.split(separator: "/", omittingEmptySubsequences: false).last ?? ""
    // Dots at its begin are no ending.
    let body = file.drop { $0 == "." }
    let stem = body.lastIndex(of: ".") ?? place.endIndex
    return "\(place[..<stem])-\(name)\(place[stem...])"
}

extension Out {
    /// Where the outputs of one run go, from where those of all are to.
    public func of(_ run: BatchRun) -> Out {
        switch self {
        case .nothing: .nothing
        case .file(let path): .file(named(path, run.name))
        case .files(let files): .files(files.mapValues { named($0, run.name) })
        }
    }
}

/// Throws `Fault` where a file of a run is there already: several runs overwrite nothing.
public func checkNew(_ sinks: [FileSink]) throws {
    for sink in sinks {
        let (folder, name) = splitPath(sink.path)
        guard FileState("\(folder)/\(name)", follow: false) == nil else {
            throw Fault.run(
                "\(sink.path): is there already, and several runs overwrite nothing; move it, or name others with --out")
        }
    }
}
