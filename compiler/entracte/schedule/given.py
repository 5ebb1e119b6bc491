"""What is the same for every attempt to place a program's loads under one budget, and what
attempts leave for each other.
"""

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field, replace

from entracte.clock.quick import Nominal
from entracte.ir import Load
from entracte.program.steps import START, Occurrence, expand
from entracte.program.workload import Workload
from entracte.schedule.ci_dl import blocks, earliest_gate
from entracte.schedule.loop import Loop
from entracte.schedule.pace import Cost, Pace

_UNROLL = 4
"""Iterations looked at: the first, two alike in the middle, the last."""

Placed = tuple[str, int, int, int]
"""A load in numbers of the shortened program, four iterations of each loop: its chunk, use, last
use and gate. (A bare tuple: planning makes many.)"""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Where a load found no room, beside how many bytes of chunks."""

    at: Occurrence
    present_bytes: int


@dataclass(slots=True)
class State:
    """How far an attempt has come."""

    used: list[int]
    """Bytes at each step; from `known` on without `held_bytes`."""
    placed: list[Placed] = field(default_factory=list)
    freed: dict[str, int] = field(default_factory=dict)
    """Of each chunk loaded, the step behind which it goes."""
    known: int = 0
    held_bytes: int = 0
    """Of chunks kept over their loop. They are added to steps as these are reached, since each of
    them stays for most of the loop's."""
    going: dict[int, int] = field(default_factory=dict)
    """How many of them go, behind which step."""

    def copy(self) -> "State":
        """Which goes on by itself."""
        return replace(
            self, used=[*self.used], placed=[*self.placed], freed={**self.freed},
            going={**self.going},
        )  # fmt: skip

    def reach(self, stop: int) -> None:
        """What is used is known before this step."""
        if held := self.held_bytes:
            used, going = self.used, self.going
            for t in range(self.known, stop):
                used[t] += held
                if t in going:
                    held -= going.pop(t)
            self.held_bytes = held
        self.known = stop

    def ahead(self, begin: int, stop: int) -> Iterator[int]:
        """Bytes at these steps, as far as they are known."""
        held = self.held_bytes
        for t in range(begin, stop):
            yield self.used[t] + (held if t >= self.known else 0)
            held -= self.going.get(t, 0) if t >= self.known else 0

    def hold(self, gate: int, free: int, weight_bytes: int) -> None:
        """What stays from a gate on to where it is freed."""
        begin, stop = gate + 1, min(free + 1, self.known)
        self.used[begin:stop] = [x + weight_bytes for x in self.used[begin:stop]]
        if free >= self.known:
            self.held_bytes += weight_bytes
            self.going[free] = self.going.get(free, 0) + weight_bytes


class Given:
    """What is the same for every attempt at one program: its steps, needs and last uses. Times do
    not matter here."""

    def __init__(self, workload: Workload) -> None:
        self.program, self.facts = workload.program, workload.facts
        self.budget = workload.budget_bytes
        self.unrolled = expand(self.program, self.facts, _UNROLL)
        self.need = [at.need_bytes for at in self.unrolled]
        self.most_ahead = self._most_ahead()
        """The largest need from each step to the end of its segment."""
        self.weight = [self.facts[s.chunk].weight_bytes if s.chunk else 0 for s in self.unrolled]
        self.most: dict[tuple[int, str | None], int] = {}
        """The largest need beside which a segment's chunk is called."""
        last: dict[tuple[int, str | None], int] = {}
        begin: dict[tuple[int, int], int] = {}
        for t, s in enumerate(self.unrolled):
            last[s.segment, s.chunk] = t
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
        self.names = [(s.segment, s.chunk or "") for s in self.unrolled]
        """Which chunk of which segment a step calls."""
        self.until = [last[s.segment, s.chunk] for s in self.unrolled]
        """The last use, in its segment, of a step's chunk."""
        self.is_later = [s.iteration > 0 for s in self.unrolled]
        self.begins = self._begins()
        """The first call of each loop, in order, where there is one before it."""
        self.begun: dict[object, State] = {}
        """Attempts as they were there: others go on from them."""
        self._published: dict[int, int] = {}
        self._inner: dict[int, frozenset[int]] = {}
        self.costs: dict[object, tuple[Workload, Cost]] = {}
        """Of whole runs (`look.cost_of`), with the workload that they are of."""
        self.looks: dict[object, tuple[Workload, float]] = {}
        """Seconds of first looks (`look.paced_s`), likewise."""
        self.shorts: dict[int, Nominal] = {}
        """What first looks run, by the identity of the workload that `looks` has."""
        self._loops: dict[int, tuple[Workload, list[Loop]]] = {}
        self.paces: dict[int, Pace] = {}
        """By the identity of a workload with these steps: policies time the same loads."""

    def _begins(self) -> list[int]:
        first: dict[int, int] = {}
        for t in self.calls:
            first.setdefault(self.unrolled[t].segment, t)
        loops = [s for s in first if self.program.segments[s].is_loop]
        return [first[s] for s in loops if first[s] > self.calls[0]]

    def _most_ahead(self) -> list[int]:
        most = [*self.need]
        for t in range(len(most) - 2, -1, -1):
            if self.unrolled[t].segment == self.unrolled[t + 1].segment:
                most[t] = max(most[t], most[t + 1])
        return most

    def within(self, budget_bytes: int) -> "Given":
        """The same under another budget."""
        other = copy(self)
        other.budget, other.made = budget_bytes, {}
        other.costs, other.looks, other.shorts = {}, {}, {}
        other.paces, other.begun, other._loops = {}, {}, {}
        return other

    def loops(self, workload: Workload) -> list[Loop]:
        """Those of a workload with these steps, in order."""
        if id(workload) not in self._loops:
            self._loops[id(workload)] = (
                workload,
                [
                    Loop(workload, s, {c: n for (t, c), n in self.most.items() if t == s and c})
                    for s, segment in enumerate(workload.program.segments)
                    if segment.is_loop
                ],
            )
        return self._loops[id(workload)][1]

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
