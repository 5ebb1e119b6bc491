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

extension Tensor {
    /// An array over this tensor's bytes, which it neither copies nor keeps: the tensor must live as long as
    /// the array is read or written.
    func array() throws -> MLMultiArray {
        guard let start = bytes.baseAddress else { throw Fault.run("a tensor without memory") }
        return try MLMultiArray(
            dataPointer: start, shape: Numbers.objects(shape), dataType: dtype.coreML,
            strides: Numbers.objects(Strided.packed(shape)))
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

    /// Tensors in the order of the ports.
    init(_ ports: [Port], _ tensors: [Tensor]) throws {
        var features: [String: Any] = [:]
        for (port, tensor) in zip(ports, tensors) {
            features[port.name] = MLFeatureValue(multiArray: try tensor.array())
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
    let array: MLMultiArray
    private let tensor: Tensor

    init(_ port: Port) throws {
        self.port = port
        tensor = Tensor(zeros: port.shape, port.dtype)
        array = try tensor.array()
    }

    /// The output as a tensor: the proposed memory where the very array came back, else a copy by its strides.
    func taken(from results: any MLFeatureProvider, _ chunk: String) throws -> Tensor {
        guard let given = results.featureValue(for: port.name)?.multiArrayValue else {
            throw Fault.run("package \(chunk): the model gave no array '\(port.name)'")
        }
        if given === array { return tensor }
        let shape = Numbers.plain(given.shape)
        guard given.dataType == port.dtype.coreML, shape == port.shape else {
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
            let isShape = shape == port.shape || (kind == "output" && shape.isEmpty)
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
