"""What a row of the table of host operations says, and what can be wrong with a step of it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entracte.declare.host_ops.kinds import MOST_ELEMENTS, Kind
from entracte.graphs.checks import similar
from entracte.ir import DType, Port

if TYPE_CHECKING:
    import numpy as np

Given = Mapping[str, Any]
"""Params by name, checked by their row."""

SHAPE_OF = "shape_of"
"""`STAGE.INPUT` in place of `shape`: the shape that the stage's graph declares for that input."""

TENSOR = "tensor"
"""The kind of what a stage makes; other kinds are those of the pipeline's inputs."""


def unheard(_: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where and when a step runs."""

    folder: Path
    """The build folder."""
    iteration: int = 0
    """Of the loop that the step is in."""
    note: Callable[[str], None] = unheard
    """Told what whoever runs the plan should know of the step."""


@dataclass(frozen=True, slots=True)
class Param:
    """A param of a host operation."""

    name: str
    kind: Kind
    needed: bool = True

    def fault(self, params: Given) -> str | None:
        """What is wrong with its value, if it is given."""
        if self.name not in params or self.kind.holds(params[self.name]):
            return None
        return f"params.{self.name}: {_shown(params[self.name])} is not {self.kind.words}"


@dataclass(frozen=True, slots=True)
class Reads:
    """An input of a host operation: an input of the pipeline, or a tensor that a stage makes."""

    name: str
    kind: str
    """text, seed or number: of an input; `tensor`: what a stage makes, or a loop carries."""
    dtype: DType | None = None
    axes: tuple[int | None, ...] = ()
    """Of a tensor: the size of each axis, None where any does."""

    def fault(self, port: Port) -> str | None:
        """What is wrong with a tensor that it is to read."""
        fits = len(port.shape) == len(self.axes) and all(
            wanted in (None, given) for wanted, given in zip(self.axes, port.shape, strict=True)
        )
        if fits and port.dtype is self.dtype:
            return None
        wanted = ", ".join("any" if size is None else str(size) for size in self.axes)
        return f"is {port.dtype} {list(port.shape)}, must be {self.dtype} [{wanted}]"


class FileKind(StrEnum):
    """How a file of the build folder is made when compiling (`entracte/emit/host_files.py`)."""

    COPY = "copy"
    """As it is."""
    TOKENIZER = "tokenizer"
    """One tokenizer.json, of whatever a folder holds."""
    DECODER = "decoder"
    """The same, of which only the text of ids is asked."""
    TABLE = "table"
    """The rows of one weight, one after the other."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a file of the build folder is made of."""

    param: str
    """The param of a plan's step that names the file."""
    kind: FileKind
    place: str
    """Spelled like `pipeline.weights`."""
    name: str
    """In that place: a file, a folder, or the stem of a checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOp:
    """One operation of the host."""

    name: str
    inputs: tuple[Reads, ...]
    params: tuple[Param, ...]
    """Of a plan's step."""
    ports: Callable[[Given, Mapping[str, Port]], tuple[Port, ...]]
    """What it gives, by its params and the tensors that it reads."""
    run: Callable[[Given, Mapping[str, Any], Place], "dict[str, np.ndarray]"]
    """(params, inputs by name, where and when) -> arrays by port. Raises `RunError`."""
    declared: tuple[Param, ...] = ()
    """Of a stage as configured, where that is not what a plan's step has."""
    files: tuple[str, ...] = ()
    """The params that name files of the build folder."""
    file_bytes: Callable[[Given], int | None] = lambda _: None
    """The exact size of its file, where it follows from its params."""
    sources: Callable[[Given, str], tuple[Source, ...]] = lambda *_: ()
    """(params as configured, `pipeline.weights`) -> what its files are made of: they are in the
    build folder, which must run where there is no model code."""
    in_loop: Callable[[Given], bool] = lambda _: False
    """Whether its params make sense in a loop only."""

    def fault(self, params: Given, inputs: Collection[str]) -> str | None:
        """What is wrong with the params and inputs of a plan's step; None where nothing is."""
        return self._fault(self.params, params, inputs)

    def declared_fault(self, params: Given, inputs: Collection[str]) -> str | None:
        """`fault` for a stage as configured: a `shape_of` stands for a shape that only tracing
        knows."""
        allowed = self.declared or self.params
        if SHAPE_OF not in params or "shape" not in {p.name for p in allowed}:
            return self._fault(allowed, params, inputs)
        if "shape" in params:
            return f"params: both shape and {SHAPE_OF}; give one of them"
        rest = {name: value for name, value in params.items() if name != SHAPE_OF}
        return self._fault(allowed, rest | {"shape": (1,)}, inputs)

    def wired_fault(self, params: Given, tensors: Mapping[str, Port]) -> str | None:
        """What is wrong with the tensors that it reads, by input, or with what it would make of
        them. Its params are checked."""
        for reads in self.inputs:
            if reads.kind == TENSOR and (fault := reads.fault(tensors[reads.name])):
                return f"inputs.{reads.name} {fault}"
        for port in self.ports(params, tensors):
            if prod(port.shape) > MOST_ELEMENTS:
                return (
                    f"{port.name} would have the shape {list(port.shape)}, which is more than "
                    f"{MOST_ELEMENTS} elements"
                )
        return None

    def _fault(
        self, allowed: Sequence[Param], params: Given, inputs: Collection[str]
    ) -> str | None:
        known = [p.name for p in allowed]
        needed = [p.name for p in allowed if p.needed]
        reads = [r.name for r in self.inputs]
        return (
            self._names("params", params, needed, known)
            or self._names("inputs", inputs, reads, reads)
            or next((f for p in allowed if (f := p.fault(params))), None)
        )

    def _names(
        self, what: str, given: Collection[str], needed: Sequence[str], known: Sequence[str]
    ) -> str | None:
        strange = sorted(set(given) - set(known))
        faults = [f"{name!r} is unknown{similar(name, known)}" for name in strange]
        faults += [f"{name!r} is missing" for name in needed if name not in given]
        if not faults:
            return None
        spelled = [f"{n} (or {SHAPE_OF})" if n == "shape" else n for n in needed]
        free = [name for name in known if name not in needed]
        return f"{what}: {', '.join(faults)}; {self.name} needs {', '.join(spelled) or 'none'}" + (
            f" and may have {', '.join(free)}" if free else ""
        )


def _shown(value: object) -> str:
    return str(list(value)) if isinstance(value, tuple) else repr(value)
