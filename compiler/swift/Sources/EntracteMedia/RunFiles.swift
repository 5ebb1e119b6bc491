import EntractePlan
import EntracteRuntime
import Foundation

extension OpenBuild {
    /// Tokens of an output as a text, by the tokenizers of the folder.
    public var textOf: TextOf {
        { [folder] output, ids in
            try BuildTokenizer.text(of: ids, end: output.end, tokenizer: output.tokenizer, in: folder)
        }
    }

    /// The outputs of a run that are texts and went to no file, in the plan's order. Throws `Fault`.
    public func texts(of outcome: Outcome) throws -> [(output: Output, text: String)] {
        try plan.program.outputs.filter { $0.kind == .text }.compactMap { output in
            guard let tensor = outcome.outputs[output.name], tensor.dtype == .int32 else { return nil }
            return (output, try textOf(output, tensor.ints.map { Int($0) }))
        }
    }
}

/// A file that a run made.
public struct MadeFile: Identifiable, Equatable, Sendable {
    public let id: String
    public let kind: Output.Kind
    public var url: URL { URL(fileURLWithPath: id) }
}

/// Files of the usual formats for the outputs of a run, but for texts, in one folder.
public struct RunFiles: Sendable {
    private let build: OpenBuild
    private let files: [(sink: FileSink, kind: Output.Kind)]
    /// By output; what `RunOptions.sinks` takes.
    public let sinks: [String: any Sink]

    /// A new folder for what a run makes, among the system's temporary ones; what the one before made goes.
    /// Throws where there is no room.
    public static func newFolder() throws -> URL {
        let all = FileManager.default.temporaryDirectory.appendingPathComponent("Made", isDirectory: true)
        try? FileManager.default.removeItem(at: all)
        let place = all.appendingPathComponent(UUID().uuidString, isDirectory: true)
        try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
        return place
    }

    /// `scale`: how many times clips are enlarged. `show` is told of the last frame of each piece of a picture or
    /// a video. Throws `Fault`.
    public init(
        _ build: OpenBuild, in folder: URL, _ codecs: Codecs, scale: Int = 1,
        show: @escaping @Sendable (Preview) -> Void = { _ in }
    ) throws {
        self.build = build
        let made = try madeOutputs(build.plan.program, scale: scale).filter { $0.output.kind != .text }
        let media = MediaOutputs(codecs, text: build.textOf)
        guard case .files(let names) = media.usual(made) else {
            (files, sinks) = ([], [:])
            return
        }
        let all = try media.sinks(made, .files(names.mapValues { folder.appendingPathComponent($0).path }))
        var taken: [String: any Sink] = [:]
        var kinds: [String: Output.Kind] = [:]
        for one in made {
            guard let file = all.first(where: { $0.outputs.contains(one.output.name) }),
                let sink = file.sink(of: one.output.name)
            else { continue }
            taken[one.output.name] = PreviewSink(sink, of: one.output, show: show)
            kinds[file.path] = one.output.kind
        }
        files = all.map { ($0, kinds[$0.path] ?? .tensor) }
        sinks = taken
    }

    /// Begins them; what `RunOptions.given` takes. They say how they were made, by the inputs as a record names
    /// them, unless `engine` is nil. Throws `Fault`.
    public func begin(_ told: [NamedTold], engine: String?) async throws {
        let comment = engine.map { Metadata(build.plan, told, engine: $0).text } ?? ""
        for file in files { try await file.sink.begin(comment) }
    }

    /// All came: the files are whole. Throws `Fault` for the first that could not be written.
    public func finish() async throws -> [MadeFile] {
        var made: [MadeFile] = []
        for file in files {
            await file.sink.finish()
            let fault = await file.sink.fault
            guard fault.isEmpty else { throw Fault.write(fault) }
            made.append(MadeFile(id: file.sink.path, kind: file.kind))
        }
        return made
    }

    /// The run failed: nothing is left.
    public func abandon() async {
        for file in files { await file.sink.abandon() }
    }
}
