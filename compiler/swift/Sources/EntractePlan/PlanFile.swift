import Foundation

/// plan.json: read as what a stranger may have written. `docs/plan-format.md` says what stands where.
public enum PlanFormat {
    /// The version that this runner reads, as its plans say it.
    public static let version = 6
    public static let file = "plan.json"
    public static let constants = "constants.safetensors"
    /// A larger file is no plan.
    public static let mostBytes = 64 << 20
    /// Of constants or a tokenizer; a table's size follows from its step.
    public static let mostFileBytes = 1 << 30
    /// Values and keys of a plan; what has more would only take memory.
    static let mostNodes = 1 << 23
    /// What stands before the plan's bytes, and behind them.
    static let headBytes = 85
    static let tail = Array("\n}\n".utf8)
}

extension Plan {
    /// The plan of a build folder, or of the plan file itself.
    ///
    /// `rows`: the table of host operations, that host steps are checked by; nil: they are not.
    ///
    /// Raises `Fault` for a file that is missing, in another frame, of another version or changed, and
    /// for whatever in it is not as `check` says.
    public static func read(_ place: URL, rows: [any HostRow]? = nil) throws -> Plan {
        let path = try planPath(place)
        return try read(framed: try readWhole(path), path: path.path, rows: rows)
    }

    /// The plan that a file's bytes hold; `path` is what messages call it.
    static func read(framed data: Data, path: String, rows: [any HostRow]? = nil) throws -> Plan {
        let frame = try PlanFrame(data, path: path)
        let tape = try frame.parsed(path: path)
        try PlanFrame.checkVersion(versionWords(tape), path: path)
        guard SHA256.hex(frame.body) == frame.sha256 else {
            throw Fault.plan("\(path): changed since it was written (wrong SHA-256); compile again")
        }
        let plan = try decoded(tape, sha256: frame.sha256)
        try plan.check(rows)
        return plan
    }

    /// The plan of a build folder.
    public static func read(folder: URL, rows: [any HostRow]? = nil) throws -> Plan {
        try read(folder, rows: rows)
    }

    /// A plan's own JSON, without the frame around it. Types, texts and ranges of numbers are checked;
    /// what the plan claims is what `check` looks at. Raises `Fault`.
    public static func decode(_ data: Data) throws -> Plan {
        let frame = PlanFrame(body: data)
        let tape = try frame.parsed(path: PlanFormat.file)
        try PlanFrame.checkVersion(versionWords(tape), path: PlanFormat.file)
        return try decoded(tape, sha256: frame.sha256)
    }

    private static func decoded(_ tape: Tape, sha256: String) throws -> Plan {
        try checkTexts(tape)
        return try Decoder(tape).plan(0, sha256: sha256)
    }

    /// Links are followed, within the folder.
    private static func planPath(_ place: URL) throws -> URL {
        let isFolder = FileState(place.path, follow: true)?.kind == .folder
        let kind = isFolder
            ? inside(place.path, PlanFormat.file)?.state.kind : FileState(place.path, follow: true)?.kind
        guard kind == .regular else {
            throw Fault.plan(
                "\(place.path): there is no \(PlanFormat.file) here; give a build folder made by `compile`")
        }
        return isFolder ? place.appendingPathComponent(PlanFormat.file) : place
    }

    private static func readWhole(_ path: URL) throws -> Data {
        let size = FileState(path.path, follow: true)?.sizeBytes ?? 0
        guard size <= PlanFormat.mostBytes else {
            throw Fault.plan("\(path.path): larger than \(PlanFormat.mostBytes) bytes; this is no plan")
        }
        do {
            return try Data(contentsOf: path)
        } catch {
            throw Fault.plan("\(path.path): cannot be read (\(error.localizedDescription))")
        }
    }
}

/// The plan's version as its file says it, in words.
func versionWords(_ tape: Tape) -> String {
    var key = 1
    while tape.nodes[0].kind == .object, key < Int(tape.nodes[0].next) {
        if tape.text(key) == "version" { return words(tape, key + 1) }
        key = tape.behind(key + 1)
    }
    return "None"
}

/// Where the parts of a plan's file stand.
struct PlanFrame {
    /// The hash that the file names.
    let sha256: String
    /// The bytes that it is of.
    let body: Data

    /// A plan without a frame: its hash is what it is.
    init(body: Data) {
        self.body = body
        sha256 = SHA256.hex(body)
    }

    /// Raises `Fault` for a file in another form, or of an older version.
    init(_ data: Data, path: String) throws {
        let hash = Self.hash(data)
        if hash == nil { try Self.checkOld(data, path: path) }
        let least = PlanFormat.headBytes + PlanFormat.tail.count
        guard let hash, data.count > least, data.suffix(PlanFormat.tail.count).elementsEqual(PlanFormat.tail)
        else {
            throw Fault.plan("\(path): not a whole JSON file in the form of a plan; compile again")
        }
        sha256 = hash
        body = data.dropFirst(PlanFormat.headBytes).dropLast(PlanFormat.tail.count)
    }

    private static func hash(_ data: Data) -> String? {
        let head = Array(data.prefix(PlanFormat.headBytes))
        let (opening, closing) = (Array("{\"sha256\":\"".utf8), Array("\",\"plan\":\n".utf8))
        guard head.count == PlanFormat.headBytes, head.starts(with: opening),
            head[75...].elementsEqual(closing)
        else { return nil }
        let digits = head[11 ..< 75]
        guard digits.allSatisfy({ (48 ... 57).contains($0) || (97 ... 102).contains($0) }) else { return nil }
        return String(decoding: digits, as: UTF8.self)
    }

    /// Plans of older versions had another frame: they say their version before they are refused. Other
    /// JSON is no plan.
    private static func checkOld(_ data: Data, path: String) throws {
        let tape = try? data.withUnsafeBytes { try Parser.parse($0, mostNodes: PlanFormat.mostNodes) }
        guard let tape, tape.nodes[0].kind != .null else { return }
        var key = 1
        while tape.nodes[0].kind == .object, key < Int(tape.nodes[0].next) {
            if tape.text(key) == "plan", tape.nodes[key + 1].kind == .object {
                return try checkVersion(version(tape, key + 1), path: path)
            }
            key = tape.behind(key + 1)
        }
        throw Fault.plan("\(path): JSON, but no plan; give a build folder that `compile` made")
    }

    private static func version(_ tape: Tape, _ object: Int) -> String {
        var key = object + 1
        while key < Int(tape.nodes[object].next) {
            if tape.text(key) == "version" { return words(tape, key + 1) }
            key = tape.behind(key + 1)
        }
        return "None"
    }

    func parsed(path: String) throws -> Tape {
        let tape: Tape
        do {
            tape = try body.withUnsafeBytes { try Parser.parse($0, mostNodes: PlanFormat.mostNodes) }
        } catch let error as JSONError {
            throw Fault.plan("\(path): not a whole JSON file (\(error.message)); compile again")
        }
        guard tape.nodes[0].kind == .object else {
            throw Fault.plan("\(path): holds no plan; compile again")
        }
        return tape
    }

    static func checkVersion(_ version: String, path: String) throws {
        // As Python compares: 5.0 is 5.
        guard version == "\(PlanFormat.version)" || version == "\(PlanFormat.version).0" else {
            throw Fault.plan(
                "\(path): plan version \(version), this Entracte reads version \(PlanFormat.version); "
                    + "compile again, or use the Entracte that made it")
        }
    }
}
