import Foundation

#if canImport(Darwin)
import Darwin
#elseif canImport(Glibc)
import Glibc
#endif

/// Which process wrote something that it should have taken away again.
public struct ProcessIdentity: Equatable, Sendable {
    public let pid: Int32
    /// Another one at every start: a system gives numbers of processes again.
    public let start: String

    public init(pid: Int32, start: String) {
        self.pid = pid
        self.start = start
    }

    public static let current = ProcessIdentity(
        pid: ProcessInfo.processInfo.processIdentifier, start: UUID().uuidString)

    /// Whether the process with this number, which wrote something at `since`, is over: it is not there, it
    /// has this one's number, or a day has passed.
    func isOver(pid other: Int32, since: Date, start otherStart: String? = nil) -> Bool {
        if other == pid { return otherStart != start }
        if other <= 0 || Date().timeIntervalSince(since) > 86_400 { return true }
        return kill(other, 0) != 0 && errno == ESRCH
    }
}
