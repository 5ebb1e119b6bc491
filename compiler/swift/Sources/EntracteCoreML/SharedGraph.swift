#if canImport(CoreML)
import EntractePlan
import EntracteRuntime
import Foundation

/// A graph that several chunks run with weights of their own, loaded once. Core ML allows one caller at a time:
/// this actor is it.
actor SharedGraph {
    private let bound: BoundModel
    private var isBusy = false

    init(_ bound: BoundModel) { self.bound = bound }

    func call(_ given: [String: Tensor], _ arrays: CallInputs, of chunk: String) async throws -> [String: Tensor] {
        guard !isBusy else {
            throw Fault.run("package \(chunk): called while a call of its graph is under way")
        }
        isBusy = true
        defer { isBusy = false }
        return try await bound.call(given, arrays)
    }
}

/// The graphs of an engine: each comes with the first chunk that it serves and stays, since it holds no weights.
actor SharedGraphs {
    private struct Key: Hashable {
        let path: String
        let unit: ComputeUnit
    }

    private var graphs: [Key: SharedGraph] = [:]

    /// The graph of a package, loaded where it is not there. Loads come one after the other.
    func graph(_ place: CoreMLPlace) async throws -> SharedGraph {
        let key = Key(path: place.package.path, unit: place.unit)
        if let found = graphs[key] { return found }
        let bound = try await BoundModel.load(place, "main")
        if bound.hasStates {
            throw Fault.plan(
                "package \(place.package.chunk): its graph, which several chunks run, keeps states of Core ML; "
                    + "compile again")
        }
        let made = SharedGraph(bound)
        graphs[key] = made
        return made
    }
}

/// A chunk that runs a shared graph: its weights, mapped. They are read by the load.
actor ArraysModel: LoadedModel {
    private let chunk: String
    private let graph: SharedGraph
    private let pause: Pause
    private var arrays: CallInputs?

    init(_ package: Package, _ arrays: Arrays, in folder: URL, _ graph: SharedGraph, _ pause: Pause) async throws {
        let file = try package.mapped(arrays, in: folder)
        try await file.readAll()
        self.arrays = try CallInputs(package, arrays, file)
        (chunk, self.graph, self.pause) = (package.chunk, graph, pause)
    }

    func call(_ function: String, _ inputs: [String: Tensor]) async throws -> [String: Tensor] {
        guard let arrays else { throw Fault.run("package \(chunk): called when its weights are freed") }
        return try await pause.again { try await graph.call(inputs, arrays, of: chunk) }
    }

    /// Pages of a file that nobody wrote to are the system's at once: no load waits for them.
    func free() async { arrays = nil }
}
#endif
