import EntractePlan
import EntracteText
import Foundation

/// What host steps ask of a tokenizer.
protocol Encoder {
    /// How many marks the post-processor adds to a text.
    var marksAdded: Int { get }

    func encode(
        _ text: String, addSpecialTokens: Bool, atMost: Int?, droppingFrom side: TruncationSide
    ) throws -> Encoding

    /// Up to the first id that is in `end`, without special tokens.
    func text(of ids: [Int], end: Set<Int>) throws -> String
}

extension Tokenizer: Encoder {}

/// Tokenizers of a build folder.
public enum BuildTokenizer {
    private static let mostBytes = Tokenizer.mostBytes

    static func open(_ name: String, in folder: URL) throws -> Tokenizer {
        guard let file = BuildFile(name, in: folder), file.sizeBytes <= mostBytes else {
            throw Fault.run(
                "tokenize: there is no tokenizer file \(name) in the build folder \(folder.path) (or it is a "
                    + "link out of it, or larger than \(mostBytes) bytes)")
        }
        do {
            return try Tokenizer(Data(contentsOf: URL(fileURLWithPath: file.path)), name: file.path)
        } catch {
            let what = (error as? Fault)?.message ?? "it cannot be read"
            throw Fault.run(
                "tokenize: \(file.path) is no tokenizer (\(what)); give the tokenizer.json of the tokenizers "
                    + "library")
        }
    }

    /// The text of an output's ids, up to the first that is in `end`. Throws a `Fault` of kind `run`.
    public static func text(
        of ids: [Int], end: [Int], tokenizer name: String, in folder: URL
    ) throws -> String {
        guard BuildFile(name, in: folder) != nil else {
            throw Fault.run("\(folder.path): there is no file \(name); compile again")
        }
        return try text(of: ids, end: end) { try open(name, in: folder) }
    }

    static func text(of ids: [Int], end: [Int], _ encoder: () throws -> any Encoder) throws -> String {
        let ends = Set(end)
        let kept = Array(ids.prefix { !ends.contains($0) })
        if let stray = kept.first(where: { $0 < 0 || $0 > HostLimits.id }) {
            throw Fault.run("detokenize: \(stray) is the id of no token")
        }
        return try encoder().text(of: kept, end: [])
    }
}
