"""Packages of a build against their torch source, before it is called done.

Verdicts are kept in the cache under the package and the parts of it that ran, so a form is run
once; a verdict that asks for fp32 changes the orders of all chunks of its form.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from entracte.declare.scheme import floor_db
from entracte.emit.judge import COMPARED, Trial, Verdict, judge_trial
from entracte.emit.make import Order
from entracte.emit.trials import Untried, choose
from entracte.ir import Compared
from entracte.store.cache import Cache, digest

if TYPE_CHECKING:
    from entracte.lower.worker import Task

Known = Callable[[Sequence[str]], Path | None]
"""Chunks -> a folder with files of known inputs for some of them: `CHUNK.safetensors`, and
`CHUNK@FUNCTION.safetensors` of functions with inputs of their own."""

_FIXED_BYTES = 500 << 20


@dataclass(frozen=True)
class Court:
    """The trials of a build's orders, with the verdicts that there are."""

    trials: tuple[Trial, ...]
    untried: tuple[Untried, ...]
    cache: Cache

    @classmethod
    def of(cls, orders: Sequence[Order], cache: Cache) -> "Court":
        """For orders without repairs."""
        trials, untried = choose(orders)
        return cls(tuple(trials), tuple(untried), cache)

    @property
    def open(self) -> list[Trial]:
        """Those without a verdict."""
        return [t for t in self.trials if self.verdict(t) is None]

    def verdict(self, trial: Trial) -> Verdict | None:
        """As the cache has it."""
        found: Verdict | None = self.cache.record(COMPARED, trial.key, Verdict)
        return found

    def repaired(self, orders: Sequence[Order]) -> list[Order]:
        """The orders as the verdicts so far ask for them."""
        by_form = {t.order.twin_key: self.verdict(t) for t in self.trials}
        return [_repaired(o, by_form.get(o.twin_key)) for o in orders]

    def compared(self, orders: Sequence[Order]) -> tuple[Compared, ...]:
        """What is known of each order, for the plan."""
        tried = {t.order.twin_key: t for t in self.trials}
        why = {u.order.twin_key: u for u in self.untried}
        return tuple(self._compared(o, tried.get(o.twin_key), why.get(o.twin_key)) for o in orders)

    def _compared(self, order: Order, trial: Trial | None, untried: Untried | None) -> Compared:
        stage = order.traced.stage
        floor = floor_db(stage.precision, stage.compression)
        verdict = None if trial is None else self.verdict(trial)
        if trial is None or verdict is None:
            left = untried or Untried(order, 0.0, "the cache lost what was found")
            found = Compared(chunk=order.chunk.id, of=left.order.chunk.id, floor_db=floor)
            return replace(found, share=left.share, why=left.why)
        found = Compared(chunk=order.chunk.id, of=trial.order.chunk.id, floor_db=floor)
        if verdict.db is None:
            return replace(found, why=verdict.why)
        return replace(
            found,
            db=verdict.db,
            max_error=verdict.max_error,
            inputs=verdict.inputs,
            share=trial.share,
            repaired=verdict.repair.words,
        )


def _repaired(order: Order, verdict: Verdict | None) -> Order:
    if verdict is None or not verdict.repair:
        return order
    repair = verdict.repair
    return replace(
        order,
        repair=repair,
        key=digest(order.key, repair.parts),
        own_key=digest(order.own_key, repair.parts),
        twin_key=digest(order.twin_key, repair.parts),
    )


def tasks(trials: Sequence[Trial], cache: Cache, known: Known, log: Path) -> "Iterator[Task]":
    """One for each trial, in a process of its own."""
    from entracte.lower.worker import Task

    for trial in trials:
        for function in trial.order.functions:
            trial.order.traced.program_of(function)  # here, once: the processes inherit it
    folder = known([t.order.chunk.id for t in trials])
    for trial in trials:
        chunk, shapes = trial.order.chunk, trial.order.traced.shapes
        elements = sum(prod(shapes[n]) for n in trial.order.form.slots)
        yield Task(
            name=chunk.id,
            call=judge_trial,
            arguments=(trial, cache, _files(trial, folder), log),
            log=log / f"{chunk.id}.compare.log",
            memory_bytes=_FIXED_BYTES + 4 * elements + 6 * chunk.activation_bytes,
            work_bytes=1,
        )


def _files(trial: Trial, folder: Path | None) -> dict[str, Path]:
    """Interface -> its known inputs, where there are some."""
    if folder is None:
        return {}
    order = trial.order
    paths = {n: folder / f"{n}.safetensors" for n in map(order.chunk.interface, order.functions)}
    return {name: path for name, path in paths.items() if path.exists()}
