"""A loop to keep chunks over: what there is room for, and what is saved."""

from collections.abc import Mapping

from entracte.ir import Call
from entracte.program.workload import Workload
from entracte.schedule.retention import Positions

KeptBy = Mapping[int, frozenset[str]]
"""Segment number -> chunks that stay loaded over that loop."""


class Loop:
    """The chunks of a loop in order of use, in numbers."""

    def __init__(self, workload: Workload, segment: int, most: Mapping[str, int]) -> None:
        """`most`: the largest need beside which each chunk is called, in bytes."""
        facts_of = workload.facts
        self.segment, own = segment, workload.program.segments[segment]
        calls: dict[str, float] = {}
        again: dict[str, set[int]] = {}
        for step in own.steps:
            if isinstance(step, Call):
                seconds = step.repeat * facts_of[step.chunk].exec_s
                share = (len(step.at) or own.count) / own.count
                calls[step.chunk] = calls.get(step.chunk, 0.0) + share * seconds
                again.setdefault(step.chunk, set()).update(step.at or range(own.count))
        self.chunks = list(calls)
        self.is_twice = own.count == 2 and not any(isinstance(x, Call) and x.at for x in own.steps)
        facts = [facts_of[c] for c in self.chunks]
        self.weights = [f.weight_bytes for f in facts]
        self.load_s = [f.load_s for f in facts]
        self.exec_s = list(calls.values())
        self.room = [workload.budget_bytes - most[c] for c in self.chunks]
        """Bytes that chunks may take while each is called."""
        self.least_room = min(self.room, default=0)
        each = zip(self.room, self.weights, strict=True)
        self.room_for_all = min((room - w for room, w in each), default=0)
        """Beside each chunk's own call, whichever it is."""
        times = [len(again[c] - {0}) for c in self.chunks]
        self.again_s = [n * s for n, s in zip(times, self.load_s, strict=True)]
        """Of each chunk, if it is loaded in every iteration after the first that calls it."""

    def can_keep(self, kept: Positions) -> bool:
        """All that are there beside each chunk's own call: necessary, cheap to ask."""
        total, own = sum(self.weights[i] for i in kept), set(kept)
        if self.is_twice:
            return self._can_keep_once(own, total)
        if not self.room_for_all < total <= self.least_room:
            return total <= self.room_for_all
        return all(
            total + (0 if i in own else w) <= room
            for i, (w, room) in enumerate(zip(self.weights, self.room, strict=True))
        )

    def _can_keep_once(self, own: set[int], total: int) -> bool:
        """Of two iterations the first has only those that were called already, the second only
        those that are still to be called: together they may be more than fit."""
        before = 0
        for i, (w, room) in enumerate(zip(self.weights, self.room, strict=True)):
            mine = w if i in own else 0
            if max(before, total - before - mine) + w > room:
                return False
            before += mine
        return True

    def keeps_all(self, kept: KeptBy) -> bool:
        """Of a schedule's kept chunks all of this loop."""
        return len(kept.get(self.segment, ())) == len(self.chunks)

    def reloading_s(self, kept: KeptBy) -> float:
        """Seconds of loads after the first iteration, where a schedule keeps these chunks."""
        own = kept.get(self.segment, frozenset())
        return self.reload_s(tuple(i for i, c in enumerate(self.chunks) if c in own))

    def reload_s(self, kept: Positions) -> float:
        """The same, by positions in this loop."""
        own = set(kept)
        return sum(s for i, s in enumerate(self.again_s) if i not in own)
