"""Loads and calls that slow each other down: how long each takes when both share the memory.

While a load and a call run at the same time, each advances at 1 / gamma of its own speed (shared
reference scheduling.md, section 7). With gamma 1 nothing changes. What overlaps what follows from
the gates and the durations, so this is a small simulation of its own; the clock of
`entracte/clock/simulate.py` then places the longer durations by the same gates.
"""

from collections.abc import Callable, Iterable, Iterator

from entracte.program.steps import Placement


class Shared:
    """Working state: the wall clock, the load in flight and what is left of it.

    Args:
        loads: in the loader's order; all of a step's loads have gates before that step.
        seconds: (load, its number) -> seconds it takes when nothing else runs.
        gamma: slow-down of both while they overlap, 1 or more.
    """

    def __init__(
        self, loads: Iterable[Placement], seconds: Callable[[Placement, int], float], gamma: float
    ) -> None:
        self._loads: Iterator[Placement] = iter(loads)
        self._seconds, self._gamma = seconds, gamma
        self._next = next(self._loads, None)
        self._left: float | None = None
        """Of the load in flight, which is `_next`; None while the loader is idle."""
        self._now = self._begun = 0.0
        self._ended, self._made = -1, 0
        self.load_s: dict[int, float] = {}
        """Wall seconds of the load for a step."""
        self.step_s: dict[int, float] = {}
        """Wall seconds of a step."""

    def step(self, number: int, seconds: float) -> None:
        """Do a step: its loads first, then the step beside whatever load may run."""
        self._ended = number - 1
        while self._next is not None and self._next.use <= number:
            self._start()
            self._pass(self._left or 0.0, alone=True)
        begin, left = self._now, seconds
        while left > 0:
            self._start()
            if self._left is None:
                self._now += left
                break
            done = min(left, self._left)
            self._pass(done, alone=False)
            left -= done
        self.step_s[number] = self._now - begin
        self._ended = number

    def end_early(self, resume: int) -> None:
        """A loop is over: the load in flight is finished, its others up to `resume` are skipped."""
        if self._left is not None:
            self._pass(self._left, alone=True)
        while self._next is not None and self._next.use < resume:
            self._next = next(self._loads, None)
        self._ended = resume - 1

    def _start(self) -> None:
        load = self._next
        if load is None or self._left is not None or load.gate > self._ended:
            return
        self._left = self._seconds(load, self._made)
        self._begun = self._now
        if self._left <= 0:
            self._finish()

    def _pass(self, work: float, *, alone: bool) -> None:
        """Let the load in flight advance by `work` seconds of its own speed."""
        self._now += work if alone else work * self._gamma
        if self._left is None:
            return
        self._left -= work
        if self._left <= 0:
            self._finish()

    def _finish(self) -> None:
        assert self._next is not None
        self.load_s[self._next.use] = self._now - self._begun
        self._left, self._next = None, next(self._loads, None)
        self._made += 1
