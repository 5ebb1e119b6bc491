import EntractePlan
import Foundation

/// What the command's first word means.
enum Command {
    /// The exit status: 0; 1 for a fault, told in one line; 2 for wrong use; 130 when interrupted.
    static func run(_ words: [String]) async -> Int32 {
        guard let name = words.first, !words.contains("--help"), !words.contains("-h") else {
            print(help)
            return words.isEmpty ? 2 : 0
        }
        do {
            let rest = words.dropFirst()
            switch name {
            case "run": return try await RunCommand(rest).run()
            case "install": return try await InstallCommand(rest).run()
            case "probe": return try ProbeCommand(rest).run()
            case "measure": return try await MeasureCommand(rest).run()
            default:
                throw Arguments.Misuse(message: "'\(name)': give one of run, install, probe, measure")
            }
        } catch let misuse as Arguments.Misuse {
            tell("entracte-run: \(misuse.message) (see entracte-run --help)")
            return 2
        } catch is CancellationError {
            tell("entracte-run: interrupted; nothing of this run was written")
            return 130
        } catch {
            let line = "\(error)".split(separator: "\n").joined(separator: " ")
            tell("entracte-run: \(line)")
            return 1
        }
    }
}

/// Runs work that an interruption (Control-C, a request to end) cancels.
func interruptible<T: Sendable>(_ work: @escaping @Sendable () async throws -> T) async throws -> T {
    let task = Task { try await work() }
    let sources = [SIGINT, SIGTERM].map { number in
        signal(number, SIG_IGN)
        let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
        source.setEventHandler { task.cancel() }
        source.resume()
        return source
    }
    defer { for source in sources { source.cancel() } }
    return try await task.value
}
