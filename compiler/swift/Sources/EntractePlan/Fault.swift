/// What a user can meet: one message, with place, given, allowed and remedy.
public struct Fault: Error, Equatable, CustomStringConvertible, Sendable {
    public enum Kind: String, Sendable {
        /// A plan or build folder that is missing, damaged, unsafe or of another version.
        case plan
        /// An input or a device that makes a run impossible.
        case run
        /// A file or folder that cannot be written.
        case write
    }

    public let kind: Kind
    public let message: String

    public init(_ kind: Kind, _ message: String) {
        self.kind = kind
        self.message = message
    }

    public var description: String { message }

    public static func plan(_ message: String) -> Fault { Fault(.plan, message) }
    public static func run(_ message: String) -> Fault { Fault(.run, message) }
    public static func write(_ message: String) -> Fault { Fault(.write, message) }
}
