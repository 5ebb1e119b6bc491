import Foundation

/// `tests/vectors` of the repository, which the Python side writes and passes too.
public enum Vectors {
    public static let folder = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent()  // swift/Tests
        .deletingLastPathComponent().deletingLastPathComponent()  // compiler
        .deletingLastPathComponent()
        .appendingPathComponent("tests/vectors")

    public static func data(_ name: String) throws -> Data {
        try Data(contentsOf: folder.appendingPathComponent(name))
    }
}
