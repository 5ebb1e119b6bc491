import EntractePlan
import Foundation

/// SentencePiece's rules by which characters are replaced: a double-array trie whose values are places in
/// a list of texts, each ended by a zero.
struct Charsmap: Sendable {
    private let units: [UInt32]
    private let texts: [UInt8]

    init(_ field: Field) throws {
        let wrong = field.fault(
            "no map of characters", allowed: "Base64 of SentencePiece's precompiled_charsmap")
        guard let data = Data(base64Encoded: try field.text()), data.count >= 4 else { throw wrong }
        let bytes = [UInt8](data)
        let size = Int(Self.number(bytes, 0))
        guard size % 4 == 0, size >= 4, size <= bytes.count - 4 else { throw wrong }
        units = stride(from: 4, to: 4 + size, by: 4).map { Self.number(bytes, $0) }
        texts = Array(bytes[(4 + size)...])
        guard UTF8Text.isValid(texts) else { throw wrong }
    }

    private static func number(_ bytes: [UInt8], _ at: Int) -> UInt32 {
        (0 ..< 4).reduce(0) { $0 | UInt32(bytes[at + $1]) << UInt32(8 * $1) }
    }

    /// What is seen as one character and takes less than six bytes is looked up whole, and all of it goes
    /// for what its shortest beginning becomes; everything else is looked up scalar by scalar.
    func apply(to text: inout Stretch) throws {
        var changes: [Stretch.Change] = []
        changes.reserveCapacity(text.count)
        var modified = false
        for character in Self.string(text.scalars) {
            let whole = Array(character.utf8)
            if whole.count < 6, let found = try replacement(whole[...]) {
                Self.append(&changes, character.unicodeScalars.count, found)
                modified = true
                continue
            }
            for scalar in character.unicodeScalars {
                if let found = try replacement(Array(String(scalar).utf8)[...]) {
                    Self.append(&changes, 1, found)
                    modified = true
                } else {
                    changes.append(Stretch.Change(scalar.value, 0))
                }
            }
        }
        if modified { text.become(changes) }
    }

    private static func string(_ scalars: [UInt32]) -> String {
        var text = String.UnicodeScalarView()
        text.append(contentsOf: scalars.lazy.compactMap(Unicode.Scalar.init))
        return String(text)
    }

    /// How the library says that `old` characters became these.
    private static func append(_ changes: inout [Stretch.Change], _ old: Int, _ new: [UInt32]) {
        changes += new.map { Stretch.Change($0, 0) }
        let more = new.count - old
        if more > 0 {
            for i in changes.indices.suffix(more) { changes[i] = Stretch.Change(changes[i].scalar, 1) }
        } else if more < 0, let last = changes.last {
            changes[changes.count - 1] = Stretch.Change(last.scalar, last.by + more)
        }
    }

    /// Of the shortest beginning that has one.
    private func replacement(_ key: ArraySlice<UInt8>) throws -> [UInt32]? {
        guard let start = try value(key) else { return nil }
        guard start <= texts.count else { throw damaged }
        let end = texts[start...].firstIndex(of: 0) ?? texts.count
        guard start == texts.count || texts[start] & 0xC0 != 0x80 else { throw damaged }
        return UTF8Text.scalars(texts[start ..< end])
    }

    private var damaged: Fault {
        Fault.run("tokenize: the tokenizer's map of characters (Precompiled) is damaged; give another one")
    }

    private func value(_ key: ArraySlice<UInt8>) throws -> Int? {
        var place = Self.offset(units[0])
        for byte in key where byte != 0 {
            place ^= Int(byte)
            guard place < units.count else { throw damaged }
            let unit = units[place]
            guard unit & 0x8000_00FF == UInt32(byte) else { return nil }
            place ^= Self.offset(unit)
            if unit >> 8 & 1 == 1 {
                guard place < units.count else { throw damaged }
                return Int(units[place] & 0x7FFF_FFFF)
            }
        }
        return nil
    }

    private static func offset(_ unit: UInt32) -> Int { Int((unit >> 10) << ((unit & 512) >> 6)) }
}
