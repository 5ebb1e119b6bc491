"""Conditioning, computed once: what follows from packages and given inputs, stored by both.

Before a run: which conditions (`program/conditions.py`) are stored already, by the digests of all
that goes into them; the plan without their steps, if it is proven to keep within the whole plan's
claim. While it runs: the values of the others are stored as they are made. What is stored lies in
a cache (`store/cache.py`) of the user's or in one that goes with the command; it is read as if a
stranger had written it, and made anew where anything is wrong with it.

The values are on disk between runs, not in memory: a run holds them as its program's own tensors,
from its begin to their last reader, and they count as that.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from entracte.devices import Device
from entracte.errors import ConfigError, WriteError
from entracte.ir import Call, Plan, Program, Reused
from entracte.program.conditions import Condition, Rest, conditions
from entracte.program.steps import bases
from entracte.run.condition_keys import decls_of, key_of
from entracte.run.left_out import proven_without, whole
from entracte.run.values import (
    copied,
    file_of,
    read_notes,
    read_values,
    sizes_bytes,
    write_notes,
    write_value,
)
from entracte.store.cache import Cache

KIND = "conditioning"
"""Of entries of the cache."""
_LOG = logging.getLogger("entracte")

Fetch = Callable[[str], list[Any]]
"""A tensor's slots, as numpy arrays."""


class Conditioning:
    """Where conditioning is stored."""

    def __init__(self, folder: Path) -> None:
        """In a folder, of a cache's layout; it is made when something is stored."""
        self.cache = Cache(folder)

    def begin(self, plan: Plan, device: Device, told: Mapping[str, str | int | float]) -> "Begun":
        """What a run of a plan may leave out, and what it is to store. Nothing at all on a device
        that does not say how it computes (`numerics`).

        Args:
            told: the run's inputs as a record names them.
        """
        numerics = getattr(device, "numerics", "")
        if not numerics:
            return Begun(plan, whole(plan))
        keys = {c: key_of(plan, c, told, numerics) for c in conditions(plan.program)}
        found = {c: self._stored(plan.program, c, key) for c, key in keys.items()}
        there = {c: values for c, values in found.items() if values is not None}
        rest, used = proven_without(plan, tuple(there))
        missing = {c: key for c, key in keys.items() if c not in there}
        return Begun(plan, rest, self.cache, missing, {keys[c]: (c, there[c]) for c in used})

    def expected(
        self, plan: Plan, device: Device, told: Mapping[str, str | int | float], begun: "Begun"
    ) -> Rest:
        """What will be left of the run after one that has begun, if all goes well with that."""
        numerics = getattr(device, "numerics", "")
        if not numerics:
            return whole(plan)
        coming = set(begun.missing.values())
        keys = {c: key_of(plan, c, told, numerics) for c in conditions(plan.program)}
        there = (c for c, key in keys.items() if key in coming or self.cache.folder(KIND, key))
        return proven_without(plan, tuple(there))[0]

    def _stored(self, program: Program, condition: Condition, key: str) -> "_Values | None":
        folder = self.cache.folder(KIND, key)
        if folder is None:
            return None
        try:
            arrays = read_values(folder, decls_of(program, condition))
            return _Values(arrays, read_notes(folder))
        except ConfigError as error:
            _LOG.warning("conditioning is computed again: %s", error)
            with suppress(OSError, WriteError):
                self.cache.drop(KIND, key)
            return None


@dataclass
class _Values:
    arrays: dict[str, Any]
    notes: tuple[str, ...]


@dataclass
class Begun:
    """One run: the plan that is left of it, and the values that are stored as they are made."""

    whole: Plan
    rest: Rest
    cache: Cache | None = None
    missing: Mapping[Condition, str] = field(default_factory=dict)
    """Condition -> key, of those to store."""
    used: dict[str, tuple[Condition, _Values]] = field(default_factory=dict)
    """Key -> what is given."""
    reused: tuple[Reused, ...] = ()
    """For the record."""
    notes: list[str] = field(default_factory=list)
    """What is to be noted of it in the record."""

    def __post_init__(self) -> None:
        self.reused = tuple(_reused(self.whole, key, c, v) for key, (c, v) in self.used.items())
        self.notes += [note for _, v in self.used.values() for note in v.notes]
        self._ends = _ends(self.whole.program, self.missing)
        self._stores = {
            c: _Store(self.cache, key) for c, key in self.missing.items() if self.cache is not None
        }
        self._said: dict[int, list[str]] = {}
        self._failed = False

    @classmethod
    def of(
        cls,
        plan: Plan,
        device: Device,
        told: Mapping[str, str | int | float],
        conditioning: Conditioning | None,
    ) -> "Begun":
        """`Conditioning.begin`, or all of the plan where there is none."""
        if conditioning is None:
            return cls(plan, whole(plan))
        return conditioning.begin(plan, device, told)

    def after(
        self,
        device: Device,
        told: Mapping[str, str | int | float],
        conditioning: Conditioning | None,
    ) -> Rest:
        """What will be left of the plan in the run after this one."""
        if conditioning is None:
            return whole(self.whole)
        return conditioning.expected(self.whole, device, told, self)

    @property
    def plan(self) -> Plan:
        """To be run: its program's constants are the plan's and what `take` gives."""
        return replace(self.whole, program=self.rest.program, schedule=self.rest.schedule)

    def take(self) -> dict[str, Any]:
        """The values that are given, in memory from now on, and the taker's."""
        wanted = set(self.rest.given)
        taken = {
            name: copied(array)
            for _, values in self.used.values()
            for name, array in values.arrays.items()
            if name in wanted
        }
        self.used = {}
        return taken

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for store in self._stores.values():
            store.leave()

    # ------------------------------------------------------------ while it runs

    def said(self, number: int, text: str) -> None:
        """A host step's note; steps are named by their numbers in the program that is run."""
        self._said.setdefault(self.rest.number(number), []).append(text)

    def made(self, number: int, fetch: Fetch) -> None:
        """A step has ended. What cannot be stored costs the run nothing but a note."""
        number = self.rest.number(number)
        condition = self._ends.get(number)
        if condition is None or self._failed:
            return
        try:
            self._stores[condition].step(self.whole.program, condition, number, fetch, self._said)
        except (ConfigError, OSError, WriteError) as error:
            self._failed = True
            text = "".join(c if c.isprintable() else "\ufffd" for c in str(error))[:1000]
            self.notes.append(f"conditioning is not stored: {text}")


class _Store:
    """An entry while it is made."""

    def __init__(self, cache: Cache, key: str) -> None:
        self._cache, self._key = cache, key
        self._stack, self._folder = ExitStack(), Path()
        self._notes: list[str] = []
        self._left: set[int] | None = None
        """Numbers of steps that are still to come."""

    def step(
        self,
        program: Program,
        condition: Condition,
        number: int,
        fetch: Fetch,
        said: Mapping[int, list[str]],
    ) -> None:
        """Take what a step of the condition made; the entry is there after the last one."""
        if self._left is None:
            self._left = set(_ends(program, (condition,)))
            self._folder = self._stack.enter_context(self._cache.making(KIND, self._key))
        made = _made_at(program, number)
        for k, decl in enumerate(decls_of(program, condition)):
            if decl.name in made:
                write_value(self._folder / file_of(decl, k), decl, fetch(decl.name))
        self._notes += said.get(number, ())
        self._left.discard(number)
        if not self._left:
            write_notes(self._folder, self._notes)
            self._stack.close()

    def leave(self) -> None:
        """What is not whole goes."""
        with suppress(_Unfinished):
            self._stack.__exit__(_Unfinished, _Unfinished(), None)


class _Unfinished(Exception):
    pass


def _ends(program: Program, found: Iterable[Condition]) -> dict[int, Condition]:
    """Number of each step of these conditions, of loops of their last one -> the condition."""
    base, ends = bases(program), {}
    for condition in found:
        for s, k in condition.steps:
            segment = program.segments[s]
            if not segment.is_loop:
                ends[base[s] + k] = condition
            elif k + 1 == len(segment.steps):
                ends[base[s] + segment.count * len(segment.steps) - 1] = condition
    return ends


def _made_at(program: Program, number: int) -> set[str]:
    """What is there when a step has ended that was not before it, or before its loop."""
    base = bases(program)
    s = max(i for i, first in enumerate(base) if first <= number)
    segment = program.segments[s]
    steps = segment.steps if segment.is_loop else (segment.steps[number - base[s]],)
    made = {b.tensor for step in steps for b in step.outputs}
    return made | {name for name, _, _ in segment.state}


def _reused(plan: Plan, key: str, condition: Condition, values: _Values) -> Reused:
    steps = [plan.program.segments[s].steps[k] for s, k in condition.steps]
    chunks = dict.fromkeys(x.chunk for x in steps if isinstance(x, Call))
    return Reused(
        key=key,
        inputs=condition.inputs,
        chunks=tuple(chunks),
        size_bytes=sizes_bytes(values.arrays),
    )
