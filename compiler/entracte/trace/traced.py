"""What tracing gives: the record of a stage, and the way back to its torch programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from entracte.frontend.backend import Backend
from entracte.ir import Chunk, Stage, StageGraph
from entracte.trace.names import MAIN, span_of

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionRecord:
    """One function of a stage: `main`, or a variant over the same weights."""

    name: str
    node_of: tuple[tuple[str, str], ...]
    """Value name -> node name; they differ for outputs, which carry their port's name."""
    constant_nodes: tuple[str, ...]
    """Nodes that read weights only, in graph order: they are folded into whoever reads them."""
    fp32_nodes: tuple[str, ...]
    """Nodes whose values fp16 cannot carry: the inside of RMS norms, arguments of sines."""
    held: tuple[tuple[str, str], ...]
    """Weights whose values the module itself holds, tables and literals: (name, name in the
    program). Those of a variant are named apart from `main`'s."""
    renamed: tuple[tuple[str, str], ...] = ()
    """Of a function of another stage (`trace/shared.py`): all its weights, as (name, name in the
    program)."""

    @property
    def inside(self) -> dict[str, str]:
        """Name of a weight -> its name in the program, where they differ."""
        return dict((*self.held, *self.renamed))


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRecord:
    """All that is known of a traced stage, without torch: what the cache keeps."""

    parts: tuple[StageGraph, ...]
    outputs: tuple[str, ...]
    functions: tuple[FunctionRecord, ...]
    key_of: tuple[tuple[str, str], ...]
    """Weight name in the module -> key in the checkpoint."""
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    known_keys: tuple[str, ...]
    """Keys of everything the module has, used or not, saved or not."""
    owns: tuple[str, ...]
    """Prefixes of the checkpoint's keys that the stage reads completely."""
    checkpoint: str | None
    scales: tuple[tuple[str, float], ...]
    """(suffix of a weight's name, factor on the checkpoint's value)"""
    own: tuple[tuple[str, str], ...] = ()
    """(weight, digest of its value in the module): without a checkpoint those of all that is used;
    else of buffers, which count where nobody gives others."""
    whole: tuple[str, ...] = ()
    """Weights that are no floating-point numbers."""
    buffers: tuple[str, ...] = ()
    """Weights that are no parameters: only in these may infinity be meant."""
    ties: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Weight -> the checkpoint's keys of other names that the module has for it."""
    compression: str = "none"
    """What the weights' bytes are counted for."""


@dataclass(frozen=True)
class Traced:
    """A compiled stage: what was measured, and how to get the torch programs it was measured on.

    A program is exported again only where a chunk must be converted: a stage read from the cache
    never imports torch, if its graph is one that code and parameters make alone.
    """

    stage: Stage
    record: TraceRecord
    backend: Backend
    """What it was traced for, so what its chunks are converted for."""
    export: Callable[[str], ExportedProgram] = field(repr=False, compare=False)
    """Function name -> its program."""
    state: Callable[[], Mapping[str, Tensor]] = field(default=dict, repr=False, compare=False)
    """The module's own parameters and buffers by name; it is built for that if need be."""
    _programs: dict[str, ExportedProgram] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def parts(self) -> tuple[StageGraph, ...]:
        """Once, schedule, body: those that there are."""
        return self.record.parts

    @property
    def program(self) -> ExportedProgram:
        """That of `main`."""
        return self.program_of(MAIN)

    def program_of(self, function: str) -> ExportedProgram:
        """A function's exported program, exported at most once."""
        if function not in self._programs:
            self._programs[function] = self.export(function)
        return self._programs[function]

    @cached_property
    def functions(self) -> Mapping[str, FunctionRecord]:
        """By name, `main` among them."""
        return {f.name: f for f in self.record.functions}

    @cached_property
    def key_of(self) -> Mapping[str, str]:
        """Weight name in the module -> key in the checkpoint."""
        return dict(self.record.key_of)

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Weight name in the module -> its shape."""
        return dict(self.record.shapes)

    @cached_property
    def held(self) -> frozenset[str]:
        """Weights whose values the module itself holds, of all functions."""
        return frozenset(name for f in self.record.functions for name, _ in f.held)

    @cached_property
    def own(self) -> Mapping[str, str]:
        """Weight -> digest of the module's own value for it."""
        return dict(self.record.own)

    @property
    def is_its_own(self) -> bool:
        """Whether the module's own numbers are its weights."""
        return self.record.checkpoint is None

    def part(self, name: str) -> StageGraph:
        """A stage graph by name: a part, or a part's variant."""
        every = [g for p in self.parts for g in (p, *p.variants)]
        return next(g for g in every if g.name == name)

    def boundary(self, chunk: Chunk, function: str) -> tuple[list[str], list[str], list[str]]:
        """Node names of a chunk's operations, inputs and outputs in a function's program."""
        record = self.functions[function]
        node_of = dict(record.node_of)
        inputs, outputs = chunk.ports_of(function)
        return (
            self._nodes(chunk, function),
            [node_of.get(p.name, p.name) for p in inputs],
            [node_of[p.name] for p in outputs],
        )

    def _nodes(self, chunk: Chunk, function: str) -> list[str]:
        """The chunk's own operations and the constants they read, in graph order."""
        record = self.functions[function]
        node_of = dict(record.node_of)
        name, start, stop = span_of(chunk, function)
        needed = {node_of[o.name] for o in self.part(name).ops[start:stop]}
        nodes = list(self.program_of(function).graph.nodes)
        constant = set(record.constant_nodes)
        for node in reversed(nodes):
            if node.name in needed:
                needed |= {n.name for n in node.all_input_nodes if n.name in constant}
        return [n.name for n in nodes if n.name in needed]
