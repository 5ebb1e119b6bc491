import EntracteRuntime
import Foundation
import EntractePlan

/// `entracte-run install`: each package compiled, loaded and called once, the smallest first.
struct InstallCommand: Sendable {
    private let arguments: Arguments

    init(_ words: ArraySlice<String>) throws {
        arguments = try Arguments(words, options: [], words: ["BUILD"])
    }

    func run() async throws -> Int32 {
        let build = try openBuild(arguments.words[0])
        #if canImport(CoreML)
            let installed = try await interruptible { try await install(build) }
            for one in installed where one.unit != one.asked {
                tell("note: \(one.chunk) runs on \(one.unit.rawValue), not on \(one.asked.rawValue): \(one.why)")
            }
            tell("\(installed.count) packages of \(build.plan.pipeline) are ready")
            return 0
        #else
            throw Fault.run("\(build.folder.path): " + noCoreML)
        #endif
    }
}
