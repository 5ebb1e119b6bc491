/// A question for whoever mistyped one of the known words; empty where none is near.
func similar(_ given: String, _ known: [String]) -> String {
    // No word of ours is near one so long, of which difflib leaves frequent letters out.
    guard given.unicodeScalars.count < 200, let best = nearest(given, known, 1, from: 0.6).first
    else { return "" }
    return " (did you mean \(best)?)"
}

/// The words most like a given one, the nearest first: those that Python's `difflib.get_close_matches`
/// finds. Their ratio of letters in common (Ratcliff and Obershelp 1988) is `least` at least.
func nearest(_ given: String, _ known: [String], _ many: Int, from least: Double) -> [String] {
    let word = Array(given.unicodeScalars)
    // Each costs their product.
    guard word.count < 200 else { return Array(known.prefix(many)) }
    let near = known.map { (ratio: ratio($0, word), name: $0) }.filter { $0.ratio >= least }
    let sorted = near.sorted { ($0.ratio, $0.name) > ($1.ratio, $1.name) }
    return sorted.prefix(many).map(\.name)
}

private func ratio(_ known: String, _ word: [Unicode.Scalar]) -> Double {
    let other = Array(known.unicodeScalars)
    let total = other.count + word.count
    return total == 0 ? 1 : 2 * Double(common(other[...], word[...])) / Double(total)
}

/// Letters of the longest common part, and of what stands before and behind it.
private func common(_ one: ArraySlice<Unicode.Scalar>, _ other: ArraySlice<Unicode.Scalar>) -> Int {
    var best = (one: one.startIndex, other: other.startIndex, size: 0)
    var lengths: [Int: Int] = [:]
    for i in one.indices {
        var following: [Int: Int] = [:]
        for j in other.indices where one[i] == other[j] {
            let size = lengths[j - 1, default: 0] + 1
            following[j] = size
            if size > best.size { best = (i - size + 1, j - size + 1, size) }
        }
        lengths = following
    }
    guard best.size > 0 else { return 0 }
    return best.size + common(one[..<best.one], other[..<best.other])
        + common(one[(best.one + best.size)...], other[(best.other + best.size)...])
}
