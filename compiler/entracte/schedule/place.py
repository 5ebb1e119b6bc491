"""Places loads: given the chunks to keep, every load at the earliest gate that memory allows.

Loads are made in order of use. For a given set of kept chunks the earliest gates are the best:
load k has its memory from its gate to its use, so an earlier gate takes memory only where no
later load (which cannot start before load k) could have used it; and the clock is monotone in
the gates. So what a policy chooses is which chunks to keep (scheduling.md, section 1).
"""

from bisect import bisect_left
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import NamedTuple

from entracte.ir import Gate, Load, Moment, Policy
from entracte.program.steps import START, Occurrence, expand
from entracte.program.workload import Workload
from entracte.schedule.ci_dl import blocks, earliest_gate
from entracte.schedule.pace import Cost, Pace

_UNROLL = 4
"""Iterations looked at: the first, two alike in the middle, the last."""

KeptBy = Mapping[int, frozenset[str]]
"""Segment number -> chunks that stay loaded over that loop."""


class Placed(NamedTuple):
    """A load in numbers of the shortened program: four iterations of each loop. (A tuple: planning
    makes many.)"""

    chunk: str
    use: int
    free: int
    gate: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """Where a load found no room, beside how many bytes of chunks."""

    at: Occurrence
    present_bytes: int


class Given:
    """What is the same for every attempt at one program: its steps, needs and last uses. Times do
    not matter here."""

    def __init__(self, workload: Workload) -> None:
        self.program, self.facts = workload.program, workload.facts
        self.budget = workload.budget_bytes
        self.unrolled = expand(self.program, self.facts, _UNROLL)
        self.need = [at.need_bytes for at in self.unrolled]
        self.weight = [self.facts[s.chunk].weight_bytes if s.chunk else 0 for s in self.unrolled]
        self.most: dict[tuple[int, str | None], int] = {}
        """The largest need beside which a segment's chunk is called."""
        self.last: dict[tuple[int, str | None], int] = {}
        begin: dict[tuple[int, int], int] = {}
        for t, s in enumerate(self.unrolled):
            self.last[s.segment, s.chunk] = t
            self.most[s.segment, s.chunk] = max(
                s.need_bytes, self.most.get((s.segment, s.chunk), 0)
            )
            begin.setdefault((s.segment, s.iteration), t)
        self.earliest = [self._earliest(s, begin) for s in self.unrolled]
        self.ends = {s.segment: t for t, s in enumerate(self.unrolled)}
        uses = range(len(self.unrolled))
        self.again = [self._again(use) for use in uses]
        """The last of the calls in a row, in an iteration, that are of a use's chunk."""
        self.before = [self._before(use) for use in uses]
        """A still earlier gate of each use, where there is one (`_before`)."""
        self.made: dict[object, tuple[Load, ...] | Conflict] = {}
        """Attempts, by what a policy allows and the chunks that are kept."""
        self.said: dict[Placed, Load] = {}
        """Loads as a plan says them: attempts differ in few of them."""
        self.equal: dict[Load, Load] = {}
        """Of equal ones (of iterations alike) the first: equal loads are one object."""
        self.calls = [t for t, s in enumerate(self.unrolled) if s.chunk is not None]
        self.later = [(s.segment, s.chunk) if s.iteration > 0 else None for s in self.unrolled]
        """Which chunk of which loop is called after its first iteration."""
        self.begins = self._begins()
        """The first call of each loop, in order, where there is one before it."""
        self.begun: dict[object, _State] = {}
        """Attempts as they were there: others go on from them."""
        self._published: dict[int, int] = {}
        self._inner: dict[int, frozenset[int]] = {}
        self.costs: dict[object, tuple[Workload, Cost]] = {}
        """Of whole runs (`look.cost_of`), with the workload that they are of."""
        self.looks: dict[object, tuple[Workload, float]] = {}
        """Seconds of first looks (`look.paced_s`), likewise."""
        self.paces: dict[int, Pace] = {}
        """By the identity of a workload with these steps: policies time the same loads."""

    def _begins(self) -> list[int]:
        first: dict[int, int] = {}
        for t in self.calls:
            first.setdefault(self.unrolled[t].segment, t)
        loops = [s for s in first if self.program.segments[s].is_loop]
        return [first[s] for s in loops if first[s] > self.calls[0]]

    def within(self, budget_bytes: int) -> "Given":
        """The same under another budget."""
        other = copy(self)
        other.budget, other.made = budget_bytes, {}
        other.costs, other.looks, other.paces, other.begun = {}, {}, {}, {}
        return other

    def pace(self, workload: Workload) -> Pace:
        """Times of a workload with these steps."""
        if id(workload) not in self.paces:
            self.paces[id(workload)] = Pace(workload)
        return self.paces[id(workload)]

    def published(self, use: int) -> int:
        """The gate of the published rule."""
        if use not in self._published:
            s = self.unrolled[use].segment
            if s not in self._inner:
                self._inner[s] = frozenset(blocks(self.program.segments[s]))
            inner = self._inner[s]
            self._published[use] = earliest_gate(self.program, self.unrolled, use, inner)
        return self._published[use]

    def _earliest(self, at: Occurrence, begin: Mapping[tuple[int, int], int]) -> int:
        """The earliest gate a plan can name: a step of the load's own iteration, of the one
        before it, or of the last iteration of the segment before, but only its end where that
        may come early. Anything earlier is moved later, which is always safe."""
        first = begin[at.segment, max(0, at.iteration - 1)]
        if at.iteration > 0:
            return first
        if at.segment == 0:
            return START
        last = self.unrolled[first - 1]
        if self.program.segments[last.segment].until is not None:
            return first - 1
        return first - 1 - last.step

    def _again(self, use: int) -> int:
        at = self.unrolled[use]
        while use + 1 < len(self.unrolled):
            after = self.unrolled[use + 1]
            same = (after.segment, after.iteration, after.chunk)
            if same != (at.segment, at.iteration, at.chunk):
                break
            use += 1
        return use

    def _before(self, use: int) -> int | None:
        """A still earlier gate, for a segment's first loads: where the segment before is one of
        short iterations (slices of a map, or loops of one step), the moment at which that begins.
        Its last iteration alone would hide too little."""
        at = self.unrolled[use]
        if at.iteration > 0 or at.segment == 0:
            return None
        other = self.program.segments[at.segment - 1]
        short = other.sliced or (other.count > 1 and len(other.steps) == 1)
        if not short or other.until is not None:
            return None
        return self.ends.get(at.segment - 2, START)


def loads_of(
    given: Given, policy: Policy, kept: Mapping[int, frozenset[str]]
) -> tuple[Load, ...] | Conflict:
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
    attempt, begin = _begun(given, policy, kept)
    stay = {(s, chunk) for s, chunks in kept.items() for chunk in chunks}
    for use in given.calls[bisect_left(given.calls, begin) :]:
        if given.later[use] in stay:
            continue
        if use in given.begins and use > begin:
            given.begun[_before(given, policy, kept, use)] = attempt.state.copy()
        conflict = attempt.place(use)
        if conflict is not None:
            return conflict
    return attempt.state.placed


def _begun(given: Given, policy: Policy, kept: KeptBy) -> tuple["_Attempt", int]:
    """An attempt that has come as far as one before it with the same in all loops up to there."""
    for use in reversed(given.begins):
        found = given.begun.get(_before(given, policy, kept, use))
        if found is not None:
            return _Attempt(given, policy, kept, found.copy()), use
    return _Attempt(given, policy, kept, _State([*given.need], [], {})), 0


def _before(given: Given, policy: Policy, kept: KeptBy, use: int) -> object:
    """All that the loads before a use follow from."""
    own = given.unrolled[use].segment
    held = frozenset((s, chunks) for s, chunks in kept.items() if s < own)
    return use, policy.lookahead, policy.keep == "published", held


class _State(NamedTuple):
    """How far an attempt has come. (Not the attempt: who remembers it is what that looks at.)"""

    used: list[int]
    """Bytes at each step."""
    placed: list[Placed]
    freed: dict[str, int]
    """Of each chunk loaded, the step behind which it goes."""

    def copy(self) -> "_State":
        """Which goes on by itself."""
        return _State([*self.used], [*self.placed], {**self.freed})


class _Attempt:
    """What `place` does step by step."""

    def __init__(self, given: Given, policy: Policy, kept: KeptBy, state: _State) -> None:
        self.given, self.policy, self.kept, self.state = given, policy, kept, state
        self.used, self.placed, self.freed = state

    def place(self, use: int) -> Conflict | None:
        """`use` is a call, the first in its loop where the chunk is kept."""
        given, used = self.given, self.used
        at = given.unrolled[use]
        segment, chunk = at.segment, at.chunk
        assert chunk is not None
        if self.freed.get(chunk, START) >= use:
            return None
        keep = chunk in self.kept.get(segment, ())
        free = given.last[segment, chunk] if keep else given.again[use]
        weight = given.weight[use]
        room = given.budget - weight
        if used[use] > room or (free > use and max(used[use : free + 1]) > room):
            t = next(t for t in range(use, free + 1) if used[t] > room)
            return Conflict(given.unrolled[t], used[t] - given.need[t] + weight)
        gate = self.gate(use, room)
        self.placed.append(Placed(chunk, use, free, gate))
        self.freed[chunk] = free
        used[gate + 1 : free + 1] = [x + weight for x in used[gate + 1 : free + 1]]
        return None

    def gate(self, use: int, room: int) -> int:
        """The earliest one, where so many bytes are enough beside what is there."""
        used, gate, floor = self.used, use - 1, self.floor(use)
        if gate > floor and used[gate] <= room:
            # Most often there is room all the way; the built-in is much faster than the loop.
            if max(used[floor + 1 : use]) <= room:
                gate = floor
            while gate > floor and used[gate] <= room:
                gate -= 1
        if gate == self.given.earliest[use] and (far := self.far(use)) is not None:
            gate = far if all(x <= room for x in used[far + 1 : gate + 1]) else gate
        return gate

    def floor(self, use: int) -> int:
        """The earliest gate: by the policy, the order of loads, and what a plan can say."""
        if self.policy.lookahead == 0:
            return use - 1
        return self.limit(use, self.given.earliest[use])

    def far(self, use: int) -> int | None:
        """The gate before that one, where there is one and nothing is against it."""
        far = self.given.before[use]
        if far is None or self.policy.lookahead == 0:
            return None
        return far if self.limit(use, far) == far else None

    def limit(self, use: int, floor: int) -> int:
        given, placed, ahead = self.given, self.placed, self.policy.lookahead
        if len(placed) >= ahead:
            floor = max(floor, placed[-ahead].use - 1)
        if placed and placed[-1].gate > floor:
            floor = placed[-1].gate
        # A chunk is never in memory twice.
        freed = self.freed.get(given.unrolled[use].chunk or "", START)
        if freed > floor:
            floor = freed
        if self.policy.keep == "published":
            floor = max(floor, given.published(use))
        return floor


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


def _load(unrolled: list[Occurrence], load: Placed) -> Load:
    use, free = unrolled[load.use], unrolled[load.free]
    return Load(
        chunk=load.chunk,
        segment=use.segment,
        iterations="first" if use.iteration == 0 else "each",
        step=use.step,
        gate=_gate(unrolled, load, use),
        free_step=free.step,
        free_moment=Moment.SAME if free.iteration == use.iteration else Moment.LAST,
    )


def _gate(unrolled: list[Occurrence], load: Placed, use: Occurrence) -> Gate | None:
    if load.gate == START:
        return None
    gate = unrolled[load.gate]
    if gate.segment != use.segment:
        return Gate(gate.segment, gate.step, Moment.LAST)
    moment = Moment.SAME if gate.iteration == use.iteration else Moment.PREVIOUS
    return Gate(gate.segment, gate.step, moment)
