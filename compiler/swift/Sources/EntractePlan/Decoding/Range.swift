/// What a number of a plan may be: `compiler/entracte/check/numbers.py` has the same table.
extension Decoder {
    enum Range {
        case signed, notNegative, positive, count, share, efficiency, contention, page, rate, seconds

        /// Of a target's pages: no system gives less memory back.
        static let leastPageBytes = 4096
        /// Thirty years. In nanoseconds it still fits into 64 bits.
        static let mostSeconds = 1e9

        /// What is wrong with a whole number, and what is allowed; nil where nothing is.
        func fault(_ value: Int) -> String? {
            if value == .min { return "not between -\(Int.max) and \(Int.max)" }
            return fault(Double(value))
        }

        /// The same of a fraction.
        func fault(_ value: Double) -> String? {
            if self == .signed { return nil }
            if value < 0 { return "negative; give 0 or more" }
            switch self {
            case .signed, .notNegative: return nil
            case .positive: return value > 0 ? nil : "not above 0"
            case .count: return value >= 1 ? nil : "not 1 or more"
            case .share: return value < 1 ? nil : "not at least 0 and below 1"
            case .efficiency: return value > 0 && value <= 1 ? nil : "not above 0 and at most 1"
            case .contention: return value >= 1 && value <= 1000 ? nil : "not from 1 to 1000"
            case .page:
                let least = Self.leastPageBytes
                return value == 0 || value >= Double(least) ? nil : "not 0 or at least \(least)"
            case .rate: return value <= 1_000_000 ? nil : "not between 0 and 1000000"
            case .seconds: return value <= Self.mostSeconds ? nil : "more than 1000000000 seconds"
            }
        }
    }
}
