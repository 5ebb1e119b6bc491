"""Two runs step by step: where the one takes longer than the other, and by how much what was
predicted is wrong, by kind of load and call."""

from collections import Counter, defaultdict
from dataclasses import dataclass

from entracte.clock.timeline import Timeline
from entracte.inspect.bottleneck import cold_loads
from entracte.ir import Bar, Plan
from entracte.report.lanes import bars
from entracte.units import format_seconds

MOST_ROWS = 60
"""Iterations in the table: those that differ most."""
_NEAR = 1e-9
"""Seconds that are no difference, as a share of a whole run."""


@dataclass(frozen=True, slots=True)
class Side:
    """A run to be set beside another: a plan's own prediction, or what was observed of it."""

    plan: Plan
    timeline: Timeline


@dataclass(frozen=True, slots=True)
class Turn:
    """An iteration of a loop, or a part of the program that is none: from the end of the last call
    before it to the end of its own last call. `seconds` of both; None where a run lacks it."""

    part: str
    iteration: int | None
    """From 1; None where there is only one."""
    seconds: tuple[float | None, float | None]
    mostly: str
    """What differs most in it, with the difference."""

    @property
    def change_s(self) -> float:
        """By how much the second takes longer."""
        return (self.seconds[1] or 0.0) - (self.seconds[0] or 0.0)


@dataclass(frozen=True, slots=True)
class Turns:
    """`rows` in the order of the run; `total_s` of all there are, also those that are left out."""

    rows: tuple[Turn, ...]
    left_out: int
    total_s: tuple[float, float]


_Place = tuple[str, int, int]
"""Of an iteration: its segment's name, which of that name, and the iteration."""


def turns(one: Side, two: Side) -> Turns:
    """Iteration by iteration, the second beside the first; of two plans by the names of parts."""
    a, b = _turns(one), _turns(two)
    places = list(dict.fromkeys((*a, *b)))
    same = [c.id for c in one.plan.chunks] == [c.id for c in two.plan.chunks]
    x, y = _taken(one, by_chunk=same), _taken(two, by_chunk=same)
    counts = _counts(one.plan) | _counts(two.plan)
    rows = [
        Turn(
            p[0],
            p[2] + 1 if counts[p[:2]] > 1 else None,
            (a.get(p), b.get(p)),
            _mostly(x[p], y[p], _NEAR * one.timeline.makespan_s),
        )
        for p in places
    ]
    kept = sorted(range(len(rows)), key=lambda i: (-abs(rows[i].change_s), i))[:MOST_ROWS]
    shown = tuple(rows[i] for i in sorted(kept))
    return Turns(shown, len(rows) - len(shown), (sum(a.values()), sum(b.values())))


def _places(plan: Plan) -> list[tuple[str, int]]:
    """Of each segment its name, and which of that name it is."""
    seen: Counter[str] = Counter()
    made = []
    for segment in plan.program.segments:
        made.append((segment.name, seen[segment.name]))
        seen[segment.name] += 1
    return made


def _counts(plan: Plan) -> dict[tuple[str, int], int]:
    return {
        place: segment.count
        for place, segment in zip(_places(plan), plan.program.segments, strict=True)
    }


def _turns(side: Side) -> dict[_Place, float]:
    """Seconds of each: ends of last calls, in order, one from the other."""
    names = _places(side.plan)
    ends: dict[_Place, float] = {}
    for e in side.timeline.bars:
        if e.queue == "compute":
            place = (*names[e.segment], e.iteration)
            ends[place] = max(ends.get(place, 0.0), e.end_s)
    order = sorted(ends.items(), key=lambda item: item[1])
    before, made = 0.0, {}
    for place, end in order:
        made[place], before = end - before, end
    return made


def _taken(side: Side, *, by_chunk: bool) -> dict[_Place, dict[str, float]]:
    """Seconds of each iteration's calls and waits, by chunk or by stage."""
    names = _places(side.plan)
    stage = {c.id: c.graph for c in side.plan.chunks}

    def of(chunk: str) -> str:
        return chunk if by_chunk else stage[chunk]

    found: dict[_Place, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for e in side.timeline.bars:
        if e.queue == "compute":
            found[(*names[e.segment], e.iteration)][f"computing {of(e.label)}"] += (
                e.end_s - e.start_s
            )
    for w in side.timeline.waits:
        found[(*names[w.segment], w.iteration)][f"waiting for {of(w.chunk)}"] += w.end_s - w.start_s
    return found


def _mostly(a: dict[str, float], b: dict[str, float], near: float) -> str:
    change = {k: b.get(k, 0.0) - a.get(k, 0.0) for k in dict.fromkeys((*a, *b))}
    most = max(change, key=lambda k: abs(change[k]), default=None)
    if most is None or abs(change[most]) <= near:
        return ""
    return f"{most} {'+' if change[most] > 0 else '−'}{format_seconds(abs(change[most]))}"


# ---------------------------------------------------------------- how wrong a prediction is


@dataclass(frozen=True, slots=True)
class Error:
    """Loads or calls of one kind, predicted and observed. `counts` and `seconds` of both;
    `mean` is the mean of |observed - predicted| / predicted over those that both have, None where
    there are none; `worst` the one with the largest."""

    stage: str
    kind: str
    """calls, loads, or first loads, which are cold."""
    counts: tuple[int, int]
    seconds: tuple[float, float]
    mean: float | None
    worst: str


_Key = tuple[str, str]


def errors(plan: Plan, predicted: Timeline, observed: Timeline) -> tuple[Error, ...]:
    """By stage: its first loads, its other loads, its calls. A call is set beside the same step's
    call, a chunk's n-th load beside its n-th."""
    a, b = _kinds(plan, predicted), _kinds(plan, observed)
    keys = sorted(dict.fromkeys((*a, *b)), key=lambda k: _ORDER.index(k[1]))
    stages = list(dict.fromkeys(c.graph for c in plan.chunks))
    keys.sort(key=lambda k: stages.index(k[0]))
    return tuple(_error(key, a.get(key, {}), b.get(key, {})) for key in keys)


_ORDER = ("first loads", "loads", "calls")


def _kinds(plan: Plan, timeline: Timeline) -> dict[_Key, dict[tuple[str, object], float]]:
    """(stage, kind) -> (chunk, which of its own) -> seconds."""
    stage = {c.id: c.graph for c in plan.chunks}
    cold = {(e.label, e.start_s) for e in cold_loads(timeline.bars, plan.facts)}
    made: dict[_Key, dict[tuple[str, object], float]] = {}
    number: Counter[str] = Counter()
    for e in bars(timeline.bars):
        kind, which = _kind(e, number, is_cold=(e.label, e.start_s) in cold)
        made.setdefault((stage[e.label], kind), {})[(e.label, which)] = e.end_s - e.start_s
    return made


def _kind(e: Bar, number: Counter[str], *, is_cold: bool) -> tuple[str, object]:
    if e.queue == "compute":
        return "calls", (e.segment, e.iteration, e.step)
    number[e.label] += 1
    return "first loads" if is_cold else "loads", number[e.label]


def _error(
    key: _Key, a: dict[tuple[str, object], float], b: dict[tuple[str, object], float]
) -> Error:
    wrong = {k: abs(b[k] - a[k]) / a[k] for k in a if k in b and a[k] > 0}
    worst = max(wrong, key=lambda k: wrong[k], default=None)
    told = "" if worst is None else f"{worst[0]} ({b[worst] / a[worst]:.2f} ×)"
    mean = sum(wrong.values()) / len(wrong) if wrong else None
    return Error(*key, (len(a), len(b)), (sum(a.values()), sum(b.values())), mean, told)
