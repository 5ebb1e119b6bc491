/// fp16 as bit patterns: `Float16` does not exist on Macs with Intel processors.
///
/// Conversions are IEEE 754's, rounded half to even, subnormal numbers kept. A NaN keeps its sign and the
/// upper bits of its payload; one whose upper bits are all 0 becomes 0x7C01, as numpy has it. Checked
/// against numpy with all 65,536 patterns (`tests/vectors/fp16.bin`).
public enum Half {
    /// Exact: every fp16 is an fp32.
    @inline(__always)
    public static func float(_ half: UInt16) -> Float {
        let magnitude = UInt32(half & 0x7FFF) << 13
        let sign = UInt32(half & 0x8000) << 16
        if half & 0x7C00 == 0x7C00 { return Float(bitPattern: sign | 0x7F80_0000 | magnitude) }
        // The exponent's bias is 112 larger; a product makes subnormal ones normal too.
        let value = Float(bitPattern: magnitude) * Float(bitPattern: 0x7780_0000)
        return Float(bitPattern: sign | value.bitPattern)
    }

    /// The nearest fp16; from 65520 on infinite.
    @inline(__always)
    public static func bits(_ float: Float) -> UInt16 {
        let bits = float.bitPattern
        let sign = UInt16(truncatingIfNeeded: bits >> 16) & 0x8000
        let magnitude = bits & 0x7FFF_FFFF
        if magnitude >= 0x4780_0000 { return sign | special(magnitude) }
        if magnitude < 0x3880_0000 {
            // Below 2^-14: the last bit of 0.5 is 2^-24, the step of subnormal fp16.
            let sum = Float(bitPattern: magnitude) + 0.5
            return sign | UInt16(truncatingIfNeeded: sum.bitPattern &- 0x3F00_0000)
        }
        let rounded = magnitude &+ 0xFFF &+ (magnitude >> 13 & 1) &- 0x3800_0000
        return sign | UInt16(truncatingIfNeeded: rounded >> 13)
    }

    @inline(__always)
    private static func special(_ magnitude: UInt32) -> UInt16 {
        guard magnitude > 0x7F80_0000 else { return 0x7C00 }
        let payload = UInt16(truncatingIfNeeded: magnitude >> 13) & 0x3FF
        return payload == 0 ? 0x7C01 : 0x7C00 | payload
    }

    /// Many at once: as many as both have.
    public static func floats(
        _ halves: UnsafeBufferPointer<UInt16>, into floats: UnsafeMutableBufferPointer<Float>
    ) {
        guard let from = halves.baseAddress, let to = floats.baseAddress else { return }
        for i in 0 ..< min(halves.count, floats.count) { to[i] = float(from[i]) }
    }

    /// Many at once: as many as both have.
    public static func bits(
        _ floats: UnsafeBufferPointer<Float>, into halves: UnsafeMutableBufferPointer<UInt16>
    ) {
        guard let from = floats.baseAddress, let to = halves.baseAddress else { return }
        for i in 0 ..< min(halves.count, floats.count) { to[i] = bits(from[i]) }
    }
}
