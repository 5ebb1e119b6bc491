"""Write tests/vectors/online.json: test vectors of the online rule (docs/online-rule.md).

    python -m tools.make_online_vectors

Each vector is a table (the program as the rule sees it), and the events of one simulated run with
the decisions that must follow each of them and what the rule remembers afterwards.
"""

import json
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from entracte.clock.clock import Gamma, simulate
from entracte.clock.driver import Decision, Event, Evict, Fetch, LoadDone, Start
from entracte.clock.rule import Ledger, OnlineRule
from entracte.clock.table import Table, TableSegment, TableStep, Unit
from entracte.ir import Kept

FILE = Path(__file__).parent.parent / "tests" / "vectors" / "online.json"


@dataclass(frozen=True)
class Vector:
    """A run to record. `slow`: loads and steps take so many tenths of their nominal times."""

    name: str
    what: str
    table: Table
    kept: tuple[Kept, ...] = ()
    slow: tuple[int, int] = (10, 10)
    noise: int = 0
    """Percent by which each load and step may differ, drawn with a fixed seed."""
    gamma: Gamma = field(default_factory=Gamma)
    ends: Mapping[int, int] = field(default_factory=dict)


def chunks_of(
    sizes: Mapping[str, tuple[int, int]], pages: int = 1, cold: int = 0
) -> tuple[Unit, ...]:
    """chunk -> (bytes, nominal load ns); the first load takes `cold` more"""

    def share(whole: int, j: int) -> int:
        return whole // pages + (j < whole % pages)

    return tuple(
        Unit(c, j, share(size, j), share(ns, j), share(cold, j))
        for c, (size, ns) in sizes.items()
        for j in range(pages)
    )


def always(*chunks: str) -> tuple[Kept, ...]:
    """Kept however slow loads are."""
    return (Kept(0.0, chunks),)


def steps_of(*steps: tuple[str | None, int, int]) -> tuple[TableStep, ...]:
    """(chunk, need, exec ns)"""
    return tuple(TableStep(*s) for s in steps)


def even(  # noqa: PLR0913 - a loop by hand, called with numbers
    chunks: int,
    count: int,
    slots: int,
    load: int,
    step: int,
    kept: tuple[Kept, ...] = (),
    cold: int = 0,
) -> Table:
    """A loop over equal chunks of 100 bytes; each step needs 7 more."""
    names = [f"c{k}" for k in range(chunks)]
    units = chunks_of(dict.fromkeys(names, (100, load)), cold=cold)
    loop = TableSegment(count, steps_of(*((n, 7, step) for n in names)))
    return Table(units, (loop,), 100 * slots + 7, kept)


def uneven(kept: tuple[Kept, ...] = (), pages: int = 1) -> Table:
    """A loop over chunks of five sizes that do not fit together."""
    sizes = {"a": (90, 40), "b": (30, 70), "c": (120, 50), "d": (60, 20), "e": (45, 90)}
    loop = TableSegment(4, steps_of(*((c, 9, 60) for c in sizes)))
    return Table(chunks_of(sizes, pages), (loop,), 300, kept)


def staged() -> Table:
    """Two chunks, a loop of three, one chunk."""
    sizes = dict.fromkeys(("t0", "t1", "b0", "b1", "b2", "d0"), (100, 80))
    segments = (
        TableSegment(1, steps_of(("t0", 5, 50), ("t1", 15, 50))),
        TableSegment(6, steps_of(("b0", 5, 60), (None, 5, 0), ("b1", 25, 60), ("b2", 5, 60))),
        TableSegment(1, steps_of(("d0", 120, 200))),
    )
    return Table(chunks_of(sizes), segments, 325)


def uneven_stages() -> Table:
    """Short loads, then long ones, then short ones; everything fits."""
    sizes = {"a": (10, 5), "b": (10, 5), "c": (10, 90), "d": (10, 90), "e": (10, 5), "f": (10, 5)}
    pairs = (("a", "b"), ("c", "d"), ("e", "f"))
    segments = tuple(TableSegment(3, steps_of(*((c, 0, 40) for c in p))) for p in pairs)
    return Table(chunks_of(sizes), segments, 60)


def blocked() -> Table:
    """A loop that streams, then a host step that needs nearly all memory."""
    sizes = {"a": (60, 90), "b": (50, 30), "c": (50, 30)}
    loop = TableSegment(9, steps_of(("a", 5, 40), ("b", 5, 40), ("c", 5, 40)))
    return Table(chunks_of(sizes), (loop, TableSegment(1, steps_of((None, 100, 0)))), 115)


def switching() -> Table:
    units = chunks_of({f"c{k}": (100, 80) for k in range(4)})
    loop = tuple(TableStep(u.chunk, 10, 100, ((20, 2), (50, 4))) for u in units)
    return Table(units, (TableSegment(6, loop),), 310)


def needs() -> Table:
    """Steps that need more and more beside what is loaded."""
    sizes = {"a": (50, 20), "b": (50, 20), "c": (50, 20)}
    steps = (("a", 10, 30), ("b", 60, 30), (None, 150, 0), ("c", 110, 30), ("a", 10, 30))
    return Table(chunks_of(sizes), (TableSegment(3, steps_of(*steps)),), 170)


def twice() -> Table:
    """One chunk is called twice in an iteration and again after the loop."""
    sizes = {"a": (80, 50), "b": (70, 40), "c": (60, 30)}
    loop = steps_of(("a", 5, 40), ("b", 5, 40), ("a", 5, 40), ("c", 5, 40))
    segments = (TableSegment(3, loop), TableSegment(2, steps_of(("c", 8, 10), ("b", 8, 10))))
    return Table(chunks_of(sizes), segments, 158)


def given_back() -> Table:
    """To load `h` beside `r`, either `x` or `y` can stay, and that is `y`."""
    sizes = {"h": (110, 30), "z": (100, 30), "y": (10, 30), "x": (10, 30), "r": (5, 30)}
    steps = steps_of(*((c, 0, 400 if c == "r" else 40) for c in sizes))
    return Table(chunks_of(sizes), (TableSegment(3, steps),), 130)


def kept_then_free() -> Table:
    """`a` is kept in the loop, not in what follows, though it is called once more at the end."""
    sizes = {"a": (100, 60), "b": (100, 60), "c": (100, 60), "d": (100, 200), "e": (100, 200)}
    segments = (
        TableSegment(4, steps_of(("a", 5, 40), ("b", 5, 40), ("c", 5, 40))),
        TableSegment(1, steps_of(("d", 5, 40), ("e", 125, 40), ("c", 5, 40))),
        TableSegment(
            1,
            steps_of(
                ("a", 5, 40),
            ),
        ),
    )
    return Table(chunks_of(sizes), segments, 325, always("a"))


def mapped() -> Table:
    """A prologue, then a map: one long step, then another."""
    sizes = {"a": (50, 40), "m0": (80, 60), "m1": (80, 60)}
    steps = steps_of(("a", 5, 30), ("m0", 40, 8 * 45), ("m1", 40, 8 * 45))
    return Table(chunks_of(sizes), (TableSegment(1, steps),), 200)


def resting() -> Table:
    """Room for three of four. Two calls rest, one of them by no pattern; both need much."""
    sizes = {"a": (100, 80), "b": (100, 80), "c": (100, 80), "d": (100, 80)}
    loop = (
        TableStep("a", 10, 60),
        TableStep("b", 60, 90, at=(0, 2, 4, 6), idle_bytes=20),
        TableStep("c", 60, 90, ((40, 4),), at=(0, 1, 5), idle_bytes=30),
        TableStep("d", 10, 60),
    )
    after = TableSegment(1, steps_of(("c", 10, 50)))
    return Table(chunks_of(sizes), (TableSegment(8, loop), after), 365)


def resting_room() -> Table:
    """Where `b` rests, `a` and `c` fit beside it; where it does not, its tensors take the place."""
    sizes = {"a": (100, 80), "b": (20, 20), "c": (100, 80)}
    loop = (
        TableStep("a", 10, 60),
        TableStep("b", 190, 90, at=(0, 3), idle_bytes=10),
        TableStep("c", 10, 60),
    )
    return Table(chunks_of(sizes), (TableSegment(6, loop),), 230)


def empty() -> Table:
    """No bytes, no times."""
    sizes = {"a": (0, 0), "b": (10, 0), "c": (0, 7)}
    loop = TableSegment(3, steps_of(("a", 0, 0), ("b", 1, 0), ("c", 0, 5)))
    return Table(chunks_of(sizes), (loop,), 11)


def vectors() -> tuple[Vector, ...]:
    loop, slots2 = even(6, 4, 4, 90, 100), even(4, 3, 2, 90, 100)
    cold = even(5, 3, 3, 40, 100, cold=300)
    odd = Gamma(16, 10)
    few, many = always("b", "e"), always("a", "b", "d", "e")
    pair = always("c0", "c3")
    by_speed = (Kept(0.0, ()), Kept(1.5, ("c0",)), Kept(2.5, ("c1", "c4")))
    return (
        Vector("all_fits", "a loop whose chunks all fit: each is loaded once", even(3, 3, 3, 5, 9)),
        Vector("two_slots", "tight memory: nothing stays but the next chunk", slots2),
        Vector("one_slot", "tightest memory: no overlap at all", even(3, 2, 1, 50, 40)),
        Vector("loop", "four of six chunks fit; nominal times", loop),
        Vector("loop_slow_loads", "the same, loads three times as long", loop, slow=(30, 10)),
        Vector("loop_fast_loads", "the same, loads half as long", loop, slow=(5, 10)),
        Vector("loop_slow_steps", "the same, steps three times as long", loop, slow=(10, 30)),
        Vector("loop_contention", "the same, both slow each other down", loop, gamma=odd),
        Vector("loop_noise", "the same, times of 40 to 160 percent", loop, noise=60, gamma=odd),
        Vector("unequal", "chunks of five sizes; victims are given back", uneven()),
        Vector("unequal_kept", "two of them kept", uneven(few), few),
        Vector(
            "unequal_kept_too_many",
            "a kept chunk is left out to make room for any other",
            uneven(many),
            many,
        ),
        Vector(
            "loop_kept",
            "two chunks of six kept, room for two others",
            even(6, 4, 4, 130, 100, pair),
            pair,
        ),
        Vector(
            "kept_by_speed",
            "other chunks are kept once loads are seen to be slow",
            even(6, 6, 4, 90, 100, by_speed),
            by_speed,
            slow=(30, 10),
        ),
        Vector("cold", "first loads take longer; that is no sign of slow loads", cold),
        Vector("kept_then_free", "a chunk is kept in its loop only", kept_then_free(), always("a")),
        Vector("give_back_order", "which victim is given back", given_back()),
        Vector("unequal_pages", "each chunk as three pages", uneven(pages=3)),
        Vector("staged", "prefetch from stage to stage; host steps", staged()),
        Vector("staged_stuck", "a load takes 100 times its time", staged(), slow=(1000, 10)),
        Vector("staged_uneven", "stages whose loads differ in length", uneven_stages()),
        Vector("staged_end_1", "the loop ends after its first iteration", staged(), ends={1: 1}),
        Vector("staged_end_4", "the loop ends after four of six", staged(), ends={1: 4}),
        Vector(
            "end_with_a_load_in_flight",
            "the loop ends while a load is in flight that the next step has no room for",
            blocked(),
            ends={0: 2},
        ),
        Vector("switch", "another function, other nominal times, no reload", switching()),
        Vector("needs", "a step evicts to make room for its tensors", needs()),
        Vector("needs_slow_loads", "the same, loads four times as long", needs(), slow=(40, 10)),
        Vector("twice", "a chunk called twice in an iteration, and after the loop", twice()),
        Vector("map", "long steps: the next load waits", mapped()),
        Vector("rests", "calls that rest: no load, no time, the next call counts", resting()),
        Vector("rests_slow_loads", "the same, loads three times as long", resting(), slow=(30, 10)),
        Vector(
            "rests_end_3",
            "the same, the loop ends after three of eight",
            resting(),
            ends={0: 3},
        ),
        Vector("rests_room", "a call that rests needs no room for itself", resting_room()),
        Vector("empty", "chunks of no bytes and steps of no time", empty()),
    )


# ---------------------------------------------------------------- writing


def record(vector: Vector) -> dict[str, object]:
    """The vector's run as JSON."""
    rng = random.Random(vector.name)
    table = vector.table

    def off(ns: int, tenths: int) -> int:
        return ns * tenths * (100 + rng.randint(-vector.noise, vector.noise)) // 1000

    seen: set[int] = set()

    def load(unit: int, _: int) -> int:
        u = table.units[unit]
        cold = 0 if unit in seen else u.cold_ns
        seen.add(unit)
        return off(u.load_ns + cold, vector.slow[0])

    rule, trace = OnlineRule(table), list[dict[str, object]]()
    simulate(
        rule,
        load_ns=load,
        exec_ns=lambda step, _: off(table.exec_ns(step), vector.slow[1]),
        gamma=vector.gamma,
        ends=vector.ends,
        watch=lambda _, event, decided: trace.append(_happened(event, decided, rule.ledger)),
    )
    return {
        "name": vector.name,
        "what": vector.what,
        "budget_bytes": table.budget_bytes,
        "units": [[u.chunk, u.page, u.size_bytes, u.load_ns, u.cold_ns] for u in table.units],
        "kept_by_plan": [[k.slower, list(k.chunks)] for k in vector.kept],
        "kept": [[x.slower, list(x.chunks)] for x in table.levels],
        "segments": [_segment(g) for g in table.segments],
        "trace": trace,
    }


def _segment(segment: TableSegment) -> dict[str, object]:
    return {"count": segment.count, "steps": [_step(s) for s in segment.steps]}


def _step(step: TableStep) -> list[object]:
    always = [step.chunk, step.need_bytes, step.exec_ns, [list(x) for x in step.switch]]
    return [*always, list(step.at), step.idle_bytes] if step.at else always


def _happened(
    event: Event | None, decided: tuple[Decision, ...], ledger: Ledger
) -> dict[str, object]:
    return {
        "event": _event(event),
        "decisions": [_decision(d) for d in decided],
        "at": ledger.at,
        "running": ledger.running,
        "resident": sorted(ledger.resident),
        "loading": ledger.loading,
        "seen": sorted(ledger.seen),
        "exec_scale": ledger.exec_scale,
        "load_scale": ledger.load_scale,
    }


def _event(event: Event | None) -> list[object]:
    if event is None:
        return ["begin"]
    if isinstance(event, LoadDone):
        return ["load_done", event.ns]
    return ["step_done", event.ns, event.over]


def _decision(decision: Decision) -> list[object]:
    if isinstance(decision, Evict):
        return ["evict", decision.unit]
    if isinstance(decision, Start):
        return ["start", decision.step]
    assert isinstance(decision, Fetch)
    return ["fetch", decision.unit]


FORMAT = {
    "units": ["chunk", "page", "bytes", "nominal load ns", "ns more of its first load"],
    "kept_by_plan": ["slower, as the plan says it", "chunks"],
    "kept": ["slower in 1/4096", "chunks that leave room"],
    "steps": [
        "chunk or null",
        "need bytes",
        "nominal ns",
        "[[ns, while iteration below], ...]",
        "of a call that rests: the iterations in which it happens",
        "and its need in others",
    ],
    "event": ["begin | load_done | step_done", "ns it took", "step_done: is its loop over"],
    "rule": "docs/online-rule.md; the ledger is as after the decisions",
}


def text() -> str:
    """The whole file: one vector's parts and each moment of its trace on a line."""
    lines = ['{"format": ' + json.dumps(FORMAT) + ',\n"vectors": [']
    for n, vector in enumerate(vectors()):
        body = record(vector)
        trace = body.pop("trace")
        assert isinstance(trace, list)
        head = ",\n ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in body.items())
        moments = ",\n  ".join(json.dumps(t) for t in trace)
        more = "," if n + 1 < len(vectors()) else ""
        lines.append("{" + head + ',\n "trace": [\n  ' + moments + "\n ]}" + more)
    return "\n".join(lines) + "\n]}\n"


def main() -> None:
    aside = FILE.with_suffix(".tmp")
    aside.write_text(text())
    os.replace(aside, FILE)


if __name__ == "__main__":
    main()
