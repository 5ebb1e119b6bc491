import EntractePlan
import Foundation

/// Loads packages and runs their functions: Core ML on a device, a simulated one elsewhere.
///
/// The machine has one load in flight at a time, which may run while a call does, or while a model is loaded
/// again for another function; it never frees what is being called and never calls what is not loaded.
public protocol Engine: Sendable {
    /// What a record of a run calls it.
    var name: String { get }

    /// Bring a package into memory, whole. `function` is called first; any of `package.functions` may follow.
    func load(_ package: Package, in folder: URL, function: String) async throws -> any LoadedModel

    /// Whether a loaded model serves only the function that it was loaded for: the machine then frees it and
    /// loads the package again before a call of another one.
    var servesOneFunction: Bool { get }

    /// What the process may still take, in bytes; nil where the system does not say.
    func availableBytes() async -> Int?
}

extension Engine {
    public var servesOneFunction: Bool { false }
}

/// One package in memory.
public protocol LoadedModel: Sendable {
    /// Run a function once. Gives a tensor for each of the function's outputs, of its shape and type.
    func call(_ function: String, _ inputs: [String: Tensor]) async throws -> [String: Tensor]

    /// Give the memory back. Called once; nothing follows.
    func free() async
}

/// A package in memory that serves one function at a time, as Core ML's do.
public protocol OneFunctionModel: LoadedModel {
    /// Get ready to call a function. Gives whether the package was dropped and loaded again for it.
    func ready(for function: String) async throws -> Bool
}
