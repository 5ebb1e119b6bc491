"""What a job tells, and a clock -> how far it is, at any moment."""

import threading
import time
from collections.abc import Callable, Sequence
from itertools import accumulate

from entracte.progress.phase import Outlook, Phase, by_time, by_units
from entracte.progress.values import NOTHING, Expected, LoopSpan, PhaseTime, Progress

_TOLERATED = 0.1
"""Of what is left: how far a phase may be over its time before no time left is told."""
_TOLERATED_S = 1.0


class Tracker:
    """A `Reporter` that turns what it is told into `Progress`.

    Args:
        expected: what phases took last time.
        clock: seconds, rising.
        told: called with an event and the progress then: `phase` (one begins) or `unit` (of the
            phase's units, some are done).
    """

    def __init__(
        self,
        expected: Expected = NOTHING,
        clock: Callable[[], float] = time.monotonic,
        told: Callable[[str, Progress], None] = lambda *_: None,
    ) -> None:
        self._expected, self._clock, self._told = expected, clock, told
        self._begun_s = clock()
        self._over: list[PhaseTime] = []
        self._phase: Phase | None = None
        self._running: list[str] = []
        self._over_s = self._share = 0.0
        self._lock = threading.RLock()

    # ------------------------------------------------------------ told by the job

    def phase(
        self,
        name: str,
        total: int,
        unit_bytes: bool = False,
        *,
        units_s: Sequence[float] = (),
        loops: Sequence[LoopSpan] = (),
        names: Sequence[str] = (),
    ) -> None:
        """The next phase begins, of `total` units; the one before it is complete.

        Args:
            units_s: expected seconds of each unit, where units are known to differ.
            loops: those among the units.
            names: of each unit, where they run in order: what runs now is then known by itself.
        """
        with self._lock:
            self._close()
            ends, now_s = tuple(accumulate(units_s)), self._clock()
            self._phase = Phase(name, total, unit_bytes, now_s, ends, tuple(loops), tuple(names))
            self._phase.move(0, now_s)
            self._running = list(names[:1])
        self._tell("phase")

    def start(self, label: str) -> None:
        """A unit, or several that belong together, is begun, or made ready to be."""
        with self._lock:
            if label not in self._running:
                self._running.append(label)

    def advance(self, label: str, amount: int = 1) -> None:
        """So many units more are done; `label` is what they belong to."""
        with self._lock:
            assert self._phase is not None
            self._forget(label)
            self._phase.move(self._phase.done + amount, self._clock())
        self._tell("unit")

    def at(self, label: str, completed: int, of: int | None = None) -> None:
        """So many units are done in all, `of` so many where that is known only now; `label` is
        what runs, where units have no names."""
        with self._lock:
            assert self._phase is not None
            self._phase.total = self._phase.total if of is None else of
            names = self._phase.names
            self._running = list(names[completed : completed + 1]) if names else [label]
            self._phase.move(completed, self._clock())
        self._tell("unit")

    def end(self) -> tuple[PhaseTime, ...]:
        """The job is done: what its phases took, in the order in which they first began."""
        with self._lock:
            self._close()
            self._phase = None
            return tuple(self._over)

    def _forget(self, label: str) -> None:
        if label in self._running:
            self._running.remove(label)

    def _close(self) -> None:
        if self._phase is None:
            return
        now_s = self._clock()
        seconds, work = now_s - self._phase.begun_s, self._phase.total
        self._over_s += self._outlook(self._phase, now_s).whole_s
        known = next((t for t in self._over if t.phase == self._phase.name), None)
        if known is None:
            self._over.append(PhaseTime(self._phase.name, seconds, work))
            return
        both = PhaseTime(known.phase, known.seconds + seconds, known.work + work)
        self._over[self._over.index(known)] = both

    def _tell(self, event: str) -> None:
        progress = self.now()
        if progress is not None:
            self._told(event, progress)

    # ------------------------------------------------------------ how far it is

    def now(self) -> Progress | None:
        """How far the job is; None before its first phase."""
        with self._lock:
            phase, now_s = self._phase, self._clock()
            if phase is None:
                return None
            outlook, to_come_s = self._outlook(phase, now_s), self._to_come_s(phase)
            whole_s = self._over_s + outlook.whole_s + to_come_s
            share = (self._over_s + outlook.done_s) / whole_s if whole_s > 0 else 0.0
            # More work may come to light; what was told stands.
            self._share = max(self._share, share)
            left_s = outlook.left_s + to_come_s
            grounded = self._is_grounded(phase)
            late = grounded and outlook.over_s > _TOLERATED_S + _TOLERATED * (
                outlook.whole_s + to_come_s
            )
            return Progress(
                phase=phase.name,
                name=", ".join(dict.fromkeys(self._running)),
                done=phase.done,
                of=phase.total,
                unit_bytes=phase.unit_bytes,
                phase_s=now_s - phase.begun_s,
                seconds=now_s - self._begun_s,
                share=self._share,
                left_s=left_s if grounded and not late else None,
                late=late,
                loop=phase.place(),
            )

    def _known(self, name: str) -> PhaseTime | None:
        return next((t for t in self._expected.phases if t.phase == name), None)

    def _to_come_s(self, phase: Phase) -> float:
        """Of the phases behind this one, as they were last time, or in proportion to what they
        follow."""
        names = [t.phase for t in self._expected.phases]
        behind = names.index(phase.name) + 1 if phase.name in names else 0
        begun = {t.phase for t in self._over}
        return sum(
            t.seconds * self._proportion(t.phase, phase)
            for t in self._expected.phases[behind:]
            if t.phase not in begun
        )

    def _proportion(self, name: str, phase: Phase) -> float:
        """Of what a phase did last time: how much it will have to do."""
        leader = dict(self._expected.follows).get(name)
        known = None if leader is None else self._known(leader)
        work = {t.phase: t.work for t in self._over}
        work[phase.name] = work.get(phase.name, 0) + phase.total
        if known is None or leader not in work or not known.work:
            return 1.0
        return min(1.0, work[leader] / known.work)

    def _is_grounded(self, phase: Phase) -> bool:
        """Whether a time left may be told."""
        ground = self._expected.ground
        return ground == phase.name or ground in {t.phase for t in self._over}

    def _outlook(self, phase: Phase, now_s: float) -> Outlook:
        spent_s = now_s - phase.begun_s
        if phase.ends and phase.ends[-1] > 0:
            return by_units(phase, spent_s)
        known = self._known(phase.name)
        part = min(1.0, phase.done / phase.total) if phase.total else 1.0
        if known is None:
            # Nothing to weigh it by: as long as it has taken, or alone.
            alone = 0.0 if self._expected.phases else 1.0
            whole_s = max(spent_s, alone)
            return Outlook(whole_s, part * whole_s, 0.0, spent_s)
        return by_time(
            known.expected_s(phase.total), part, phase, spent_s, self._is_grounded(phase)
        )
