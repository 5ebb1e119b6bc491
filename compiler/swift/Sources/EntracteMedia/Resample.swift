import Foundation

// Pictures and sounds in other sizes, by the formulas of docs/plan-format.md: in double precision,
// rounded once, by whoever stores it.

/// The box of the source that is shown, and the rows and columns of the target that it fills; the others
/// are black.
struct Fit: Equatable {
    let top: Double
    let left: Double
    let height: Double
    let width: Double
    let firstRow: Int
    let firstColumn: Int
    let rows: Int
    let columns: Int

    /// How a picture of h x w becomes one of `height` x `width`. Sides are at least 1, those of the source at
    /// most `mostSide`, the target's product below 2^31.
    static func of(_ how: String, _ h: Int, _ w: Int, to height: Int, _ width: Int) -> Fit {
        let isWide = width * h >= height * w
        if how == "crop" {
            let shown = isWide ? Double(height * w) / Double(width) : Double(width * h) / Double(height)
            return isWide
                ? Fit(top: (Double(h) - shown) / 2, left: 0, height: shown, width: Double(w),
                    firstRow: 0, firstColumn: 0, rows: height, columns: width)
                : Fit(top: 0, left: (Double(w) - shown) / 2, height: Double(h), width: shown,
                    firstRow: 0, firstColumn: 0, rows: height, columns: width)
        }
        var rows = height, columns = width
        if how == "pad" && isWide {
            columns = max(1, (2 * w * height + h) / (2 * h))
        } else if how == "pad" {
            rows = max(1, (2 * h * width + w) / (2 * w))
        }
        return Fit(
            top: 0, left: 0, height: Double(h), width: Double(w), firstRow: (height - rows) / 2,
            firstColumn: (width - columns) / 2, rows: rows, columns: columns)
    }
}

/// Weights with which [start, start + length) of `size` pixels becomes `many`: of output i those of the
/// pixels from `first[i]` on, `weights[begin[i] ..< begin[i + 1]]`.
struct Triangle {
    private(set) var first: [Int] = []
    private(set) var begin: [Int] = [0]
    private(set) var weights: [Double] = []

    init(_ size: Int, _ start: Double, _ length: Double, _ many: Int) {
        let scale = length / Double(many)
        let reach = max(scale, 1)
        for i in 0..<many {
            let centre = start + (Double(i) + 0.5) * scale
            let from = max(0, Int((centre - reach + 0.5).rounded(.down)))
            let to = min(size, Int((centre + reach + 0.5).rounded(.down)))
            let own = (from..<max(from, to)).map { x in
                max(0, 1 - abs(Double(x) + 0.5 - centre) / reach)
            }
            let sum = own.reduce(0, +)
            first.append(from)
            weights += own.map { $0 / sum }
            begin.append(weights.count)
        }
    }

    var many: Int { first.count }
}

/// A picture in another size: `height * width` times three doubles, in the unit of the samples; black, 0,
/// where it is padded. `row` fills a source row of `w` times three doubles.
func resized(
    _ h: Int, _ w: Int, _ how: String, to height: Int, _ width: Int,
    row: (Int, UnsafeMutableBufferPointer<Double>) -> Void
) -> [Double] {
    let f = Fit.of(how, h, w, to: height, width)
    let across = Triangle(w, f.left, f.width, f.columns)
    let down = Triangle(h, f.top, f.height, f.rows)
    var made = [Double](repeating: 0, count: height * width * 3)
    var source = [Double](repeating: 0, count: w * 3)
    var narrow = [Double](repeating: 0, count: f.columns * 3)
    // Targets that a source row weighs in on follow each other.
    var low = 0
    for y in 0..<h {
        while low < down.many, down.first[low] + down.begin[low + 1] - down.begin[low] <= y { low += 1 }
        guard low < down.many, down.first[low] <= y else { continue }
        source.withUnsafeMutableBufferPointer { row(y, $0) }
        narrowed(source, across, &narrow)
        var i = low
        while i < down.many, down.first[i] <= y {
            let at = down.begin[i] + y - down.first[i]
            if at < down.begin[i + 1] {
                add(narrow, down.weights[at], to: &made, ((f.firstRow + i) * width + f.firstColumn) * 3)
            }
            i += 1
        }
    }
    return made
}

private func narrowed(_ source: [Double], _ across: Triangle, _ narrow: inout [Double]) {
    for i in 0..<across.many {
        var red = 0.0, green = 0.0, blue = 0.0
        var x = across.first[i] * 3
        for k in across.begin[i]..<across.begin[i + 1] {
            let weight = across.weights[k]
            red += weight * source[x]
            green += weight * source[x + 1]
            blue += weight * source[x + 2]
            x += 3
        }
        narrow[3 * i] = red
        narrow[3 * i + 1] = green
        narrow[3 * i + 2] = blue
    }
}

private func add(_ narrow: [Double], _ weight: Double, to made: inout [Double], _ at: Int) {
    for x in narrow.indices { made[at + x] += weight * narrow[x] }
}

// ---------------------------------------------------------------- sounds

/// Of the sinc, on each side of an output sample.
private let zeroCrossings = 16.0

/// Of a sound, for so many samples at `wanted` a second; at most 2^40.
func samplesNeeded(given: Int, wanted: Double, many: Int) -> Int {
    let ratio = Double(given) / wanted
    let needed = (Double(many) * Double(given) / wanted + zeroCrossings * max(1, ratio)).rounded(.up) + 1
    return Int(min(needed, 0x1p40))
}

/// `many` samples at `wanted` a second of a sound at `given`; silence, 0, behind its end.
///
/// Output m is at t = m given / wanted. With s = max(1, given / wanted) and d = (n - t) / s, sample n weighs
/// sinc(d) cos^2(pi d / 32) / s where |d| < 16. At the same rate samples are taken as they are.
func resampled(_ samples: [Double], given: Int, wanted: Double, many: Int) -> [Double] {
    var made = [Double](repeating: 0, count: many)
    if Double(given) == wanted {
        let there = min(many, samples.count)
        made.replaceSubrange(0..<there, with: samples[0..<there])
        return made
    }
    let slower = max(1, Double(given) / wanted)
    let reach = (zeroCrossings * slower).rounded(.up)
    for m in 0..<many {
        let time = Double(m) * Double(given) / wanted
        guard time < Double(samples.count) + reach else { break }
        let middle = time.rounded(.down)
        // Rates come from a plan: these may be beyond all whole numbers.
        let last = Double(samples.count - 1)
        let from = Int(max(0, middle - reach)), to = Int(min(last, middle + reach))
        var sum = 0.0
        for n in stride(from: from, through: to, by: 1) {
            let d = (Double(n) - time) / slower
            guard abs(d) < zeroCrossings else { continue }
            let window = cos(.pi * d / 32)
            sum += samples[n] * sinc(d) * (window * window)
        }
        made[m] = sum / slower
    }
    return made
}

private func sinc(_ x: Double) -> Double {
    let y = Double.pi * (x == 0 ? 1e-20 : x)
    return sin(y) / y
}
