// Until the strict reader of EntractePlan is there.
enum TemporaryWords { case text(String) }
func shortWords(_ value: TemporaryWords) -> String { if case .text(let x) = value { x.debugDescription } else { "" } }
func shortWords(_ tape: Tape, _ node: Int) -> String {
    let n = tape.nodes[node]
    return String(decoding: UnsafeBufferPointer(start: tape.bytes + Int(n.start), count: min(Int(n.count), 40)), as: UTF8.self)
}
