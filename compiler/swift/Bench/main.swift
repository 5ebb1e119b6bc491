// Figures of the runner's own work, each in a file of its own: `entracte-bench NAME ARGUMENTS`.
import EntractePlan
import Foundation

let words = Array(CommandLine.arguments.dropFirst())
do {
    switch words.first {
    case "plan": try benchPlan(Array(words.dropFirst()))
    case "step": try await StepBench.main(Array(words.dropFirst()))
    default: throw Fault.run("entracte-bench: name one of: plan, step")
    }
} catch {
    FileHandle.standardError.write(Data("\(error)\n".utf8))
    exit(1)
}
