/// Normal forms of Unicode, by the library's tables (`NormalFormTables`), with its rules for places.
///
/// Not for cleaning: the tables are older than docs/prompts.md allows (they lack U+32FF of 2019).
struct NormalForm: Sendable {
    let compatible: Bool
    let composed: Bool

    static let nfc = NormalForm(compatible: false, composed: true)
    static let nfd = NormalForm(compatible: false, composed: false)
    static let nfkc = NormalForm(compatible: true, composed: true)
    static let nfkd = NormalForm(compatible: true, composed: false)

    func apply(to stretch: inout Stretch) {
        // Of the characters below U+0300 none composes with another, and ASCII has no decomposition.
        let plain: UInt32 = composed && !compatible ? 0x300 : 0x80
        guard stretch.scalars.contains(where: { $0 >= plain }) else { return }
        let parts = decomposed(stretch.scalars)
        stretch.become(composed ? Self.composed(parts) : parts)
    }

    // MARK: apart

    /// Marks sorted; what a character becomes behind its first is new.
    private func decomposed(_ scalars: [UInt32]) -> [Stretch.Change] {
        let data = NormalFormData.shared
        var made: [Stretch.Change] = []
        made.reserveCapacity(scalars.count)
        var sorted = 0
        for scalar in scalars {
            var first = true
            data.decompose(scalar, compatible) { part in
                if data.combiningClass(part) == 0 {
                    Self.sort(&made, from: sorted)
                    sorted = made.count + 1
                }
                made.append(Stretch.Change(part, first ? 0 : 1))
                first = false
            }
        }
        Self.sort(&made, from: sorted)
        return made
    }

    /// The marks behind the last character that is none, by their class; equal ones stay.
    private static func sort(_ made: inout [Stretch.Change], from start: Int) {
        guard made.count - start > 1 else { return }
        let data = NormalFormData.shared
        let marks = made[start...].enumerated().map { (data.combiningClass($1.scalar), $0, $1) }
        let sorted = marks.sorted { ($0.0, $0.1) < ($1.0, $1.1) }
        made.replaceSubrange(start..., with: sorted.map(\.2))
    }

    // MARK: together

    private static func composed(_ parts: [Stretch.Change]) -> [Stretch.Change] {
        let data = NormalFormData.shared
        var made: [Stretch.Change] = []
        made.reserveCapacity(parts.count)
        var held: Stretch.Change?
        var behind: [Stretch.Change] = []
        var lastClass: UInt8?
        for part in parts {
            let ofPart = data.combiningClass(part.scalar)
            guard let base = held else {
                if ofPart == 0 { held = part } else { made.append(part) }
                continue
            }
            let blocked = lastClass.map { $0 >= ofPart } ?? false
            if !blocked, let joined = data.compose(base.scalar, part.scalar) {
                held = Stretch.Change(joined, base.by + part.by - 1)
            } else if ofPart == 0 {
                made.append(base)
                made += behind
                behind.removeAll(keepingCapacity: true)
                lastClass = nil
                held = part
            } else {
                behind.append(part)
                lastClass = ofPart
            }
        }
        if let held { made.append(held) }
        return made + behind
    }
}

/// What `NormalFormTables` spells, to be looked up.
struct NormalFormData: Sendable {
    static let shared = NormalFormData()

    private var canonical: [UInt32: [UInt32]] = [:]
    private var compatible: [UInt32: [UInt32]] = [:]
    private var pairs: [UInt64: UInt32] = [:]
    private var classes: [UInt32: UInt8] = [:]

    private init() {
        var joining: [(UInt32, [UInt32])] = []
        canonical = Self.read(NormalFormTables.canonical) { joining.append(($0, $1)) }
        compatible = Self.read(NormalFormTables.compatible) { _, _ in }
        for (whole, parts) in joining.sorted(by: { $0.1.count < $1.1.count }) {
            var first = parts[0]
            for part in parts.dropFirst().dropLast() {
                first = pairs[Self.pair(first, part)] ?? first
            }
            if parts.count > 1 { pairs[Self.pair(first, parts[parts.count - 1])] = whole }
        }
        var at: UInt32 = 0
        for word in NormalFormTables.combiningClasses.utf8.split(whereSeparator: { $0 == 32 || $0 == 10 }) {
            let parts = word.split(separator: UInt8(ascii: ":"))
            let run = parts[0].split(separator: UInt8(ascii: "+"))
            at += Runs.hexadecimal(run.first)
            let count = run.count > 1 ? Runs.hexadecimal(run[1]) : 1
            let ofRun = UInt8(truncatingIfNeeded: Runs.hexadecimal(parts.last))
            for c in at ..< at + count { classes[c] = ofRun }
            at += count
        }
    }

    private static func read(_ table: String, _ joins: (UInt32, [UInt32]) -> Void) -> [UInt32: [UInt32]] {
        var made: [UInt32: [UInt32]] = [:]
        var at: UInt32 = 0
        for word in table.utf8.split(whereSeparator: { $0 == 32 || $0 == 10 }) {
            let parts = word.split(separator: UInt8(ascii: ":"))
            let alone = parts[0].last == UInt8(ascii: "!")
            at += Runs.hexadecimal(alone ? parts[0].dropLast() : parts[0])
            let found = parts[1].split(separator: UInt8(ascii: ",")).map { Runs.hexadecimal($0) }
            made[at] = found
            if !alone { joins(at, found) }
        }
        return made
    }

    private static func pair(_ a: UInt32, _ b: UInt32) -> UInt64 { UInt64(a) << 32 | UInt64(b) }

    func combiningClass(_ c: UInt32) -> UInt8 { c < 0x300 ? 0 : classes[c] ?? 0 }

    func decompose(_ c: UInt32, _ compatible: Bool, _ each: (UInt32) -> Void) {
        if c < 0xA0 { return each(c) }
        if c >= 0xAC00, c < 0xAC00 + 11172 { return decomposeSyllable(c - 0xAC00, each) }
        if compatible, let parts = self.compatible[c] { return parts.forEach(each) }
        if let parts = canonical[c] { return parts.forEach(each) }
        each(c)
    }

    private func decomposeSyllable(_ n: UInt32, _ each: (UInt32) -> Void) {
        each(0x1100 + n / 588)
        each(0x1161 + n % 588 / 28)
        if n % 28 != 0 { each(0x11A7 + n % 28) }
    }

    func compose(_ a: UInt32, _ b: UInt32) -> UInt32? {
        if a >= 0x1100, a < 0x1113, b >= 0x1161, b < 0x1176 {
            return 0xAC00 + ((a - 0x1100) * 21 + (b - 0x1161)) * 28
        }
        if a >= 0xAC00, a < 0xAC00 + 11172, (a - 0xAC00) % 28 == 0, b > 0x11A7, b < 0x11C3 {
            return a + b - 0x11A7
        }
        return pairs[Self.pair(a, b)]
    }
}
