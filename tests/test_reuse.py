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
from entracte.errors import ConfigError
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
TEST = "pipeline.stages.denoise.reuse={first: 1, last: 0, at: {change: 0.3}}"
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
    "reuse": ((REUSE,), Skips(evaluations=STEPS, at=(0, 2, 4))),
    "first-block test, merging": (
        (TEST, "+pipeline.stages.denoise.functions.merged=2"),
        Skips(evaluations=STEPS, last=0, threshold=0.3, merged=2),
    ),
    "first-block test, apart": (
        (TEST, "guidance=apart"),
        Skips(evaluations=STEPS, last=0, threshold=0.3, apart=True),
    ),
    # Of the half that is away in step 1 the test would let step 2 rest, were it not to begin anew.
    "first-block test, interval": (
        (
            "pipeline.stages.denoise.reuse={first: 1, last: 0, at: {change: 0.7}}",
            "guidance=interval",
            "guidance.begin=2",
            "guidance.end=4",
        ),
        Skips(evaluations=STEPS, last=0, threshold=0.7, interval=(2, 4)),
    ),
    "apart": (("guidance=apart",), Skips(evaluations=STEPS)),
    "interval, reuse, leap": (
        (*INTERVAL, REUSE, "sampler=lpl_static", "sampler.evaluations=4"),
        Skips(evaluations=4, interval=(1, 3), at=(0, 2)),
    ),
}


QUICK = ("interval, reuse, leap", "first-block test, interval")


@pytest.mark.parametrize(
    "case", [c if c in QUICK else pytest.param(c, marks=pytest.mark.slow) for c in CASES]
)
def test_a_plan_computes_what_the_loop_by_hand_does(case, monkeypatch):
    words, skips = CASES[case]
    got, want = decided(*words).run(), by_hand(monkeypatch, skips)
    assert got.shape == want.shape and want.std() > 0.05
    assert np.abs(got - want).max() <= 1e-4


# ---------------------------------------------------------------- what is planned


def block_flops(tokens, text_tokens=TINY_DENOISER.text_tokens):
    """A spatial and a temporal block for one half of guidance, by hand: projections, attention and
    MLP; keys and values of the text are made before the loop."""
    cfg = TINY_DENOISER
    (frames, *places), width = cfg.grid, cfg.hidden
    space = places[0] * places[1]
    matrices = 3 + 1 + 1 + 1 + 2 * cfg.mlp_ratio
    linear = 2 * 2 * tokens * width**2 * matrices
    inside = 4 * width * (frames * space**2 + space * frames**2)
    return linear + inside + 2 * 4 * width * tokens * text_tokens


def test_what_rests_is_not_paid():
    """Of three pairs of blocks two are between the first block and the last one."""
    found = decided(REUSE)
    tokens = np.prod(TINY_DENOISER.grid)
    first, *middle, last = found.called("denoise")
    assert {at for _, at, _ in middle} == {(0, 2, 4)} and first[1] == last[1] == ()
    partition = found.decision.partition
    flops = sum(partition.chunk(c).flops for c, _, _ in middle)
    by_hand = 2 * 2 * block_flops(tokens)
    # What is no product of matrices is counted too: norms, softmax, GELU.
    assert by_hand < flops < 1.06 * by_hand
    counts = found.decision.program.call_counts
    assert [counts[c] for c, _, _ in (first, middle[0], last)] == [5, 3, 5]


def test_outside_of_the_interval_one_half_is_computed():
    found = decided(*INTERVAL)
    called = found.called("denoise")
    # Step 0 makes what stands; 1 and 2 are guided. A chunk is called for both in a row.
    for one, other in zip(called[::2], called[1::2], strict=True):
        assert one == (other[0], (), 1) and other[1:] == ((0, 1, 2), 1)
        assert found.decision.program.call_counts[one[0]] == STEPS + 3
    halves, whole = (x.decision.partition.of("denoise") for x in (found, decided()))
    flops = [sum(c.flops for c in chunks) for chunks in (halves, whole)]
    # The timestep's path is in the loop here, and before it there.
    assert flops[0] == pytest.approx(flops[1] / 2, rel=0.03)
    most = [max(c.activation_bytes for c in chunks) for chunks in (halves, whole)]
    assert most[0] < 0.56 * most[1]


@pytest.mark.slow
def test_both_halves_use_one_load():
    """A chunk that is called twice in a row is loaded once, also where not all chunks stay."""
    found = decided("guidance=apart", "target.memory=25MiB")
    loop = next(i for i, g in enumerate(found.decision.program.segments) if g.is_loop)
    loads = [x for x in found.decision.schedule.loads if x.segment == loop]
    for kind in ("first", "each"):
        chunks = [x.chunk for x in loads if x.iterations == kind]
        assert len(chunks) == len(set(chunks))


WRONG = {
    "pipeline.stages.denoise.reuse={first: 3, last: 3, at: {every: 2}}": "none of its 6 blocks",
    "pipeline.stages.denoise.reuse={first: -1, at: {every: 2}}": "reuse.first: -1: give how many",
    "pipeline.stages.denoise.reuse={at: {every: 0}}": "every is at least 1",
    "pipeline.stages.denoise.reuse={at: [1, 2]}": "0 is one of them",
    "pipeline.stages.step.reuse={at: {every: 2}}": "none of its 0 blocks",
    "pipeline.stages.denoise.reuse={at: {change: 0}}": "a share above 0, at most 1",
    "pipeline.stages.denoise.reuse={at: {change: 0.1, every: 2}}": "the only other one",
    "pipeline.stages.denoise.reuse={first: 0, at: {change: 0.1}}": "first: 0: .* give 1 or more",
    "pipeline.stages.text.reuse={at: {change: 0.1}}": "no iterations whose changes",
    "pipeline.stages.schedule.reuse={at: {every: 2}}": "schedule is a constant|no iterations",
}


@pytest.mark.parametrize("word", WRONG)
def test_what_cannot_rest_is_one_message(word):
    with pytest.raises(ConfigError, match=WRONG[word]):
        decided(word)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("guidance.end=9",), "`from` and `to` are of 0 to 5"),
        (
            ("guidance.over.stages.denoise.map.rests.slices=[0, 1]",),
            "some of the first or of the last",
        ),
        (("guidance.over.stages.denoise.map.rests.slices=[]",), "give a list of slices"),
    ],
)
def test_an_interval_that_is_none_is_one_message(words, message):
    with pytest.raises(ConfigError, match=message):
        decided(*INTERVAL, *words)
