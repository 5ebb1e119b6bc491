import EntractePlan
import Foundation

/// What a user gives to an input.
public enum GivenValue: Sendable {
    /// As it was typed: for an image, video, audio or tensor the name of a file.
    case text(String)
    case whole(Int)
    case number(Double)
    /// The tensor itself.
    case tensor(Tensor)
}

/// A file that was read for an input: its tensor, and the SHA-256 of its bytes.
public struct ReadFile: Sendable {
    public let tensor: Tensor
    public let sha256: String

    public init(tensor: Tensor, sha256: String) {
        self.tensor = tensor
        self.sha256 = sha256
    }
}

/// Values for all inputs of a plan, and how a record names them.
public struct Given: Sendable {
    /// Reads the file that an input names.
    public typealias Reading = @Sendable (_ input: Input, _ path: String) async throws -> ReadFile

    /// By name: a number is fp32 [1], a choice int32 [1], a picture and the like a tensor of its port.
    public let values: [String: HostValue]
    public let told: [NamedTold]

    /// Every input of the program: as given, or its default. Files are read last: that takes longest.
    ///
    /// Throws `Fault` for an input that the program does not have, that is missing, or that is not what it
    /// should be.
    public init(
        _ program: Program, _ inputs: [String: GivenValue], reading: Reading = { input, path in
            throw Fault.run("input '\(input.name)': \(path): nothing here reads files")
        }
    ) async throws {
        let known = program.inputs
        let names = Set(known.map(\.name))
        if let stray = inputs.keys.filter({ !names.contains($0) }).min() {
            let list = known.map(\.name).joined(separator: ", ")
            let has = known.isEmpty ? "the plan has no inputs" : "the plan's inputs are \(list)"
            throw Fault.run("input \(words(stray)): \(has)")
        }
        for input in known where inputs[input.name] == nil && input.fallback == nil {
            throw Fault.run(
                "input \(words(input.name)): give it, e.g. `--input \(input.name)=...`; "
                    + "it has no default")
        }
        var made: [String: (HostValue, Told)] = [:]
        for input in known.filter({ $0.port == nil }) + known.filter({ $0.port != nil }) {
            made[input.name] = try await input.value(inputs[input.name], reading)
        }
        values = made.mapValues { $0.0 }
        told = known.compactMap { input in made[input.name].map { NamedTold(name: input.name, value: $0.1) } }
    }
}

extension Input {
    /// Its default as it would be typed; nil where it must be given.
    public var usual: String? { fallback?.typed }

    /// Its default, as if it was given.
    fileprivate var fallback: GivenValue? {
        switch `default` {
        case .text(let text): .text(text)
        case .whole(let whole): .whole(whole)
        case .number(let number): .number(number)
        case .flag, .list, .some(.none), nil: nil
        }
    }

    /// Of what is given (nil: the default) the value, and how a record names it.
    fileprivate func value(_ given: GivenValue?, _ reading: Given.Reading) async throws -> (HostValue, Told) {
        guard let value = given ?? fallback else { throw fault("it has no default") }
        switch kind {
        case .text: return (.text(value.typed), .text(value.typed))
        case .number:
            let number = try within(try self.number(value))
            return (.tensor(Tensor([Float(number)], shape: [1])), .number(number))
        case .seed:
            let seed = try within(try whole(value))
            return (.seed(seed), .whole(seed))
        case .choice: return try choice(value)
        case .image, .video, .audio, .tensor: return try await shaped(given, value, reading)
        }
    }

    // MARK: - numbers

    private func number(_ value: GivenValue) throws -> Double {
        guard let number = TypedNumber.real(value.typed), number.isFinite else {
            throw fault("\(value.spelled) is not a number")
        }
        return number
    }

    private func whole(_ value: GivenValue) throws -> Int {
        switch TypedNumber.whole(value.typed) {
        case .none: throw fault("\(value.spelled) is not a whole number")
        case .fits(let whole): return whole
        case .large(let digits): throw tooLarge(digits)
        }
    }

    /// Between `least` and `most`, where they are said; and no larger than can be told.
    private func within(_ value: Double) throws -> Double {
        guard abs(value) <= Double(Float.greatestFiniteMagnitude) else {
            throw tooLarge(words(value))
        }
        guard isWithin(value) else { throw notAllowed(words(value)) }
        return value
    }

    private func within(_ value: Int) throws -> Int {
        guard value.magnitude <= UInt(largest) else { throw tooLarge(String(value)) }
        guard isWithin(Double(value)) else { throw notAllowed(String(value)) }
        return value
    }

    private func isWithin(_ value: Double) -> Bool {
        (least.map { value >= $0 } ?? true) && (most.map { value <= $0 } ?? true)
    }

    private var largest: Int { kind == .choice ? Int(Int32.max) : Int.max }

    private func tooLarge(_ spelled: String) -> Fault {
        let most = kind == .number ? Double(Float.greatestFiniteMagnitude) : Double(largest)
        return fault("\(cut(spelled)) is too large for a \(kind.rawValue): at most \(general(most))")
    }

    private func notAllowed(_ spelled: String) -> Fault {
        let ends = [least.map { "least \(general($0))" }, most.map { "most \(general($0))" }]
        return fault("\(spelled) is not allowed: \(ends.compactMap { $0 }.joined(separator: ", "))")
    }

    // MARK: - choices

    /// Its place: as given, or that of a name.
    private func choice(_ value: GivenValue) throws -> (HostValue, Told) {
        guard !choices.isEmpty else {
            let place = try within(try whole(value))
            return (.tensor(Tensor([Int32(truncatingIfNeeded: place)], shape: [1])), .whole(place))
        }
        let text = value.typed
        let place = try choices.firstIndex(of: text) ?? byPlace(text)
        return (.tensor(Tensor([Int32(truncatingIfNeeded: place)], shape: [1])), .text(choices[place]))
    }

    private func byPlace(_ text: String) throws -> Int {
        if !text.isEmpty, text.utf8.allSatisfy({ (48...57).contains($0) }), let place = Int(text),
            place < choices.count
        {
            return place
        }
        guard choices.count > mostShown else {
            throw fault("\(words(text)) is not one of \(choices.joined(separator: ", "))")
        }
        throw fault(
            "\(words(text)) is none of \(choices.count) choices; near it are "
                + nearest(text, choices, 3, from: 0).joined(separator: ", ")
                + "; or give a number from 0 to \(choices.count - 1)")
    }

    // MARK: - tensors

    /// A file's name, a tensor, or the number that fills it.
    private func shaped(
        _ given: GivenValue?, _ value: GivenValue, _ reading: Given.Reading
    ) async throws -> (HostValue, Told) {
        guard let port else { throw fault("it has no shape and type") }
        switch given {
        case nil: return try filled(port, value)
        case .text(let path):
            let file = try await reading(self, path)
            return (.tensor(try fitting(port, file.tensor)), .text("sha256:\(file.sha256)"))
        case .tensor(let tensor):
            let digest = SHA256.hex(UnsafeRawBufferPointer(try fitting(port, tensor).bytes))
            return (.tensor(tensor), .text("sha256:\(digest)"))
        case .whole, .number:
            throw fault(
                "a number is no \(kind.rawValue); give a file's name, or a tensor of "
                    + shapeWords(port.shape))
        }
    }

    private func filled(_ port: EntractePlan.Port, _ value: GivenValue) throws -> (HostValue, Told) {
        let made = Tensor(zeros: port.shape, port.dtype)
        let number: Double, told: Told
        switch value {
        case .whole(let whole): (number, told) = (Double(whole), .whole(whole))
        case .number(let real): (number, told) = (real, .number(real))
        case .text, .tensor: throw fault("its default is no number")
        }
        switch port.dtype {
        case .fp16:
            let bits = Half.bits(Float(number))
            for i in 0..<made.count { made.halves[i] = bits }
        case .fp32:
            let own = Float(number)
            for i in 0..<made.count { made.floats[i] = own }
        case .int32:
            let own = Int32(exactly: number.rounded(.towardZero)) ?? 0
            for i in 0..<made.count { made.ints[i] = own }
        }
        return (.tensor(made), told)
    }

    private func fitting(_ port: EntractePlan.Port, _ tensor: Tensor) throws -> Tensor {
        guard tensor.shape == port.shape, tensor.dtype == port.dtype else {
            throw fault(
                "is \(tensor.dtype.rawValue) of \(shapeWords(tensor.shape)); give \(port.dtype.rawValue) of "
                    + shapeWords(port.shape))
        }
        return tensor
    }

    private func fault(_ what: String) -> Fault { .run("input \(words(name)): \(what)") }
}

/// Choices that are listed; of more, the nearest.
private let mostShown = 12

/// As Python spells a tuple.
private func shapeWords(_ shape: [Int]) -> String {
    "(" + shape.map { String($0) }.joined(separator: ", ") + (shape.count == 1 ? ",)" : ")")
}

/// A number in six digits at most, as `%g` has it.
private func general(_ value: Double) -> String { String(format: "%g", value) }

private func cut(_ text: String) -> String {
    String(String.UnicodeScalarView(text.unicodeScalars.prefix(60)))
}

extension GivenValue {
    /// As if it was typed.
    fileprivate var typed: String {
        switch self {
        case .text(let text): text
        case .whole(let whole): String(whole)
        case .number(let number): words(number)
        case .tensor(let tensor): "a tensor of \(shapeWords(tensor.shape))"
        }
    }

    /// As a message shows it, in at most 60 characters.
    fileprivate var spelled: String {
        if case .text(let text) = self { return cut(words(text)) }
        return cut(typed)
    }
}
