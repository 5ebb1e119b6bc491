import EntractePlan

/// Rows of pixels as encoders and decoders of systems have them: four bytes each, blue first, rows with gaps.
public enum PixelRows {
    /// Three bytes a pixel, red first and without gaps, into such rows; alpha is 255. `frame` has at least
    /// `3 * height * width` bytes, `rows` `height * rowBytes`, and `rowBytes` is at least `4 * width`.
    public static func putBGRA(
        _ frame: UnsafeBufferPointer<UInt8>, height: Int, width: Int, _ rows: UnsafeMutableRawPointer, rowBytes: Int
    ) {
        guard var from = frame.baseAddress else { return }
        for y in 0..<height {
            var to = (rows + y * rowBytes).assumingMemoryBound(to: UInt8.self)
            for _ in 0..<width {
                to[0] = from[2]
                to[1] = from[1]
                to[2] = from[0]
                to[3] = 255
                to += 4
                from += 3
            }
        }
    }

    /// The colours of such rows, three bytes a pixel, red first and without gaps.
    public static func takeBGRA(
        _ rows: UnsafeRawPointer, height: Int, width: Int, rowBytes: Int
    ) -> [UInt8] {
        take(rows, height: height, width: width, rowBytes: rowBytes, red: 2, blue: 0)
    }

    /// As `takeBGRA`, of rows with red first.
    public static func takeRGBA(
        _ rows: UnsafeRawPointer, height: Int, width: Int, rowBytes: Int
    ) -> [UInt8] {
        take(rows, height: height, width: width, rowBytes: rowBytes, red: 0, blue: 2)
    }

    private static func take(
        _ rows: UnsafeRawPointer, height: Int, width: Int, rowBytes: Int, red: Int, blue: Int
    ) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: 3 * height * width) { made, count in
            var at = 0
            for y in 0..<height {
                var from = (rows + y * rowBytes).assumingMemoryBound(to: UInt8.self)
                for _ in 0..<width {
                    made[at] = from[red]
                    made[at + 1] = from[1]
                    made[at + 2] = from[blue]
                    at += 3
                    from += 4
                }
            }
            count = at
        }
    }
}

/// When the frames of a clip are shown, in whole ticks: no rounding adds up over a clip.
public struct FrameTime: Equatable, Sendable {
    /// Ticks a second.
    public let timescale: Int32
    private let ticksEach: Double

    /// `rate`: frames a second, above 0 and at most 1000.
    public init(_ rate: Double) throws {
        guard rate > 0, rate <= 1000 else { throw Fault.write("a clip of \(rate) frames a second: above 0, at most 1000") }
        // Whole rates exactly; others, such as 30000 / 1001, in ticks of a 600th of a frame's 1/100.
        let isWhole = rate == rate.rounded()
        timescale = isWhole ? Int32(rate) * 600 : 60_000
        ticksEach = Double(timescale) / rate
    }

    /// The tick at which a frame is shown: frame k at k / rate seconds, rounded.
    public func ticks(_ frame: Int) throws -> Int64 {
        let ticks = (Double(frame) * ticksEach).rounded()
        guard frame >= 0, ticks < 1e15 else { throw Fault.write("frame \(frame) of a clip: too many") }
        return Int64(ticks)
    }

    /// How a picture must be turned that a file shows by a matrix (a, b; c, d), as EXIF has it, 1 to 8; 1 for
    /// a matrix that does not turn by quarters.
    public static func orientation(a: Double, b: Double, c: Double, d: Double) -> Int {
        func sign(_ x: Double) -> Int { abs(x) < 0.5 ? 0 : x > 0 ? 1 : -1 }
        switch (sign(a), sign(b), sign(c), sign(d)) {
        case (-1, 0, 0, 1): return 2
        case (-1, 0, 0, -1): return 3
        case (1, 0, 0, -1): return 4
        case (0, 1, 1, 0): return 5
        case (0, 1, -1, 0): return 6
        case (0, -1, -1, 0): return 7
        case (0, -1, 1, 0): return 8
        default: return 1
        }
    }
}
