/// SHA-1 (FIPS 180-4) of a few bytes. Nothing is protected by it: identifiers in manifests are UUIDs of
/// version 5, which are made of it.
func sha1(_ message: [UInt8]) -> [UInt8] {
    var bytes = message + [0x80]
    bytes += [UInt8](repeating: 0, count: (120 - bytes.count % 64) % 64)
    let bits = UInt64(message.count) * 8
    bytes += stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: bits >> UInt64($0)) }
    var state: [UInt32] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0]
    for start in stride(from: 0, to: bytes.count, by: 64) {
        state = mixed(state, words(bytes[start ..< start + 64]))
    }
    return state.flatMap { word in [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: word >> $0) } }
}

private func words(_ block: ArraySlice<UInt8>) -> [UInt32] {
    var w: [UInt32] = []
    for start in stride(from: block.startIndex, to: block.endIndex, by: 4) {
        w.append(block[start ..< start + 4].reduce(0) { $0 << 8 | UInt32($1) })
    }
    for t in 16 ..< 80 { w.append(turned(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1)) }
    return w
}

private func mixed(_ state: [UInt32], _ w: [UInt32]) -> [UInt32] {
    var (a, b, c, d, e) = (state[0], state[1], state[2], state[3], state[4])
    for t in 0 ..< 80 {
        let (f, k): (UInt32, UInt32) =
            switch t {
            case 0 ..< 20: (b & c | ~b & d, 0x5A82_7999)
            case 20 ..< 40: (b ^ c ^ d, 0x6ED9_EBA1)
            case 40 ..< 60: (b & c | b & d | c & d, 0x8F1B_BCDC)
            default: (b ^ c ^ d, 0xCA62_C1D6)
            }
        (a, b, c, d, e) = (turned(a, 5) &+ f &+ e &+ k &+ w[t], a, turned(b, 30), c, d)
    }
    return zip(state, [a, b, c, d, e]).map { $0 &+ $1 }
}

private func turned(_ x: UInt32, _ left: UInt32) -> UInt32 { x << left | x >> (32 - left) }
