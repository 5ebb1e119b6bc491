#if canImport(CoreML)
@preconcurrency import CoreML
import Darwin
import EntractePlan
// Foundation has a `Port` too.
import struct EntractePlan.Port
import EntracteRuntime
import Foundation

/// A package, where it lies compiled, and what it is loaded on.
struct CoreMLPlace: Sendable {
    let package: Package
    let compiled: URL
    let unit: ComputeUnit
    let isMultifunction: Bool
}

/// One package in memory, bound to one function of it. Core ML allows one caller at a time: this actor is it.
///
/// Another function's call drops the model and loads the other: nothing documents that two models of one
/// package share their weights.
actor CoreMLModel: OneFunctionModel {
    private let place: CoreMLPlace
    private let settle: Settle
    private let pause: Pause
    private var bound: BoundModel?
    private var isBusy = false

    init(_ place: CoreMLPlace, _ bound: BoundModel, _ settle: Settle, _ pause: Pause) {
        self.place = place
        self.bound = bound
        self.settle = settle
        self.pause = pause
    }

    func call(_ function: String, _ inputs: [String: Tensor]) async throws -> [String: Tensor] {
        guard !isBusy else {
            throw Fault.run("package \(place.package.chunk): called while a call of it is under way")
        }
        isBusy = true
        defer { isBusy = false }
        let model = try await model(of: function)
        // States may have moved on in a call that failed.
        if model.hasStates { return try await model.call(inputs) }
        return try await pause.again { try await model.call(inputs) }
    }

    func ready(for function: String) async throws -> Bool {
        if bound?.function == function { return false }
        _ = try await model(of: function)
        return true
    }

    func free() async {
        guard let added = bound?.addedBytes else { return }
        await settle.frees(place.package.chunk, addedBytes: added)
        // The last reference unloads, and nothing else does: a pool must not hold another one.
        autoreleasepool { bound = nil }
    }

    private func model(of function: String) async throws -> BoundModel {
        if let now = bound, now.function == function { return now }
        await free()
        await settle.wait()
        let other = try await pause.again { try await BoundModel.load(place, function) }
        bound = other
        return other
    }
}

/// A loaded model with the arrays that are kept for its calls.
///
/// Unchecked: only the actor above, or who is about to make it, calls this, one call at a time.
final class BoundModel: @unchecked Sendable {
    let function: String
    /// What its load added to the process's footprint.
    let addedBytes: Int
    let hasStates: Bool
    private let model: MLModel
    private let chunk: String
    /// Names are the chunk's; of a shared graph it calls them otherwise.
    private let outputs: [Port]
    private let features: [Port]
    private let state: AnyObject?
    private let inputs: CallInputs

    private init(_ model: MLModel, _ place: CoreMLPlace, _ function: String, addedBytes: Int) throws {
        self.model = model
        self.function = function
        self.addedBytes = addedBytes
        chunk = place.package.chunk
        outputs = place.package.ports(of: function).outputs
        let own = place.package.features(of: function)
        features = own.outputs
        inputs = CallInputs(place.package, function)
        try FeatureCheck(chunk: chunk, function: function)
            .check(model.modelDescription, inputs: own.inputs, outputs: own.outputs)
        state = Self.newState(of: model)
        hasStates = state != nil
    }

    /// Load a compiled package for one function. A `Fault` for whatever Core ML has against it.
    static func load(_ place: CoreMLPlace, _ function: String) async throws -> BoundModel {
        let configuration = try configuration(place, function)
        let before = SystemMemory.footprintBytes() ?? 0
        let model: MLModel
        do {
            model = try await MLModel.load(contentsOf: place.compiled, configuration: configuration)
        } catch let error where !(error is CancellationError) {
            throw Fault.run(
                "package \(place.package.chunk), function '\(function)', cannot be loaded on "
                    + "\(place.unit.rawValue) (\(error.localizedDescription)); does the system have the plan's "
                    + "`target.deployment`? install the plan again, or try another `target.compute_unit`")
        }
        let after = SystemMemory.footprintBytes() ?? 0
        let most = place.package.weightBytes &+ place.package.activationBytes
        return try BoundModel(model, place, function, addedBytes: min(max(0, after - before), most))
    }

    /// Call it once with tensors of all its inputs, by the names of the chunk's ports. Gives new tensors by its
    /// outputs', in row-major order without gaps. `arrays`: of a shared graph the weights of who calls.
    func call(_ given: [String: Tensor], _ arrays: CallInputs? = nil) async throws -> [String: Tensor] {
        let provider = try (arrays ?? inputs).provider(given)
        let proposed = try zip(outputs, features).map { try OutputArray($0, feature: $1.name) }
        let options = MLPredictionOptions()
        options.outputBackings = Dictionary(proposed.map { ($0.feature, $0.array as Any) }) { first, _ in first }
        let results: any MLFeatureProvider
        do {
            results = try await predict(provider, options)
        } catch let error where !(error is CancellationError) {
            throw Fault.run(
                "package \(chunk), function '\(function)': the call failed (\(error.localizedDescription)); try "
                    + "another `target.compute_unit`, or run the plan on the reference device")
        }
        // Core ML reads the inputs' memory until here.
        withExtendedLifetime((given, arrays)) {}
        let taken = try autoreleasepool {
            try proposed.map { ($0.port.name, try $0.taken(from: results, chunk)) }
        }
        return Dictionary(taken) { first, _ in first }
    }

    private func predict(
        _ features: any MLFeatureProvider, _ options: MLPredictionOptions
    ) async throws -> any MLFeatureProvider {
        if #available(iOS 18, macOS 15, *), let state = state as? MLState {
            return try await model.prediction(from: features, using: state, options: options)
        }
        return try await model.prediction(from: features, options: options)
    }

    private static func configuration(_ place: CoreMLPlace, _ function: String) throws -> MLModelConfiguration {
        let made = MLModelConfiguration()
        made.computeUnits = place.unit.coreML
        made.modelDisplayName =
            place.isMultifunction ? "\(place.package.chunk) \(function)" : place.package.chunk
        if #available(iOS 17.4, macOS 14.4, *) {
            // Shapes of a plan never change.
            made.optimizationHints.reshapeFrequency = .infrequent
        }
        if place.isMultifunction || function != "main" {
            guard #available(iOS 18, macOS 15, *) else {
                throw Fault.run("package \(place.package.chunk): function '\(function)' needs iOS 18 or macOS 15")
            }
            made.functionName = function
        }
        return made
    }

    private static func newState(of model: MLModel) -> AnyObject? {
        guard #available(iOS 18, macOS 15, *), !model.modelDescription.stateDescriptionsByName.isEmpty else {
            return nil
        }
        return model.makeState()
    }
}

extension ComputeUnit {
    var coreML: MLComputeUnits {
        switch self {
        case .all: .all
        case .cpuOnly: .cpuOnly
        case .cpuAndGPU: .cpuAndGPU
        case .cpuAndNeuralEngine: .cpuAndNeuralEngine
        }
    }
}
#endif
