"""Places loads: given the chunks to keep, every load at the earliest gate that memory allows.

Loads are made in order of use. For a given set of kept chunks the earliest gates are the best:
load k has its memory from its gate to its use, so an earlier gate takes memory only where no
later load (which cannot start before load k) could have used it; and the clock is monotone in
the gates. So what a policy chooses is which chunks to keep (scheduling.md, section 1).
"""

from bisect import bisect_left
from collections.abc import Sequence, Set
from itertools import pairwise

from entracte.ir import Gate, Load, Moment, Policy
from entracte.program.steps import START, Occurrence
from entracte.schedule.given import Conflict, Given, Placed, State
from entracte.schedule.loop import KeptBy


def loads_of(given: Given, policy: Policy, kept: KeptBy) -> tuple[Load, ...] | Conflict:
    """The loads of an attempt as a plan says them, remembered: policies and speeds of loads try
    the same sets."""
    key = (policy.lookahead, policy.keep == "published", frozenset(kept.items()))
    if key not in given.made:
        placed = place(given, policy, kept)
        made = placed if isinstance(placed, Conflict) else compress(given, placed)
        given.made[key] = made
    return given.made[key]


def place(given: Given, policy: Policy, kept: KeptBy) -> list[Placed] | Conflict:
    """All loads of the shortened program, or where they do not fit."""
    state, begin = _begun(given, policy, kept)
    stay = {(s, chunk) for s, chunks in kept.items() for chunk in chunks}
    later = [use for use in given.begins if use > begin]
    for start, stop in pairwise([begin, *later, len(given.unrolled)]):
        if start > begin:
            given.begun[_before(given, policy, kept, start)] = state.copy()
        steps = given.calls[bisect_left(given.calls, start) : bisect_left(given.calls, stop)]
        conflict = _placed(given, policy, stay, state, steps)
        if conflict is not None:
            return conflict
    return state.placed


def _placed(  # noqa: C901 - one loop, in which planning takes most of its time
    given: Given, policy: Policy, stay: Set[tuple[int, str]], state: State, calls: Sequence[int]
) -> Conflict | None:
    """Goes on to the end of these calls: each load at the earliest gate that the policy, the order
    of loads and what a plan can say allow, where there is room from there on."""
    names, again, weights, earliest = given.names, given.again, given.weight, given.earliest
    used, freed, placed, ahead = state.used, state.freed, state.placed, policy.lookahead
    published = given.published if policy.keep == "published" else None
    for use in calls:
        keep = names[use] in stay
        if keep and given.is_later[use]:
            continue
        chunk = names[use][1]
        # A chunk is never in memory twice.
        least = freed.get(chunk, START)
        if least >= use:
            continue
        free, weight = given.until[use] if keep else again[use], weights[use]
        room = given.budget - weight
        state.reach(again[use] + 1)
        if (used[use] > room or free > use) and (
            conflict := _conflict(given, state, range(use, free + 1), weight)
        ):
            return conflict
        gate = use - 1
        if ahead > 0:
            if placed and placed[-1][3] > least:
                least = placed[-1][3]
            if len(placed) >= ahead:
                least = max(least, placed[-ahead][1] - 1)
            if published is not None:
                least = max(least, published(use))
            floor = earliest[use] if earliest[use] > least else least
            if floor < gate and used[gate] <= room:
                gate = _back(used, gate, floor, room)
            if gate == earliest[use]:
                gate = _far(given, used, use, least, room)
        placed.append((chunk, use, free, gate))
        freed[chunk] = free
        if keep:
            state.hold(gate, free, weight)
        else:
            used[gate + 1 : free + 1] = [x + weight for x in used[gate + 1 : free + 1]]
    return None


def _back(used: list[int], gate: int, floor: int, room: int) -> int:
    """The earliest gate from which on there is room."""
    # Most often there is room all the way; the built-in is much faster than the loop.
    if max(used[floor + 1 : gate + 1]) <= room:
        return floor
    while used[gate] <= room:
        gate -= 1
    return gate


def _far(given: Given, used: list[int], use: int, least: int, room: int) -> int:
    """The gate before the earliest one, where there is one and nothing is against it."""
    gate, far = given.earliest[use], given.before[use]
    if far is None or far < least or any(x > room for x in used[far + 1 : gate + 1]):
        return gate
    return far


def _begun(given: Given, policy: Policy, kept: KeptBy) -> tuple[State, int]:
    """How far an attempt before it came with the same in all loops up to there."""
    for use in reversed(given.begins):
        found = given.begun.get(_before(given, policy, kept, use))
        if found is not None:
            return found.copy(), use
    return State([*given.need]), 0


def _before(given: Given, policy: Policy, kept: KeptBy, use: int) -> object:
    """All that the loads before a use follow from."""
    own = given.unrolled[use].segment
    held = frozenset((s, chunks) for s, chunks in kept.items() if s < own)
    return use, policy.lookahead, policy.keep == "published", held


def _conflict(given: Given, state: State, steps: range, weight: int) -> Conflict | None:
    """Whether so much more does not fit at one of the steps, of one segment."""
    room = given.budget - weight
    near = max(state.used[steps.start : min(steps.stop, state.known)])
    if near <= room and (
        steps.stop <= state.known or given.most_ahead[state.known] + state.held_bytes <= room
    ):
        return None
    for t, used in zip(steps, state.ahead(steps.start, steps.stop), strict=True):
        if used > room:
            return Conflict(given.unrolled[t], used - given.need[t] + weight)
    return None


# ---------------------------------------------------------------- as a plan says it


def compress(given: Given, placed: list[Placed]) -> tuple[Load, ...]:
    """Loads of iteration 0 as `first`; those of later iterations, alike, as `each`."""
    first: list[list[Load]] = [[] for _ in given.program.segments]
    each: list[dict[int, Load]] = [{} for _ in given.program.segments]
    for load in placed:
        made = given.said.get(load)
        if made is None:
            made = _load(given.unrolled, load)
            made = given.said[load] = given.equal.setdefault(made, made)
        if made.iterations == "first":
            first[made.segment].append(made)
            continue
        own = each[made.segment]
        old = own.get(made.step)
        own[made.step] = made if old is None or old is made else _later(old, made)
    ordered: list[Load] = []
    for begin, again in zip(first, each, strict=True):
        ordered += begin
        ordered += [again[step] for step in sorted(again)]
    return tuple(ordered)


def _later(a: Load, b: Load) -> Load:
    """The one with the later gate: it holds its copy for a shorter time, so it is safe."""
    assert a.gate is not None and b.gate is not None
    rank = {Moment.PREVIOUS: 0, Moment.SAME: 1}
    first, second = ((rank[g.moment], g.step) for g in (a.gate, b.gate))
    return a if first >= second else b


def _load(unrolled: list[Occurrence], placed: Placed) -> Load:
    chunk, use_at, free_at, gate = placed
    use, free = unrolled[use_at], unrolled[free_at]
    return Load(
        chunk=chunk,
        segment=use.segment,
        iterations="first" if use.iteration == 0 else "each",
        step=use.step,
        gate=_gate(unrolled, gate, use),
        free_step=free.step,
        free_moment=Moment.SAME if free.iteration == use.iteration else Moment.LAST,
    )


def _gate(unrolled: list[Occurrence], at: int, use: Occurrence) -> Gate | None:
    if at == START:
        return None
    gate = unrolled[at]
    if gate.segment != use.segment:
        return Gate(gate.segment, gate.step, Moment.LAST)
    moment = Moment.SAME if gate.iteration == use.iteration else Moment.PREVIOUS
    return Gate(gate.segment, gate.step, moment)
