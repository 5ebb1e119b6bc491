"""Blocks that rest, guidance in an interval, its halves apart: plans against loops by hand.

The loops are `tools/reuse_parts.py`'s: torch modules called one by one, with what is skipped
written out. Nothing of the compiler takes part in them.
"""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from entracte.decide.decide import Decision, decide
from entracte.declare.compose import compose
from entracte.declare.host_ops import random_normal
from entracte.declare.read import Job, read
from entracte.emit.make import chunk_module
from entracte.graphs.opensora.tiny import TINY_DENOISER, WEIGHTS
from entracte.lower.backend import CORE_ML
from entracte.store.cache import Cache, cache_folder
from entracte.trace.shared import JoinedWeights, joined
from entracte.trace.weights import PipelineWeights
from entracte.trace.wire import TracedPipeline, trace_pipeline
from tests.interpreter import interpret
from tools import reuse_parts
from tools.reuse_parts import Skips

PROMPT, SEED = "a green triangle grows", 11
STEPS = 5
CACHE = cache_folder("auto")
REUSE = "pipeline.stages.denoise.reuse={first: 1, last: 1, at: {every: 2}}"
INTERVAL = ("guidance=interval", "guidance.begin=1", "guidance.end=3")


@dataclass
class Decided:
    """A dry run with its torch side."""

    job: Job
    traced: TracedPipeline
    decision: Decision

    def called(self, stage):
        """Calls of a stage in its loop: (chunk, iterations, outputs)."""
        steps = [x for g in self.decision.program.segments if g.is_loop for x in g.steps]
        return [(x.chunk, x.at, x.repeat) for x in steps if x.stage == stage]

    def run(self):
        """The video of the program, its chunks as torch modules: no package is made."""
        weights = JoinedWeights(PipelineWeights(self.job.pipeline, Cache(CACHE)))
        chunks = {c.id: self._chunk(weights, c) for c in self.decision.partition.chunks}
        made = interpret(
            self.decision.program, chunks,
            given={"guidance": np.float32([4.0]), "prompt": PROMPT, "seed": SEED},
            constants=self.traced.constants, host=_host,
        )  # fmt: skip
        return made.outputs["video"].whole

    def _chunk(self, weights, chunk):
        def call(function, given):
            traced = joined(self.traced.stages, chunk)
            module = chunk_module(traced, chunk, _tensors(weights, traced), function)
            inputs, outputs = chunk.ports_of(function)
            with torch.no_grad():
                made = module(*(torch.as_tensor(np.asarray(given[p.name])) for p in inputs))
            made = made if isinstance(made, tuple) else (made,)
            return {p.name: x.numpy() for p, x in zip(outputs, made, strict=True)}

        return call


def _tensors(weights, traced):
    return {k: v.float() for k, v in weights.tensors(traced).items()}


def _host(step, given, _):
    if step.op == "random_normal":
        shape = (1, TINY_DENOISER.in_channels, *TINY_DENOISER.latent)
        return {"noise": np.asarray(random_normal(SEED, shape))}
    ids = Tokenizer.from_file(str(WEIGHTS / "tokenizer.json")).encode(PROMPT)
    return {"input_ids": np.int32([ids.ids]), "mask": np.float32([ids.attention_mask])}


def decided(*words):
    given = ["target=host", f"sampler.steps={STEPS}", "pipeline.precision=fp32", *words]
    job = read(compose(given))
    cache = Cache(CACHE)
    traced = trace_pipeline(job.pipeline, CORE_ML, cache=cache)
    return Decided(job, traced, decide(traced.measured, job.target, job.policy))


def by_hand(monkeypatch, skips):
    """Frames (1, 3, T, H, W) from 0 to 1."""
    from tools.train_tiny.sample import TinyPipeline, decode

    monkeypatch.setattr(reuse_parts, "STEPS", STEPS)
    pipeline = TinyPipeline.shipped()
    shape = (1, reuse_parts.TINY_DENOISER.in_channels, *reuse_parts.TINY_DENOISER.latent)
    noise = torch.tensor(reuse_parts.random_normal(SEED, shape))
    with torch.no_grad():
        z, _ = reuse_parts.denoise(pipeline, [PROMPT], noise, skips)
        return np.moveaxis(decode(pipeline, z), -1, 1)


CASES = {
    "reuse": ((REUSE,), Skips(STEPS, (0, STEPS), at=(0, 2, 4))),
    "apart": (("guidance=apart",), Skips(STEPS, (0, STEPS))),
    "interval, reuse, leap": (
        (*INTERVAL, REUSE, "sampler=lpl_static", "sampler.evaluations=4"),
        Skips(4, (1, 3), at=(0, 2)),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_plan_computes_what_the_loop_by_hand_does(case, monkeypatch):
    words, skips = CASES[case]
    got, want = decided(*words).run(), by_hand(monkeypatch, skips)
    assert got.shape == want.shape and want.std() > 0.05
    assert np.abs(got - want).max() <= 1e-4
