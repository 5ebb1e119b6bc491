import EntractePlan
import EntracteRuntime
import Foundation

/// A build folder by its name, checked. Throws `Fault`.
func openBuild(_ path: String) throws -> OpenBuild { try OpenBuild(URL(fileURLWithPath: path)) }

extension Arguments {
    /// `--input NAME=VALUE`, and what `--prompt` and `--seed` stand for. Throws `Fault`, `Misuse`.
    func inputs(_ plan: Plan) throws -> [String: GivenValue] {
        var given = try pairs("input", "NAME=VALUE").mapValues { GivenValue.text($0) }
        for (option, kind) in [("prompt", Input.Kind.text), ("seed", .seed)] {
            guard let value = try one(option) else { continue }
            let name = try meant(plan, option, kind)
            guard given.updateValue(.text(value), forKey: name) == nil else {
                throw Fault.run("--\(option): the input '\(name)' is given by --input too; leave one out")
            }
        }
        return given
    }

    /// The input of that name, or the only one of the kind.
    private func meant(_ plan: Plan, _ option: String, _ kind: Input.Kind) throws -> String {
        let names = plan.program.inputs.map(\.name)
        let alike = plan.program.inputs.filter { $0.kind == kind }.map(\.name)
        if names.contains(option) { return option }
        if alike.count == 1 { return alike[0] }
        let all = names.isEmpty ? "none" : names.joined(separator: ", ")
        let has = alike.isEmpty ? "none; it has \(all)" : "several: \(alike.joined(separator: ", "))"
        throw Fault.run("--\(option): a \(kind.rawValue) among the plan's inputs is meant, and there are \(has)")
    }
}
