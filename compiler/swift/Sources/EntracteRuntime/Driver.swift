// What a driver is: it hears what ended, and decides what is loaded, started and dropped next.

/// What ended, and how long it took. `over`: the step was the last of its loop, whose `until` says stop.
/// `rested`: its call, or slices of it, did not happen, because a tensor said so; its time tells nothing.
package enum Event: Equatable, Sendable {
    case loadDone(ns: Int)
    case stepDone(ns: Int, over: Bool, rested: Bool = false)
}

/// To be carried out in the given order. `evict` and `fetch` name a unit of the table, `start` a
/// step's absolute number.
package enum Decision: Equatable, Sendable {
    case evict(Int)
    case start(Int)
    case fetch(Int)
}

/// Decides what a machine does. It reads no clock: it knows what events tell it.
package protocol Driver: Sendable {
    /// The program, units and times in whose numbers it speaks.
    var table: Table { get }

    /// The first decisions, before any event.
    mutating func begin() -> [Decision]

    /// What to do after one event. The event must be possible: what ends was under way.
    mutating func react(_ event: Event) -> [Decision]
}
