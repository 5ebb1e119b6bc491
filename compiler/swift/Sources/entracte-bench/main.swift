// Benchmarks, to be built with `swift build -c release`: `entracte-bench NAME ARGUMENTS`.
import EntractePlan
import Foundation

let arguments = Array(CommandLine.arguments.dropFirst())
do {
    switch arguments.first {
    case "step": try await StepBench.main(Array(arguments.dropFirst()))
    default: throw Fault.run("entracte-bench: name one of: step")
    }
} catch {
    FileHandle.standardError.write(Data("\(error)\n".utf8))
    exit(1)
}
