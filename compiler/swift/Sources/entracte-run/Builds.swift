import EntracteMedia
import EntractePlan
import EntracteRuntime
import Foundation

/// A build folder by its name, checked. Throws `Fault`.
func openBuild(_ path: String) throws -> OpenBuild { try OpenBuild(URL(fileURLWithPath: path)) }

extension Arguments {
    /// The runs that are meant, by `--input NAME=VALUE` and what `--prompt`, `--seed` and the like stand for; one
    /// where nothing is given twice. Throws `Fault`, `Misuse`.
    func runs(_ plan: Plan) throws -> [BatchRun] {
        var same = try pairs("input", "NAME=VALUE").mapValues { GivenValue.text($0) }
        if let negative = try one("negative") {
            let name = try meant(plan, "negative", .text, among: same).name
            same[name] = .text(negative)
        }
        var values: [BatchValues] = []
        let texts = try all("prompt") + (one("prompts").map(prompts(in:)) ?? [])
        if !texts.isEmpty {
            let input = try meant(plan, "prompt", .text, among: same)
            values.append(BatchValues(input: input.name, options: texts.map { .text($0) }))
        }
        let ranges = try one("seeds").map { try Seed.ranges($0, most: mostRuns) } ?? []
        if !all("seed").isEmpty || !ranges.isEmpty {
            let input = try meant(plan, "seed", .seed, among: same)
            let seeds = try all("seed").map { try Seed.of(input, $0) } + ranges.map { .whole($0) }
            values.append(BatchValues(input: input.name, options: seeds))
        }
        return try batch(same: same, values)
    }

    /// What to say where seeds were drawn; nil where none was.
    func drawn(_ runs: [BatchRun]) -> String? {
        guard all("seed").contains("random") else { return nil }
        var seeds: [String] = []
        for case .whole(let seed) in runs.flatMap(\.inputs.values) where !seeds.contains(String(seed)) {
            seeds.append(String(seed))
        }
        return "seed \(seeds.joined(separator: ", "))"
    }

    /// The input of that name, or the only one of the kind; a negative prompt is no other text. Not one of `given`.
    private func meant(
        _ plan: Plan, _ option: String, _ kind: Input.Kind, among given: [String: GivenValue]
    ) throws -> Input {
        let inputs = plan.program.inputs
        let alike = inputs.filter { $0.kind == kind }
        let found = inputs.first { $0.name == option } ?? (alike.count == 1 && option != "negative" ? alike[0] : nil)
        if let found {
            guard given[found.name] == nil else {
                throw Fault.run("--\(option): the input '\(found.name)' is given by --input too; leave one out")
            }
            return found
        }
        let all = inputs.isEmpty ? "none" : inputs.map(\.name).joined(separator: ", ")
        if option == "negative" {
            throw Fault.run("--negative: the plan has no negative prompt; its inputs are \(all)")
        }
        let several = alike.map(\.name).joined(separator: ", ")
        let has = alike.isEmpty ? "none; it has \(all)" : "several: \(several)"
        throw Fault.run("--\(option): a \(kind.rawValue) among the plan's inputs is meant, and there are \(has)")
    }
}
