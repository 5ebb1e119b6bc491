// What we use of Core ML, in our own words, so that our code can be type-checked where Core ML is not. Nothing
// here runs. Above each declaration stands its page below developer.apple.com/documentation; what is younger
// than iOS 17 and macOS 14 has its `@available`.
import Foundation

/// coreml/mlcomputeunits
public enum MLComputeUnits: Int {
    case cpuOnly, cpuAndGPU, all
    /// coreml/mlcomputeunits/cpuandneuralengine: iOS 16, macOS 13
    case cpuAndNeuralEngine
}

/// coreml/mloptimizationhints-swift.struct
@available(iOS 17.4, macOS 14.4, *)
public struct MLOptimizationHints {
    /// coreml/mloptimizationhints-swift.struct/reshapefrequency-swift.enum
    public enum ReshapeFrequency { case frequent, infrequent }
    public var reshapeFrequency: ReshapeFrequency
    /// coreml/mloptimizationhints-swift.struct/specializationstrategy-swift.enum
    @available(iOS 18, macOS 15, *)
    public enum SpecializationStrategy { case `default`, fastPrediction }
    @available(iOS 18, macOS 15, *)
    public var specializationStrategy: SpecializationStrategy { get { fatalError() } set {} }
}

/// coreml/mlmodelconfiguration
open class MLModelConfiguration: NSObject {
    public override init() {}
    /// coreml/mlmodelconfiguration/computeunits
    public var computeUnits: MLComputeUnits = .all
    /// coreml/mlmodelconfiguration/modeldisplayname: iOS 16, macOS 13
    public var modelDisplayName: String?
    /// coreml/mlmodelconfiguration/functionname
    @available(iOS 18, macOS 15, *)
    public var functionName: String? { get { fatalError() } set {} }
    /// coreml/mlmodelconfiguration/optimizationhints
    @available(iOS 17.4, macOS 14.4, *)
    public var optimizationHints: MLOptimizationHints { get { fatalError() } set {} }
}

/// coreml/mlmultiarraydatatype
public enum MLMultiArrayDataType: Int {
    case double, float32
    /// coreml/mlmultiarraydatatype/float16: iOS 16, macOS 12
    case float16
    case int32
    /// coreml/mlmultiarraydatatype/int8
    @available(iOS 26, macOS 26, *)
    case int8
}

/// coreml/mlmultiarray
open class MLMultiArray: NSObject {
    /// coreml/mlmultiarray/init(datapointer:shape:datatype:strides:deallocator:)
    public init(
        dataPointer: UnsafeMutableRawPointer, shape: [NSNumber], dataType: MLMultiArrayDataType,
        strides: [NSNumber], deallocator: ((UnsafeMutableRawPointer) -> Void)? = nil
    ) throws {}
    /// coreml/mlmultiarray/shape, strides, datatype, count
    public var shape: [NSNumber] { fatalError() }
    public var strides: [NSNumber] { fatalError() }
    public var dataType: MLMultiArrayDataType { fatalError() }
    public var count: Int { fatalError() }
    /// coreml/mlmultiarray/withunsafebytes(_:): iOS 15.4, macOS 12.3
    public func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R { fatalError() }
}

/// coreml/mlfeaturetype
public enum MLFeatureType: Int {
    case invalid, int64, double, string, image, multiArray, dictionary, sequence
    /// coreml/mlfeaturetype/state
    @available(iOS 18, macOS 15, *)
    case state
}

/// coreml/mlmultiarrayconstraint
open class MLMultiArrayConstraint: NSObject {
    public var shape: [NSNumber] { fatalError() }
    public var dataType: MLMultiArrayDataType { fatalError() }
}

/// coreml/mlfeaturedescription
open class MLFeatureDescription: NSObject {
    public var name: String { fatalError() }
    public var type: MLFeatureType { fatalError() }
    public var isOptional: Bool { fatalError() }
    public var multiArrayConstraint: MLMultiArrayConstraint? { fatalError() }
}

/// coreml/mlmodeldescription
open class MLModelDescription: NSObject {
    public var inputDescriptionsByName: [String: MLFeatureDescription] { fatalError() }
    public var outputDescriptionsByName: [String: MLFeatureDescription] { fatalError() }
    /// coreml/mlmodeldescription/statedescriptionsbyname
    @available(iOS 18, macOS 15, *)
    public var stateDescriptionsByName: [String: MLFeatureDescription] { fatalError() }
}

/// coreml/mlfeaturevalue
open class MLFeatureValue: NSObject {
    /// coreml/mlfeaturevalue/init(multiarray:)
    public convenience init(multiArray: MLMultiArray) { self.init() }
    public var multiArrayValue: MLMultiArray? { fatalError() }
}

/// coreml/mlfeatureprovider
public protocol MLFeatureProvider {
    var featureNames: Set<String> { get }
    func featureValue(for featureName: String) -> MLFeatureValue?
}

/// coreml/mldictionaryfeatureprovider
open class MLDictionaryFeatureProvider: NSObject, MLFeatureProvider {
    /// coreml/mldictionaryfeatureprovider/init(dictionary:)
    public init(dictionary: [String: Any]) throws {}
    public var featureNames: Set<String> { fatalError() }
    public func featureValue(for featureName: String) -> MLFeatureValue? { fatalError() }
}

/// coreml/mlpredictionoptions
open class MLPredictionOptions: NSObject {
    public override init() {}
    /// coreml/mlpredictionoptions/outputbackings: iOS 16, macOS 11
    public var outputBackings: [String: Any] = [:]
}

/// coreml/mlstate
@available(iOS 18, macOS 15, *)
open class MLState: NSObject {}

/// coreml/mlmodel. Not `Sendable` here, whatever the page says of its thread: our code must do without.
open class MLModel: NSObject {
    /// coreml/mlmodel/load(contentsof:configuration:)-... (async): iOS 15, macOS 12
    public class func load(
        contentsOf url: URL, configuration: MLModelConfiguration = MLModelConfiguration()
    ) async throws -> MLModel { fatalError() }
    /// coreml/mlmodel/compilemodel(at:)-... (async): iOS 16, macOS 13
    public class func compileModel(at modelURL: URL) async throws -> URL { fatalError() }
    public var modelDescription: MLModelDescription { fatalError() }
    /// coreml/mlmodel/prediction(from:options:) (async): iOS 17, macOS 14
    public func prediction(
        from input: MLFeatureProvider, options: MLPredictionOptions = MLPredictionOptions()
    ) async throws -> MLFeatureProvider { fatalError() }
    /// coreml/mlmodel/makestate()
    @available(iOS 18, macOS 15, *)
    public func makeState() -> MLState { fatalError() }
    /// coreml/mlmodel/prediction(from:using:options:) (async)
    @available(iOS 18, macOS 15, *)
    public func prediction(
        from input: MLFeatureProvider, using state: MLState, options: MLPredictionOptions = MLPredictionOptions()
    ) async throws -> MLFeatureProvider { fatalError() }
}
