/// A name that moves a terminal's cursor or turns text around could show what is not so: refused.
///
/// Only texts that the parser found to be more than printable ASCII are looked at.
func checkTexts(_ tape: Tape, root: String = "plan") throws {
    let prose = ["settings", "default", "sources"]
    var node = 0
    while node < tape.nodeCount {
        let n = tape.nodes[node]
        guard n.kind == .text, n.odd else {
            node += 1
            continue
        }
        try checkText(tape, node, prose: prose, root: root)
        node += 1
    }
}

private func checkText(_ tape: Tape, _ node: Int, prose: [String], root: String) throws {
    let text = tape.text(node)
    guard let first = text.unicodeScalars.first(where: isHidden) else { return }
    let way = Way(tape, to: node)
    if way.isKey || way.keys.contains(where: prose.contains) { return }
    let allowed: [Unicode.Scalar] = way.mayHaveLines ? ["\n", "\t"] : []
    let others = text.unicodeScalars.lazy.filter { isHidden($0) && !allowed.contains($0) }
    guard let bad = allowed.contains(first) ? others.first : first else { return }
    let place = Decoder(tape, root: root).place(node)
    throw Fault.plan(
        "\(place): \(words(text)) holds the control character \(words(String(Character(bad)))); rename it")
}

/// What a value lies in.
private struct Way {
    var keys: [String] = []
    var isKey = false
    /// The second of two items of which the first is `prefix` or `suffix`: their texts may have lines.
    var mayHaveLines = false

    init(_ tape: Tape, to node: Int) {
        var at = 0
        while at != node {
            switch tape.nodes[at].kind {
            case .list: at = enterList(tape, at, node)
            case .object:
                var key = at + 1
                while tape.behind(key + 1) <= node { key = tape.behind(key + 1) }
                if key == node {
                    isKey = true
                    return
                }
                keys.append(tape.text(key))
                mayHaveLines = false
                at = key + 1
            default: return
            }
        }
    }

    private mutating func enterList(_ tape: Tape, _ list: Int, _ node: Int) -> Int {
        var child = list + 1
        while tape.behind(child) <= node { child = tape.behind(child) }
        let isNamed = tape.nodes[list].count == 2 && tape.nodes[list + 1].kind == .text
            && ["prefix", "suffix"].contains(tape.text(list + 1))
        mayHaveLines = isNamed && tape.nodes[child].kind == .text
        return child
    }
}

/// Characters that move a terminal's cursor or turn text around.
func isHidden(_ c: Unicode.Scalar) -> Bool {
    switch c.value {
    case 0 ..< 0x20, 0x7F ..< 0xA0, 0x2028, 0x2029, 0x200E, 0x200F, 0x202A ... 0x202E, 0x2066 ... 0x2069: true
    default: false
    }
}
