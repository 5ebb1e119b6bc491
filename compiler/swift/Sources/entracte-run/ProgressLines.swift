import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Lines for people, on the error stream.
func tell(_ line: String) {
    FileHandle.standardError.write(Data((line + "\n").utf8))
}

/// How far a run is: one line that changes on a terminal, one now and then elsewhere.
final class ProgressLines: @unchecked Sendable {
    private static let everySeconds = 10.0
    private let lock = NSLock()
    private let isTerminal = isatty(STDERR_FILENO) == 1
    /// What the lines begin with.
    private let title: String
    private let begin = DispatchTime.now().uptimeNanoseconds
    private var stage = ""
    private var stageBegin = 0.0
    private var stageSteps = 0
    private var lastStep = 0.0
    private var lastShown = -1e9
    private var isOpen = false

    init(_ title: String = "") { self.title = title }

    /// A step of a stage is done, of so many in all.
    func step(_ name: String, _ done: Int, _ all: Int) {
        lock.withLock {
            let now = Double(DispatchTime.now().uptimeNanoseconds - begin) / 1e9
            if name != stage {
                stage = name
                stageBegin = lastStep
                stageSteps = 0
            }
            lastStep = now
            stageSteps += 1
            let each = (now - stageBegin) / Double(max(1, stageSteps))
            show("\(title)\(name)  step \(done) of \(all)  \(String(format: "%.3g", each)) s/step", now, isLast: done == all)
        }
    }

    private func show(_ line: String, _ now: Double, isLast: Bool) {
        if isTerminal {
            guard isLast || now - lastShown > 0.1 else { return }
            FileHandle.standardError.write(Data("\r\u{1B}[K\(line)".utf8))
            isOpen = true
        } else {
            guard isLast || now - lastShown > Self.everySeconds else { return }
            tell(line)
        }
        lastShown = now
    }

    /// Behind the line that changes.
    func end() {
        lock.withLock {
            if isOpen { tell("") }
            isOpen = false
        }
    }
}
