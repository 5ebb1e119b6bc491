"""Keeps a run's snapshots while it runs: when one is due, and that no other run writes there."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from entracte.disk import left
from entracte.disk.folder import alone_in, make_folder, remove_empty
from entracte.errors import RunError, WriteError
from entracte.ir import Plan
from entracte.run.delivery import Delivery
from entracte.run.journal import Journal
from entracte.run.position import Position, delivered_at
from entracte.run.snapshot import (
    FILE,
    VERSION,
    Of,
    Piece,
    Snapshot,
    key_of,
    piece_name,
    read_snapshot,
    remove_files,
    state_name,
    tensors_in,
    write_snapshot,
    write_tensors,
)
from entracte.run.tensors import Tensors

SHARE = 0.02
"""Of a run's time: what snapshots may cost."""
_FIRST_S, _FIRST_BANDWIDTH = 0.05, 2e8
"""What one is taken to cost before one was written: seconds, and bytes per second."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A snapshot was written: whoever starts the run again goes on here.

    Attributes:
        folder: where it is.
        segment: the loop, or what else runs next, by its name.
        iteration: of it, those that are done.
        count: of it, all.
        seconds: what writing it took.
    """

    folder: Path
    segment: str
    iteration: int
    count: int
    seconds: float


class Keeper:
    """Of one run. A folder that cannot be written any more costs a note, not the run."""

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        of: Of,
        journal: Journal,
        *,
        share: float = SHARE,
        told: Callable[[Kept], None] = lambda _: None,
    ) -> None:
        self._folder, self._program, self._of, self._journal = folder, plan.program, of, journal
        self._share, self._told = share, told
        self._pieces: list[Piece] = []
        self._is_on, self._last_s = True, time.perf_counter()
        self._cost_s: float | None = None
        self.spent_s = 0.0
        """Seconds of all that was written."""

    # ------------------------------------------------------------ going on

    def go_on(
        self,
        snapshot: Snapshot,
        tensors: Tensors,
        delivery: Delivery,
        given: Mapping[str, Any],
    ) -> None:
        """Everything is as it was when the snapshot was written. Nothing else is in memory yet."""
        at, ended = snapshot.position, dict(snapshot.ended)
        gone = delivered_at(self._program, at, ended)
        delivery.go_on(gone.complete, gone.streamed, gone.cut)
        for number in range(len(snapshot.pieces)):
            for output, array in tensors_in(self._folder / piece_name(number)):
                delivery.again(output, array)
        slots = {t.name: t.slots for t in self._program.tensors}
        keys = {
            key_of(name, k): (name, k)
            for name, many in slots.items()
            for k in ([None] if many == 1 else range(many))
        }
        tensors.give_plain(given)
        for key, array in tensors_in(self._folder / state_name(at.step(self._program))):
            tensors.take_back(*keys[key], array)
        self._journal.go_on((at.segment, at.iteration), snapshot.ended, snapshot.notes)
        self._pieces = list(snapshot.pieces)

    # ------------------------------------------------------------ while it runs

    def took(self, output: str, piece: Any) -> None:
        """A piece went to its writer: later snapshots need it."""
        if not self._is_on:
            return
        with self._spending():
            path = self._folder / piece_name(len(self._pieces))
            self._pieces.append(Piece(output, write_tensors(path, {output: lambda: piece})))

    def is_last(self, at: Position) -> None:
        """The iteration that begins is the run's last: nothing is to be kept any more."""
        last = len(self._program.segments) - 1
        if at == Position(last, self._program.segments[last].count - 1):
            self._is_on = False

    def at(self, at: Position, tensors: Tensors) -> None:
        """An iteration is over and `at` is next: keep a snapshot, if one is due."""
        if not self._is_on or time.perf_counter() - self._last_s < self._due_s(tensors):
            return
        begun = time.perf_counter()
        with self._spending():
            self._keep(at, tensors)
            self._cost_s = time.perf_counter() - begun
            segment = self._program.segments[at.segment]
            self._told(Kept(self._folder, segment.name, at.iteration, segment.count, self._cost_s))
        self._last_s = time.perf_counter()

    def _due_s(self, tensors: Tensors) -> float:
        """Seconds between two, so that they take no more than their share."""
        cost_s = self._cost_s
        if cost_s is None:
            cost_s = _FIRST_S + tensors.there_bytes() / _FIRST_BANDWIDTH
        return cost_s / self._share

    def _keep(self, at: Position, tensors: Tensors) -> None:
        name = state_name(at.step(self._program))
        gets = {key_of(n, k): partial(tensors.part, n, k) for n, k in tensors.parts()}
        sha256 = write_tensors(self._folder / name, gets)
        ended, notes = self._journal.so_far
        snapshot = Snapshot(
            version=VERSION,
            of=self._of,
            segment=at.segment,
            iteration=at.iteration,
            ended=ended,
            notes=notes,
            state=sha256,
            pieces=tuple(self._pieces),
        )
        write_snapshot(self._folder, snapshot)
        pieces = (piece_name(n) for n in range(len(self._pieces)))
        remove_files(self._folder, keep=(FILE, name, *pieces))

    @contextlib.contextmanager
    def _spending(self) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        except WriteError as error:
            self._is_on = False
            self._journal.noted(f"snapshots: {error}; the run went on without")
        self.spent_s += time.perf_counter() - begun


# ---------------------------------------------------------------- the folder


@dataclass(frozen=True, slots=True)
class Snapshots:
    """Where a run keeps its snapshots, and whether it goes on from one.

    Attributes:
        folder: it is made where it is not there; nothing but snapshots is touched in it.
        resume: go on from the one that is there; begin where there is none.
        share: of the run's time that they may cost.
    """

    folder: Path
    resume: bool = False
    share: float = SHARE

    @contextlib.contextmanager
    def opened(self, plan: Plan, of: Of) -> Iterator[Snapshot | None]:
        """The folder is this run's alone inside; what to go on from. When the block ends well,
        nothing is left of the snapshots.

        Raises `RunError` where it is another run's, or holds a snapshot and was not to resume.
        """
        made = not self.folder.exists()
        make_folder(self.folder)
        with alone_in(self.folder) as is_alone:
            if not is_alone:
                raise RunError(
                    f"{self.folder}: another run keeps its snapshots there; name another folder"
                )
            left.sweep(self.folder)
            found = read_snapshot(self.folder, plan, of) if self.resume else None
            if found is None and not self.resume and os.path.lexists(self.folder / FILE):
                raise RunError(
                    f"{self.folder}: there is the snapshot of an interrupted run; --resume goes on "
                    "from it; or name another folder, or remove this one"
                )
            yield found
            remove_files(self.folder)
        if made or found is not None:
            remove_empty(self.folder)
