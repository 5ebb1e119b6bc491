// swift-tools-version: 6.0
// The runner of Entracte's plans. No dependencies: Foundation only, and Apple's frameworks where they are.
import Foundation
import PackageDescription

/// They are left out of what is exported beside a build.
let testTargets: [Target] = [
    // Figures of the runner's own work: `entracte-bench NAME`.
    .executableTarget(
        name: "entracte-bench", dependencies: ["EntractePlan", "EntracteRuntime"], path: "Bench"),
    // Where the vectors of the Python side lie.
    .target(name: "EntracteSupport", dependencies: ["EntractePlan"], path: "Tests/EntracteSupport"),
    .testTarget(name: "EntractePlanTests", dependencies: ["EntractePlan", "EntracteSupport"]),
    .testTarget(name: "EntracteTextTests", dependencies: ["EntracteText", "EntracteSupport"]),
    .testTarget(name: "EntracteRuntimeTests", dependencies: ["EntracteRuntime", "EntracteSupport"]),
    .testTarget(name: "EntracteMediaTests", dependencies: ["EntracteMedia", "EntracteSupport"]),
]
let hasTests = FileManager.default.fileExists(atPath: Context.packageDirectory + "/Tests")

let package = Package(
    name: "Entracte",
    platforms: [.iOS(.v17), .macOS(.v14)],
    products: [
        .library(
            name: "Entracte",
            targets: ["EntractePlan", "EntracteText", "EntracteRuntime", "EntracteMedia", "EntracteCoreML"]),
        .executable(name: "entracte-run", targets: ["entracte-run"]),
    ],
    targets: [
        // Plans, read strictly and proven; tensors, digests, build folders.
        .target(name: "EntractePlan"),
        // Texts into ids and back, by `tokenizer.json`; prompts cleaned.
        .target(name: "EntracteText", dependencies: ["EntractePlan"]),
        // Runs a plan: drivers, accounts, machine, interpreter, host steps, installation. The engine is a
        // protocol; one that answers with what was recorded is here.
        .target(name: "EntracteRuntime", dependencies: ["EntractePlan", "EntracteText"]),
        // Inputs out of files, outputs into files: pictures, clips, sounds, tensors.
        .target(name: "EntracteMedia", dependencies: ["EntractePlan", "EntracteText", "EntracteRuntime"]),
        // Core ML and Apple's media. Every file stands inside `#if canImport(...)`: empty elsewhere.
        .target(
            name: "EntracteCoreML",
            dependencies: ["EntractePlan", "EntracteRuntime", "EntracteMedia"]),
        // The command line.
        .executableTarget(
            name: "entracte-run",
            dependencies: ["EntractePlan", "EntracteText", "EntracteRuntime", "EntracteMedia", "EntracteCoreML"]),
    ] + (hasTests ? testTargets : []),
    swiftLanguageModes: [.v6]
)
