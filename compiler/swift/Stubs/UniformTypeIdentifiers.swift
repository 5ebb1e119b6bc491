// What the example app uses of UniformTypeIdentifiers, in our own words.

/// uniformtypeidentifiers/uttype
public struct UTType: Sendable { public static let item = UTType() }
