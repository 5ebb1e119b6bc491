import EntractePlan

/// A param of a host operation.
struct HostParam: Sendable {
    let name: String
    let kind: HostKind
    let isNeeded: Bool

    init(_ name: String, _ kind: HostKind, isNeeded: Bool = true) {
        self.name = name
        self.kind = kind
        self.isNeeded = isNeeded
    }
}

/// An input of a host operation, and what a tensor must be that it reads.
struct HostOpInput: Sendable {
    let reads: HostReads
    private let dtype: DType?
    private let axes: [Int?]

    /// An input of the plan, of that kind.
    static func given(_ name: String, _ kind: Input.Kind) -> HostOpInput {
        HostOpInput(reads: HostReads(name, .input(kind)), dtype: nil, axes: [])
    }

    /// A tensor, whole; nil: an axis of any size.
    static func tensor(_ name: String, _ dtype: DType, _ axes: [Int?]) -> HostOpInput {
        HostOpInput(reads: HostReads(name, .tensor), dtype: dtype, axes: axes)
    }

    /// What is wrong with a tensor that it is to read.
    func fault(_ port: Port) -> String? {
        guard let dtype else { return nil }
        let isSame = zip(axes, port.shape).allSatisfy { $0 == nil || $0 == $1 }
        if isSame, axes.count == port.shape.count, port.dtype == dtype { return nil }
        let wanted = axes.map { $0.map(String.init) ?? "any" }.joined(separator: ", ")
        return "is \(port.dtype) \(port.shape), must be \(dtype) [\(wanted)]"
    }
}

/// Params by name, checked by their row.
struct HostParams: Sendable {
    private let values: [String: Param]

    init(_ step: HostStep) {
        values = Dictionary(step.params.map { ($0.name, $0.value) }) { $1 }
    }

    var names: [String] { Array(values.keys) }

    subscript(_ name: String) -> Param? { values[name] }

    func text(_ name: String) -> String? { values[name]?.asText }
    func whole(_ name: String) -> Int? { values[name]?.asWhole }
    func flag(_ name: String) -> Bool? { values[name]?.asFlag }
    func wholes(_ name: String) -> [Int] { values[name]?.asList?.compactMap(\.asWhole) ?? [] }
    func texts(_ name: String) -> [String] { values[name]?.asList?.compactMap(\.asText) ?? [] }
}

/// One operation of the host: all that there is to know of it. A step of a plan names its row in `op`.
struct HostOp: Sendable {
    let name: String
    let read: [HostOpInput]
    let params: [HostParam]
    /// What it gives, by its params and the tensors that it reads.
    let gives: @Sendable (HostParams, [String: Port]) -> [Port]
    /// The params that name files of the build folder.
    var files: [String] = []
    /// The exact size of its file, where it follows from its params; nil too where no number holds it.
    var bytes: @Sendable (HostParams) -> Int? = { _ in nil }
    /// Throws a `Fault` of kind `run`.
    let run: @Sendable (HostParams, [String: HostValue], HostPlace) throws -> [String: Tensor]

    /// What is wrong with the params and inputs of a plan's step; nil where nothing is.
    func fault(_ given: HostParams, inputs names: [String]) -> String? {
        let needed = params.filter(\.isNeeded).map(\.name)
        let reads = read.map(\.reads.name)
        return self.names("params", given.names, needed, params.map(\.name))
            ?? self.names("inputs", names, reads, reads)
            ?? params.lazy.compactMap { $0.fault(given) }.first
    }

    /// What is wrong with the tensors that it reads, by input, or with what it would make of them. Its
    /// params are checked.
    func wiredFault(_ given: HostParams, _ tensors: [String: Port]) -> String? {
        for input in read {
            if let port = tensors[input.reads.name], let fault = input.fault(port) {
                return "inputs.\(input.reads.name) \(fault)"
            }
        }
        for port in gives(given, tensors) where HostLimits.elements(port.shape) == nil {
            return "\(port.name) would have the shape \(port.shape), which is more than "
                + "\(HostLimits.elements) elements"
        }
        return nil
    }

    private func names(_ what: String, _ given: [String], _ needed: [String], _ known: [String]) -> String? {
        let strange = sortedByScalars(Set(given).subtracting(known))
        var faults = strange.map { "\(words($0)) is unknown\(similar($0, known))" }
        faults += needed.filter { !given.contains($0) }.map { "\(words($0)) is missing" }
        guard !faults.isEmpty else { return nil }
        let spelled = needed.map { (one: String) -> String in one == "shape" ? "shape (or shape_of)" : one }
        let free = known.filter { !needed.contains($0) }.joined(separator: ", ")
        let listed = spelled.isEmpty ? "none" : spelled.joined(separator: ", ")
        let told = "\(what): \(faults.joined(separator: ", ")); \(name) needs \(listed)"
        return free.isEmpty ? told : "\(told) and may have \(free)"
    }
}

extension HostParam {
    /// What is wrong with its value, if it is given.
    func fault(_ given: HostParams) -> String? {
        guard let value = given[name], !kind.holds(value) else { return nil }
        return "params.\(name): \(value.shown) is not \(kind.words)"
    }
}

extension HostOp: HostRow {
    var inputs: [HostReads] { read.map(\.reads) }

    func fault(_ step: HostStep) -> String? { fault(HostParams(step), inputs: step.inputs.map(\.port)) }

    func wiredFault(_ step: HostStep, _ tensors: [String: Port]) -> String? {
        wiredFault(HostParams(step), tensors)
    }

    func ports(_ step: HostStep, _ tensors: [String: Port]) -> [Port] { gives(HostParams(step), tensors) }

    func fileBytes(_ step: HostStep) -> Int? { bytes(HostParams(step)) }
}

/// The table of host operations.
public enum HostTable {
    static let ops: [HostOp] = [.tokenize, .retokenize, .randomNormal, .gatherRows]

    /// What reading a plan asks of it.
    public static let rows: [any HostRow] = ops

    static let names = ops.map(\.name).joined(separator: ", ")

    static func op(_ name: String) -> HostOp? { ops.first { $0.name == name } }
}

/// As Python sorts texts: by their code points.
func sortedByScalars(_ texts: some Sequence<String>) -> [String] {
    texts.sorted { one, other in
        one.unicodeScalars.lexicographicallyPrecedes(other.unicodeScalars)
    }
}
