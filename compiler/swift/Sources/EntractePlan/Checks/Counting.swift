// Numbers of a plan are up to 2^63 - 1; their sums and products may be larger.

/// The product of two that are 0 or more; 2^63 - 1 where it is larger.
@inline(__always)
package func times(_ a: Int, _ b: Int) -> Int {
    let (product, over) = a.multipliedReportingOverflow(by: b)
    return over ? .max : product
}

/// The sum of two that are 0 or more; 2^63 - 1 where it is larger.
@inline(__always)
package func plus(_ a: Int, _ b: Int) -> Int {
    let (sum, over) = a.addingReportingOverflow(b)
    return over ? .max : sum
}

extension Sequence<String> {
    /// By the numbers of their characters, as the Python side sorts.
    func inOrder() -> [String] {
        sorted { $0.unicodeScalars.lexicographicallyPrecedes($1.unicodeScalars) }
    }
}
