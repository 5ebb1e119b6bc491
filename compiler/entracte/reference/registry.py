"""The one table of operations: what each takes, how its floats are treated, how it is built.

A handler is a *builder*: called once at load with a `Bind` (the operation's constants and types),
it returns the callable that the run loop calls with tensors. Its tensors are declared in order:

    @op("linear", "x weight bias?")
    def linear(bind):
        return functional.linear

`name?` may be missing (None is passed), `name*` is a list of tensors, `#name` is handed over as a
plain Python value whether the program gives it as a constant or computes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from entracte.reference.bind import Bind

Compute = Callable[..., Any]
Builder = Callable[[Bind], Compute]


class Kind(Enum):
    """How an operation treats half precision."""

    MOVE = "move"
    """Moves or selects elements: exact in every type."""
    EXACT = "exact"
    """One torch kernel whose half result is its fp32 result rounded once."""
    WIDE = "wide"
    """Sums, products or several kernels: computed in fp32 and rounded once."""
    RAW = "raw"
    """Decides itself (cast, quantize, control flow)."""


@dataclass(frozen=True, slots=True)
class Arg:
    """One declared argument of a handler."""

    name: str
    optional: bool
    many: bool
    plain: bool


@dataclass(frozen=True, slots=True)
class Handler:
    """A row of the table."""

    type: str
    args: tuple[Arg, ...]
    kind: Kind
    build: Builder


TABLE: dict[str, Handler] = {}


def _arg(text: str) -> Arg:
    return Arg(text.strip("#?*"), "?" in text, "*" in text, text.startswith("#"))


def op(types: str, args: str, kind: Kind = Kind.WIDE) -> Callable[[Builder], Builder]:
    """Register a builder for one or several (space separated) operation types."""

    def register(build: Builder) -> Builder:
        parsed = tuple(_arg(text) for text in args.split())
        for name in types.split():
            if name in TABLE:
                raise RuntimeError(f"operation {name!r} registered twice")
            TABLE[name] = Handler(name, parsed, kind, build)
        return build

    return register


def plain(name: str, args: str, run: Compute, kind: Kind = Kind.EXACT) -> None:
    """Register a callable that needs nothing from the operation but its tensors."""
    op(name, args, kind)(lambda _: run)
