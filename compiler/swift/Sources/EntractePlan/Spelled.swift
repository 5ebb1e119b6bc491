/// How messages spell what a user gave: as the Python side does.
public enum Spelled {
    /// A text in quotes, its control characters escaped.
    public static func text(_ text: String) -> String { words(text) }

    /// A number, by the fewest digits that give it back, always with a point or an exponent.
    public static func number(_ number: Double) -> String { words(number) }
}
