"""Pipelines of one's own torch modules, down to programs of torch chunks: nothing is converted.

`tests/interpreter.py` runs what is made here; the right values are the modules composed by hand.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

import entracte.graphs
from entracte.check.pieces import check_features
from entracte.check.proof import check
from entracte.cost import predicted_facts
from entracte.decide.shared import measure
from entracte.declare.pipeline import read_pipeline
from entracte.declare.settings import PipelineSettings
from entracte.emit.make import chunk_module
from entracte.graphs.spec import Constants, Graph
from entracte.ir import Chunk, Partition, Pipeline, Program
from entracte.lower.backend import CORE_ML
from entracte.program.assemble import build_program
from entracte.program.workload import Workload
from entracte.schedule.by_gates import schedule_by_gates
from entracte.trace.shared import joined
from entracte.trace.wire import TracedPipeline, trace_pipeline
from tests.interpreter import Host, Interpreted, interpret
from tests.planner.plans import make_target
from tests.planner.programs import DOUBLE_BUFFER


def register(monkeypatch: Any, **factories: Callable[..., Graph | Constants]) -> None:
    """Let pipelines name these graphs as `own.NAME`."""
    for name, factory in factories.items():
        monkeypatch.setitem(entracte.graphs._BUILT_IN, f"own.{name}", f"{__name__}:_{name}")
        monkeypatch.setitem(globals(), f"_{name}", factory)


def declared(text: str, score_bytes: int = 0) -> Pipeline:
    """A pipeline of yaml, with what every pipeline has."""
    plain = {"name": "own", "title": "own", "weights": "random:0", "precision": "fp32"}
    given = OmegaConf.merge(plain, OmegaConf.create(text))
    settings = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(PipelineSettings), given))
    assert isinstance(settings, PipelineSettings)
    return read_pipeline(settings, "none", score_bytes)


def traced(text: str, score_bytes: int = 0) -> TracedPipeline:
    """Every stage traced, as `compile` does."""
    return trace_pipeline(declared(text, score_bytes), CORE_ML)


def cut(found: TracedPipeline, **pieces: int) -> Partition:
    """Stage graphs in so many chunks of about as many operations each; whole where not named."""
    chunks: list[Chunk] = []
    for name, measured in measure(found.measured, 10**9).measured.items():
        total, many = len(measured.graph.ops), pieces.get(name.replace(".", "_"), 1)
        legal = [c.position for c in measured.cuts if 0 < c.position < total]
        ends = {min(legal, key=lambda p: abs(p - k * total / many)) for k in range(1, many)}
        stops = [*sorted(ends), total]
        starts = [0, *stops[:-1]]
        chunks += [
            measured.chunk(a, b, i) for i, (a, b) in enumerate(zip(starts, stops, strict=True))
        ]
    return Partition(tuple(chunks))


@dataclass
class World:
    """A traced pipeline, cut."""

    traced: TracedPipeline
    partition: Partition

    @classmethod
    def of(cls, text: str, **pieces: int) -> "World":
        """See `traced` and `cut`."""
        found = traced(text)
        return cls(found, cut(found, **pieces))

    def program(self, **grouping: tuple[int, ...]) -> Program:
        """In these groups of chunks; safe by the checker, which shares nothing with the planner."""
        program = build_program(self.traced.measured, self.partition, grouping)
        target = make_target(10**9)
        facts = tuple(predicted_facts(c, target) for c in self.partition.chunks)
        schedule = schedule_by_gates(Workload.on(target, program, facts), DOUBLE_BUFFER)
        check(program, facts, schedule, budget_bytes=target.budget_bytes)
        check_features(program, self.partition.chunks)
        return program

    def run(
        self,
        program: Program,
        given: Mapping[str, Any] | None = None,
        *,
        exact: bool = False,
        host: Host | None = None,
    ) -> Interpreted:
        """By the interpreter, every chunk a torch module (`exact`: in fp64)."""
        functions = {c.id: self._chunk(c, exact) for c in self.partition.chunks}
        constants = self.traced.constants
        if exact:
            constants = {k: v.astype(float) for k, v in constants.items()}
        return interpret(
            program, functions, given=given, constants=constants, exact=exact, host=host
        )

    def _chunk(self, chunk: Chunk, exact: bool) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
        stage = joined(self.traced.stages, chunk)
        modules: dict[str, Any] = {}

        def call(function: str, inputs: dict[str, Any]) -> dict[str, Any]:
            if function not in modules:
                program = stage.program_of(function)
                tensors = dict(program.state_dict) | dict(program.constants)
                made = chunk_module(stage, chunk, tensors, function)
                modules[function] = made.double() if exact else made
            reads, makes = chunk.ports_of(function)
            given = [_tensor(inputs[p.name], exact) for p in reads]
            with torch.no_grad():
                made = modules[function](*given)
            return {p.name: y.numpy() for p, y in zip(makes, made, strict=True)}

        return call


def _tensor(array: Any, exact: bool) -> torch.Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if tensor.is_floating_point():
        return tensor.double() if exact else tensor.float()
    return tensor.int()
