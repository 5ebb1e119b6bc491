import EntractePlan

#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

/// Numbers that are the same on every machine and in every language (docs/plan-format.md,
/// `random_normal`). All whole numbers are modulo 2^64.
public enum Noise {
    private static let step: UInt64 = 0x9E37_79B9_7F4A_7C15
    private static let perIteration: UInt64 = 0xD1B5_4A32_D192_ED03

    /// SplitMix64's output function (Steele, Lea, Flood 2014).
    public static func mix(_ word: UInt64) -> UInt64 {
        var x = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        x = (x ^ (x >> 27)) &* 0x94D0_49BB_1331_11EB
        return x ^ (x >> 31)
    }

    /// What SplitMix64 is started at: the seed itself, or another number for every salt and every
    /// iteration of a loop; nil: the stream does not go by iterations.
    public static func start(seed: UInt64, salt: UInt64 = 0, iteration: Int? = nil) -> UInt64 {
        if iteration == nil, salt == 0 { return seed }
        let turns = iteration.map { UInt64(bitPattern: Int64($0)) &+ 1 } ?? 0
        return mix(mix(seed) &+ salt &* step &+ perIteration &* turns)
    }

    /// Standard normal numbers, by Box and Muller: the logarithm, the root and the circle in double
    /// precision, the result rounded to fp32. A library's `log`, `cos` or `sin` may be one unit of
    /// double precision off; that shows in fp32 about once in 2^29 numbers.
    public static func fill(_ made: UnsafeMutableBufferPointer<Float>, start: UInt64) {
        var state = start
        var place = 0
        while place < made.count {
            state &+= step
            let u = uniform(state)
            state &+= step
            let radius = (-2 * log(u)).squareRoot()
            let angle = 2 * Double.pi * uniform(state)
            made[place] = Float(radius * cos(angle))
            if place + 1 < made.count { made[place + 1] = Float(radius * sin(angle)) }
            place += 2
        }
    }

    /// In (0, 1].
    private static func uniform(_ state: UInt64) -> Double {
        (Double(mix(state) >> 11) + 1) / 9_007_199_254_740_992
    }
}

extension HostOp {
    static let randomNormal = HostOp(
        name: "random_normal",
        read: [.given("seed", .seed)],
        params: [
            HostParam("shape", .shape),
            HostParam("stream", .oneOf(["once", "iteration"]), isNeeded: false),
            HostParam("salt", .whole(0...Int.max), isNeeded: false),
        ],
        gives: { params, _ in [Port(name: "noise", shape: params.wholes("shape"), dtype: .fp32)] },
        run: { params, inputs, place in
            guard case .seed(let seed)? = inputs["seed"] else {
                throw Fault.run("random_normal: seed is no whole number; give one")
            }
            let start = Noise.start(
                seed: UInt64(bitPattern: Int64(seed)),
                salt: UInt64(bitPattern: Int64(params.whole("salt") ?? 0)),
                iteration: params.text("stream") == "iteration" ? place.iteration : nil)
            let noise = Tensor(zeros: params.wholes("shape"), .fp32)
            Noise.fill(noise.floats, start: start)
            return ["noise": noise]
        }
    )
}
