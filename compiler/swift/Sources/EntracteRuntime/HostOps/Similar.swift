/// A question for whoever mistyped one of the known words; empty where none is near.
///
/// The same word as Python's `difflib.get_close_matches` finds: the one with the largest ratio of letters
/// in common (Ratcliff and Obershelp 1988), if that is 0.6 at least.
func similar(_ given: String, _ known: [String]) -> String {
    let word = Array(given.unicodeScalars)
    // No word of ours is near one so long, of which difflib leaves frequent letters out.
    guard word.count < 200 else { return "" }
    var best: (ratio: Double, name: String)?
    for name in known {
        let here = ratio(name, word)
        if here < 0.6 { continue }
        if let found = best, (found.ratio, found.name) > (here, name) { continue }
        best = (here, name)
    }
    guard let best else { return "" }
    return " (did you mean \(best.name)?)"
}

func ratio(_ known: String, _ word: [Unicode.Scalar]) -> Double {
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
