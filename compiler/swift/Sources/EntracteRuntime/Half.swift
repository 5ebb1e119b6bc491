/// Conversions of fp16 bit patterns.
enum Half {
    static func float(_ bits: UInt16) -> Float {
        let sign = UInt32(bits & 0x8000) << 16
        let exponent = UInt32(bits >> 10) & 0x1F
        let fraction = UInt32(bits & 0x3FF)
        if exponent == 0x1F { return Float(bitPattern: sign | 0x7F80_0000 | fraction << 13) }
        if exponent != 0 { return Float(bitPattern: sign | (exponent + 112) << 23 | fraction << 13) }
        let small = Float(fraction) * 0x1p-24
        return sign == 0 ? small : -small
    }

    /// Rounded half to even; what is too large becomes infinite.
    static func bits(_ x: Float) -> UInt16 {
        let bits = x.bitPattern
        let sign = UInt16(bits >> 16) & 0x8000
        let rest = bits & 0x7FFF_FFFF
        if rest >= 0x7F80_0000 {
            if rest == 0x7F80_0000 { return sign | 0x7C00 }
            let fraction = UInt16((rest >> 13) & 0x3FF)
            return sign | 0x7C00 | (fraction == 0 ? 1 : fraction)
        }
        if rest >= 0x477F_F000 { return sign | 0x7C00 }
        if rest < 0x3880_0000 {
            let scaled = (Float(bitPattern: rest) * 0x1p24).rounded(.toNearestOrEven)
            return sign | UInt16(scaled)
        }
        let rounded = rest + 0xFFF + ((rest >> 13) & 1)
        return sign | UInt16((rounded - 0x3800_0000) >> 13)
    }
}
