#if canImport(CoreML)
@preconcurrency import CoreML
import EntractePlan
// Foundation has a `Port` too.
import struct EntractePlan.Port
import EntracteRuntime
import Foundation

extension DType {
    /// Core ML's word. fp16 is carried as bit patterns, so that no `Float16` is needed.
    var coreML: MLMultiArrayDataType {
        switch self {
        case .fp16: .float16
        case .fp32: .float32
        case .int32: .int32
        }
    }
}

/// Numbers across the border: on Apple's systems they are objects.
enum Numbers {
    static func objects(_ numbers: [Int]) -> [NSNumber] { numbers.map { NSNumber(value: $0) } }
    static func plain(_ numbers: [NSNumber]) -> [Int] { numbers.map(\.intValue) }
}

extension MLMultiArray {
    /// An array over a port's bytes, which are not copied: they must be there as long as it is read or written.
    /// `keeps`: what they lie in, where the array is to keep that alive.
    static func over(
        _ bytes: UnsafeMutableRawBufferPointer, _ port: Port, keeps: (any Sendable)? = nil
    ) throws -> MLMultiArray {
        guard let start = bytes.baseAddress else { throw Fault.run("a tensor without memory") }
        return try MLMultiArray(
            dataPointer: start, shape: Numbers.objects(port.outerShape), dataType: port.dtype.coreML,
            strides: Numbers.objects(Strided.packed(port.outerShape)),
            deallocator: keeps.map { kept in { _ in withExtendedLifetime(kept) {} } })
    }
}

extension Port {
    /// As Core ML has it: there is no rank 0, what has it in a plan is of shape (1,) here.
    var outerShape: [Int] { shape.isEmpty ? [1] : shape }
}

/// What a call gives to a model: tensors by its ports, and of a shared graph the arrays of one chunk.
///
/// Unchecked: whoever calls the model is the only one to call this.
final class CallInputs: @unchecked Sendable {
    private let chunk: String
    private let function: String
    private let ports: [Port]
    /// The same as the model calls them.
    private let features: [Port]
    private let arrays: [String: MLFeatureValue]
    private var kept: KeptInputs?

    /// Without arrays: a graph that needs some is called with another one of these.
    init(_ package: Package, _ function: String) {
        (chunk, self.function) = (package.chunk, function)
        ports = package.ports(of: function).inputs
        features = package.features(of: function).inputs
        arrays = [:]
    }

    /// Arrays are not copied: Core ML reads them where they are mapped, or makes copies of its own. The file is
    /// unmapped when the last of them is gone.
    init(_ package: Package, _ arrays: Arrays, _ file: ArraysFile) throws {
        (chunk, function) = (package.chunk, "main")
        ports = package.inputs
        features = package.features(of: function).inputs
        let made = try zip(arrays.ports, file.arrays).map { port, bytes in
            (port.name, MLFeatureValue(multiArray: try .over(bytes, port, keeps: file)))
        }
        self.arrays = Dictionary(made) { first, _ in first }
    }

    /// The features of the last call where all tensors are the same ones, whose bytes may be others.
    func provider(_ given: [String: Tensor]) throws -> MLDictionaryFeatureProvider {
        let tensors = try ports.map { port in
            guard let tensor = given[port.name], tensor.shape == port.shape, tensor.dtype == port.dtype else {
                throw Fault.run(
                    "package \(chunk), function '\(function)': input '\(port.name)' must be \(port.dtype.rawValue) "
                        + "\(port.shape)")
            }
            return tensor
        }
        if let kept, kept.isOf(tensors) { return kept.provider }
        let made = try KeptInputs(features, tensors, arrays)
        kept = made
        return made.provider
    }
}

/// The features of a call, kept for the next one. Tensors are not kept alive: the plan's claim counts those
/// that the run holds.
struct KeptInputs {
    let provider: MLDictionaryFeatureProvider
    private let tensors: [WeakTensor]

    private struct WeakTensor {
        weak var tensor: Tensor?
    }

    /// Tensors in the order of their ports; `others` are features beside them.
    init(_ ports: [Port], _ tensors: [Tensor], _ others: [String: MLFeatureValue]) throws {
        var features: [String: Any] = others
        for (port, tensor) in zip(ports, tensors) {
            features[port.name] = MLFeatureValue(multiArray: try .over(tensor.bytes, port))
        }
        provider = try MLDictionaryFeatureProvider(dictionary: features)
        self.tensors = tensors.map { WeakTensor(tensor: $0) }
    }

    /// Whether it is of these very tensors.
    func isOf(_ given: [Tensor]) -> Bool {
        given.count == tensors.count && zip(given, tensors).allSatisfy { $0 === $1.tensor }
    }
}

/// Memory of ours that is proposed for an output: Core ML may use it, or give an array of its own.
struct OutputArray {
    let port: Port
    /// What the model calls it.
    let feature: String
    let array: MLMultiArray
    private let tensor: Tensor

    init(_ port: Port, feature: String) throws {
        (self.port, self.feature) = (port, feature)
        tensor = Tensor(zeros: port.shape, port.dtype)
        array = try .over(tensor.bytes, port)
    }

    /// The output as a tensor: the proposed memory where the very array came back, else a copy by its strides.
    func taken(from results: any MLFeatureProvider, _ chunk: String) throws -> Tensor {
        guard let given = results.featureValue(for: feature)?.multiArrayValue else {
            throw Fault.run("package \(chunk): the model gave no array '\(feature)'")
        }
        if given === array { return tensor }
        let shape = Numbers.plain(given.shape)
        guard given.dataType == port.dtype.coreML, shape == port.outerShape else {
            throw Fault.run(
                "package \(chunk): output '\(port.name)' came back as \(shape), type \(given.dataType.rawValue) of "
                    + "Core ML; the plan has \(port.shape) of \(port.dtype.rawValue)")
        }
        try given.withUnsafeBytes {
            try Strided.copy(
                from: $0, shape: shape, strides: Numbers.plain(given.strides), widthBytes: port.dtype.widthBytes,
                to: tensor.bytes)
        }
        return tensor
    }
}

/// Whether a loaded model has the ports that the plan says.
struct FeatureCheck {
    let chunk: String
    let function: String

    func check(_ model: MLModelDescription, inputs: [Port], outputs: [Port]) throws {
        try check("input", inputs, model.inputDescriptionsByName)
        try check("output", outputs, model.outputDescriptionsByName)
    }

    private func check(_ kind: String, _ ports: [Port], _ found: [String: MLFeatureDescription]) throws {
        let names = ports.map(\.name).sorted()
        guard names == found.keys.sorted() else {
            throw fault("has the \(kind)s \(found.keys.sorted()), the plan \(names)")
        }
        for port in ports {
            guard let constraint = found[port.name]?.multiArrayConstraint else {
                throw fault("\(kind) '\(port.name)' is no array")
            }
            let shape = Numbers.plain(constraint.shape)
            // Some models do not say the shapes of their outputs.
            let isShape = shape == port.outerShape || (kind == "output" && shape.isEmpty)
            guard isShape, constraint.dataType == port.dtype.coreML else {
                throw fault(
                    "\(kind) '\(port.name)' is \(shape), type \(constraint.dataType.rawValue) of Core ML; the plan "
                        + "has \(port.shape) of \(port.dtype.rawValue)")
            }
        }
    }

    private func fault(_ what: String) -> Fault {
        Fault.plan("package \(chunk), function '\(function)': \(what); compile again, and install again")
    }
}
#endif
