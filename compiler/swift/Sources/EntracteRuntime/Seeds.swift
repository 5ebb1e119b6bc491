import EntractePlan

/// A seed as it is typed; `random` draws one.
public enum Seed {
    private static let remedy = "give a whole number from 0, or `random`, which draws one and says which"
    /// Drawn seeds end here where an input does not say its own end.
    private static let most = Int(Int32.max)

    /// Of an input. Throws `Fault`: below 0 elsewhere means a drawn seed, so it is asked what is meant.
    public static func of(_ input: Input, _ text: String) throws -> GivenValue {
        if text == "random" { return .whole(drawn(for: input)) }
        switch TypedNumber.whole(text) {
        case .none: throw Fault.run("--seed \(text): is no whole number; \(remedy)")
        case .fits(let seed) where seed >= 0: return .whole(seed)
        // What it is too large for is said where all inputs are looked at.
        case .large(let digits) where !digits.hasPrefix("-"): return .text(digits)
        default: throw Fault.run("--seed \(text): \(remedy) (`--input \(input.name)=\(text)` means just that number)")
        }
    }

    /// One that the input allows.
    public static func drawn(for input: Input) -> Int {
        let least = max(0, Int(clamping: input.least ?? 0)), most = input.most.map { Int(clamping: $0) } ?? most
        return Int.random(in: least...max(least, most))
    }

    /// Ranges: of `0-3,7` 0, 1, 2, 3 and 7. Throws `Fault`.
    public static func ranges(_ text: String, most: Int) throws -> [Int] {
        try text.split(separator: ",", omittingEmptySubsequences: false).flatMap { part -> [Int] in
            let ends = part.split(separator: "-", omittingEmptySubsequences: false).map(bound)
            guard (1...2).contains(ends.count), let first = ends.first ?? nil, let last = ends.last ?? nil,
                (0..<most).contains(last - first)
            else {
                throw Fault.run(
                    "--seeds \(text): write ranges of whole numbers, as 0-3 or 0,2,8-11; at most \(most)")
            }
            return Array(first...last)
        }
    }

    /// At most 18 digits, with spaces around them.
    private static func bound(_ text: Substring) -> Int? {
        let digits = text.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed()
        guard (1...18).contains(digits.count), digits.allSatisfy({ ("0"..."9").contains($0) }) else { return nil }
        return Int(String(digits))
    }
}

extension Int {
    /// A number cut to a whole one, within what an `Int` holds.
    fileprivate init(clamping value: Double) {
        if value >= 0x1p63 { self = .max } else { self = value > -0x1p63 ? Int(value) : .min }
    }
}
