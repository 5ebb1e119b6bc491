/// Placeholder: the program as a driver sees it.
public struct Table: Sendable {}
