/// GPT-2's alphabet: a character that can be seen for each byte.
enum ByteAlphabet {
    static let characters: [UInt32] = {
        var next: UInt32 = 256
        return (0 ..< UInt32(256)).map { byte in
            switch byte {
            case 0x21 ... 0x7E, 0xA1 ... 0xAC, 0xAE ... 0xFF: return byte
            default:
                next += 1
                return next - 1
            }
        }
    }()

    /// The byte of a character; -1 of others. All lie below 512.
    private static let bytes: [Int16] = {
        var made = [Int16](repeating: -1, count: 512)
        for (byte, character) in characters.enumerated() { made[Int(character)] = Int16(byte) }
        return made
    }()

    /// Stands for a space.
    static let space: UInt32 = 0x120

    static func apply(to text: inout Stretch) {
        text.expand { scalar, made in
            if scalar < 0x80 {
                made.append(characters[Int(scalar)])
            } else {
                for byte in UTF8Text.bytes(CollectionOfOne(scalar)) { made.append(characters[Int(byte)]) }
            }
        }
    }

    /// The bytes of a token; its own UTF-8 where it has other characters.
    static func bytes(of token: [UInt8]) -> [UInt8] {
        var made: [UInt8] = []
        for scalar in UTF8Text.scalars(token) {
            guard scalar < 512, bytes[Int(scalar)] >= 0 else { return token }
            made.append(UInt8(truncatingIfNeeded: bytes[Int(scalar)]))
        }
        return made
    }
}
