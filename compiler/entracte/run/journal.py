"""What happened in a run, as it happens: both threads of the machine write here."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from entracte.ir import Bar, ChunkRun, Plan, Run
from entracte.memory import AnonymousPeak
from entracte.program.steps import bases, where_is


@dataclass
class _Tally:
    loads: int = 0
    calls: int = 0
    load_s: float = 0.0
    exec_s: float = 0.0
    peak_bytes: int = 0


class Journal:
    """Bars, sums and peaks of one run. Times are those of `time.perf_counter`."""

    def __init__(self, plan: Plan, number: Callable[[int], int] = lambda n: n) -> None:
        """`number`: of a step that the machine names -> its number in the plan's program."""
        self._number = number
        self.memory = AnonymousPeak()
        self._segments = plan.program.segments
        self._bases = bases(plan.program)
        self._kept_bytes = 0
        self._notes: dict[str, None] = {}
        self._carried: dict[str, None] = {}
        self._outputs: dict[str, int] = {}
        self._begun = time.perf_counter()
        self._lock = threading.Lock()
        self._bars: list[Bar] = []
        self._tallies = {p.chunk: _Tally() for p in plan.packages}
        self._stage_s: dict[str, float] = {}
        self._iterations: dict[str, int] = {}
        self._resumed: tuple[int, int] | None = None
        self._stall_s = 0.0
        self._peak_bytes = self._loaded_bytes = 0

    def loaded(self, chunk: str, size_bytes: int, step: int, start: float, end: float) -> None:
        """A package or a page came in, for a step."""
        self.memory.look()
        with self._lock:
            tally = self._tallies[chunk]
            tally.loads += 1
            tally.load_s += end - start
            self._loaded_bytes += size_bytes
            self._bar("load", chunk, step, start, end, size_bytes)

    def freed(self, chunk: str, size_bytes: int, step: int, at: float | None = None) -> None:
        """Weights were given back, just now or at a time; the step is the one that runs or ran
        last."""
        now = time.perf_counter() if at is None else at
        with self._lock:
            self._bar("free", chunk, step, now, now, size_bytes)

    def carried(self, chunk: str, size_bytes: int) -> None:
        """A package or a page was in memory when the run began: a load in no time, and none."""
        with self._lock:
            self._carried[chunk] = None
            self._bar("load", chunk, 0, self._begun, self._begun, size_bytes)

    def handed_on(self, chunk: str, size_bytes: int, step: int) -> None:
        """It stays in memory for the next run, whose it is from now on."""
        self.freed(chunk, size_bytes, step)
        self._kept_bytes += size_bytes

    def called(self, chunk: str, step: int, start: float, end: float) -> None:
        """All slices of a call are done."""
        with self._lock:
            self._bar("compute", chunk, step, start, end, 0)

    def sliced(self, chunk: str, seconds: float, activation_bytes: int, held_bytes: int) -> None:
        """One slice of a call is done; what it needed, and all that was in memory beside it."""
        with self._lock:
            tally = self._tallies[chunk]
            tally.calls += 1
            tally.exec_s += seconds
            tally.peak_bytes = max(tally.peak_bytes, activation_bytes)
            self._peak_bytes = max(self._peak_bytes, held_bytes + activation_bytes)

    def done(self, stage: str, seconds: float) -> None:
        """A step of a stage took so long."""
        self._stage_s[stage] = self._stage_s.get(stage, 0.0) + seconds

    def waited(self, seconds: float) -> None:
        """The computing thread waited for its next step's loads."""
        self._stall_s += seconds

    def ended(self, loop: str, iterations: int) -> None:
        """A loop that may end early did so many iterations."""
        self._iterations[loop] = iterations

    @property
    def so_far(self) -> tuple[tuple[tuple[str, int], ...], tuple[str, ...]]:
        """Loops that ended and their iterations, and the notes."""
        return tuple(self._iterations.items()), tuple(self._notes)

    def go_on(
        self,
        at: tuple[int, int],
        ended: Iterable[tuple[str, int]],
        notes: Iterable[str],
    ) -> None:
        """A run that was interrupted came so far: to a segment's iteration; with what `so_far`
        said then."""
        self._resumed = at
        self._iterations |= dict(ended)
        self._notes |= dict.fromkeys(notes)

    def noted(self, text: str) -> None:
        """What a host step has to say; once, however often it says so."""
        self._notes[text] = None

    def wrote(self, counts: Mapping[str, int], kept: Iterable[object]) -> None:
        """Output -> pieces that its writer took; and the arrays that stay in memory."""
        self._outputs = dict(counts)
        self._kept_bytes += sum(getattr(array, "nbytes", 0) for array in kept)

    def run(self, device: str) -> Run:
        """The record, when all is done."""
        return Run(
            device=device,
            wall_s=time.perf_counter() - self._begun,
            peak_bytes=self._peak_bytes,
            stall_s=self._stall_s,
            loaded_bytes=self._loaded_bytes,
            chunks=tuple(
                ChunkRun(
                    chunk=name,
                    loads=t.loads,
                    calls=t.calls,
                    load_s=t.load_s,
                    exec_s=t.exec_s,
                    peak_activation_bytes=t.peak_bytes,
                )
                for name, t in self._tallies.items()
            ),
            stage_s=tuple(self._stage_s.items()),
            iterations=tuple(self._iterations.items()),
            bars=tuple(sorted(self._bars, key=lambda b: b.end_s)),
            anonymous_peak_bytes=self.memory.peak_bytes,
            start_bytes=self._start_bytes(),
            notes=tuple(self._notes),
            outputs=tuple(self._outputs.items()),
            carried=tuple(self._carried),
            resumed=self._resumed,
        )

    def _start_bytes(self) -> int | None:
        """What is left when all is given back, but for outputs that are kept."""
        left = self.memory.left_bytes
        return None if left is None else max(0, left - self._kept_bytes)

    def _bar(
        self, queue: str, chunk: str, number: int, start: float, end: float, size_bytes: int
    ) -> None:
        segment, iteration, step = where_is(self._segments, self._bases, self._number(number))
        start, end = start - self._begun, end - self._begun
        self._bars.append(Bar(queue, chunk, segment, iteration, step, start, end, size_bytes))
