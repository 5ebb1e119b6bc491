"""A folder's plan, its chunks as torch modules: what `compiled` and `run` of the harness give,
without packages. The program, its maps and loops are the plan's; only conversion is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from entracte.decide.decide import Decision, decide
from entracte.declare.compose import compose
from entracte.declare.read import read
from entracte.emit.host_files import look
from entracte.emit.make import chunk_module
from entracte.lower.backend import CORE_ML
from entracte.run.host import run_host_step
from entracte.run.inputs import given_inputs
from entracte.store.cache import Cache, cache_folder
from entracte.trace.shared import JoinedWeights, joined
from entracte.trace.weights import PipelineWeights
from entracte.trace.wire import TracedPipeline, trace_pipeline
from tests.interpreter import interpret
from tests.recipes import harness


@dataclass
class Planned:
    """What was decided, and the torch side of it."""

    folder: Path
    traced: TracedPipeline
    decision: Decision
    weights: JoinedWeights

    def module(self, chunk: Any) -> Any:
        """A chunk as the interpreter calls it."""

        def call(function: str, given: Mapping[str, Any]) -> dict[str, Any]:
            traced = joined(self.traced.stages, chunk)
            tensors = {k: v.float() for k, v in self.weights.tensors(traced).items()}
            module = chunk_module(traced, chunk, tensors, function)
            inputs, outputs = chunk.ports_of(function)
            with torch.no_grad():
                made = module(*(torch.as_tensor(np.asarray(given[p.name])) for p in inputs))
            made = made if isinstance(made, tuple) else (made,)
            return {p.name: x.numpy() for p, x in zip(outputs, made, strict=True)}

        return call


def planned(folder: Path, out: Path, *words: str, precision: str = "fp32") -> Planned:
    """From the folder, as `compile dry_run=true` would."""
    harness.compiling.append(True)
    try:
        job = read(compose([
            "target=host", "pipeline=folder", f"pipeline.weights={folder}",
            f"pipeline.precision={precision}", *words, *harness.MORE,
        ]))  # fmt: skip
        cache = Cache(cache_folder("auto"))
        host = look(job.pipeline, cache)
        traced = trace_pipeline(job.pipeline, CORE_ML, cache=cache)
        traced = replace(traced, pipeline=host.into(traced.pipeline))
        decision = decide(
            replace(traced.measured, pipeline=traced.pipeline), job.target, job.policy
        )
        out.mkdir()
        host.write(out)
        return Planned(out, traced, decision, JoinedWeights(PipelineWeights(job.pipeline, cache)))
    finally:
        harness.compiling.pop()


def ran(made: Planned, inputs: Mapping[str, Any], output: str) -> np.ndarray:
    """One output of it."""
    program = made.decision.program
    given = given_inputs(SimpleNamespace(program=program), inputs)
    numbers = {"number": np.float32, "choice": np.int32}
    for i in program.inputs:
        if i.kind in numbers:
            given[i.name] = numbers[i.kind]([given[i.name]])
    harness.compiling.append(True)
    try:
        done = interpret(
            program, {c.id: made.module(c) for c in made.decision.partition.chunks}, given=given,
            constants=made.traced.constants,
            host=lambda step, read, iteration: run_host_step(step, read, made.folder, iteration),
        )  # fmt: skip
    finally:
        harness.compiling.pop()
    return done.outputs[output].whole
