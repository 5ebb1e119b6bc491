"""On-device Sora's app as a program of ours: its packages, order, policy, and published figures.

Sources: arXiv 2502.04363v2 (tables and appendices named at each figure), the app's code at 47a90a5.
What differs from our own program of the pipeline is put back:

* cross-attention keys and values and the timestep path are computed in every step, inside the
  blocks: the hoisted parts' weights and times are spread evenly over the blocks;
* a denoiser's package is one pair of blocks (170 MB); our cuts lie within pairs, 29 for 28, of the
  same total;
* the decoders load every package for each slice, 189 loads: each slice after the first adds its
  loads to its call's time. Only the bytes count; 189 and not 21 loads cost 168 overheads;
* decoders run on the CPU (`efficiency` of convolutions is the target's own for them).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hydra import compose, initialize_config_module

from entracte.clock.predict import predict
from entracte.cost import cold_seconds, load_seconds, predicted_facts
from entracte.decide.partition import Measured, cut_stage
from entracte.declare.read import Job, read
from entracte.declare.settings import register
from entracte.ir import Call, ChunkFacts, Partition, Policy, Program, Segment, Target
from entracte.lower.backend import CORE_ML
from entracte.program.assemble import build_program
from entracte.program.workload import Workload
from entracte.schedule.choose import make_schedule
from entracte.store.cache import Cache, cache_folder
from entracte.trace.wire import TracedPipeline, trace_pipeline

SEQUENTIAL = Policy("sequential", 0, False)
CI_DL = Policy("ci_dl", 1, True, "published", margin=2)
BLOCKS = 28
MERGED = "merged"
_PACKAGE_BYTES = {"text": 775_000_000, "denoise": 175_000_000}
_INT8 = 4
"""fp32 bytes over int8 bytes."""


@dataclass(frozen=True)
class Case:
    """What one published figure was measured on."""

    size: int
    steps: int = 30
    merged: bool = False
    overlap: bool = False
    """CI-DL in the denoiser."""
    text_overlap: bool = True
    """The app always loads the text encoder's next block ahead."""
    text_int8: bool = True


@dataclass(frozen=True)
class Walls:
    """Predicted seconds."""

    text_s: float
    denoise_s: float
    decode_s: float
    first_pass_s: float
    """Of the denoiser's first step."""
    steady_pass_s: float
    loads: int
    loaded_bytes: int
    kept: int
    """Blocks that stay loaded over the steps."""

    @property
    def total_s(self) -> float:
        return self.text_s + self.denoise_s + self.decode_s


def job_of(*overrides: str) -> Job:
    """A declared compile, without the command."""
    register()
    with initialize_config_module("entracte.conf", version_base="1.3"):
        return read(compose("compile", overrides=["target=iphone15pro", *overrides]))


class App:
    """The traced pipeline at one size, and its simulation on a target."""

    def __init__(self, size: int) -> None:
        # One step: the loop's count is set per case, and one trace serves all of them.
        self.job = job_of(
            "pipeline=on_device_sora",
            "pipeline.precision=fp32",
            "sampler.steps=1",
            f"pipeline.video.height={size}",
            f"pipeline.video.width={size}",
            f"+pipeline.stages.denoise.functions.{MERGED}=1",
        )
        self.traced: TracedPipeline = trace_pipeline(
            self.job.pipeline, CORE_ML, cache=Cache(cache_folder("auto"))
        )
        self.partition = self._cut(self.job.target)
        self.program = build_program(self.traced.measured, self.partition)

    def _cut(self, target: Target) -> Partition:
        chunks = []
        for part in (p for parts in self.traced.graphs.values() for p in parts):
            limit = _PACKAGE_BYTES.get(part.name, target.chunk_limit_bytes)
            chunks += cut_stage(Measured(part), limit, target, 1)
        return Partition(tuple(chunks))

    def run(self, case: Case, target: Target, cpu: Target, merged_slowdown: float = 1.0) -> Walls:
        """Simulate. `cpu` is the target as the decoders see it; merged blocks take
        `merged_slowdown` times what their operations should."""
        program = _with_case(self.program, case)
        facts = {
            k: replace(f, exec_by=tuple((n, s * merged_slowdown) for n, s in f.exec_by))
            for k, f in self._facts(case, target, cpu).items()
        }
        denoise = self._one(program, facts, CI_DL if case.overlap else SEQUENTIAL, target)
        text = self._one(program, facts, CI_DL if case.text_overlap else SEQUENTIAL, target)
        return replace(
            denoise,
            text_s=text.text_s,
            loaded_bytes=denoise.loaded_bytes + self._slice_bytes(program, facts),
        )

    def _one(
        self,
        program: Program,
        facts: dict[str, ChunkFacts],
        policy: Policy,
        target: Target,
    ) -> Walls:
        alone = Workload(program, facts, target.budget_bytes)
        schedule = make_schedule(alone, policy)
        result = predict(replace(alone, contention=target.contention), schedule)
        calls = [e for e in result.bars if e.queue == "compute"]
        at = next(s for s, g in enumerate(program.segments) if g.is_loop)
        before = max(e.end_s for e in calls if e.segment < at)
        ends = [
            max(e.end_s for e in calls if (e.segment, e.iteration) == (at, i))
            for i in range(program.segments[at].count)
        ]
        return Walls(
            text_s=before,
            denoise_s=ends[-1] - before,
            decode_s=result.makespan_s - ends[-1],
            first_pass_s=ends[0] - before,
            steady_pass_s=ends[-1] - ends[-2] if len(ends) > 1 else ends[0] - before,
            loads=result.loads,
            loaded_bytes=result.loaded_bytes,
            kept=sum(c.startswith("denoise") for c in schedule.resident),
        )

    def _facts(self, case: Case, target: Target, cpu: Target) -> dict[str, ChunkFacts]:
        plain = {c.id: predicted_facts(c, target) for c in self.partition.chunks}
        hoisted = [f for k, f in plain.items() if k.startswith("denoise.") and _hoisted(k)]
        blocks = [k for k in plain if k.startswith("denoise.") and not _hoisted(k)]
        more_bytes = sum(f.weight_bytes for f in hoisted) // len(blocks)
        more_s = sum(f.exec_s for f in hoisted) / len(blocks)
        facts = {}
        for chunk in self.partition.chunks:
            f = plain[chunk.id]
            if chunk.graph.startswith("decode"):
                f = self._sliced(predicted_facts(chunk, cpu), chunk.id, target)
            elif _hoisted(chunk.id):
                f = replace(f, weight_bytes=0, load_s=0.0, exec_s=0.0, cold_s=0.0)
            elif chunk.id in blocks:
                f = _heavier(f, f.weight_bytes + more_bytes, more_s, target)
            elif chunk.graph == "text" and case.text_int8:
                f = _heavier(f, f.weight_bytes // _INT8, 0.0, target)
            facts[chunk.id] = f
        return facts

    def _sliced(self, f: ChunkFacts, chunk: str, target: Target) -> ChunkFacts:
        """Every slice but the first loads the package again, before its call."""
        again = load_seconds(f.weight_bytes, target) * (1 - 1 / self._repeat(chunk))
        loading = {"load_s": load_seconds(f.weight_bytes, target)}
        cold = cold_seconds(f.weight_bytes, target)
        return replace(f, exec_s=f.exec_s + again, cold_s=cold, **loading)

    def _repeat(self, chunk: str) -> int:
        steps = (s for g in self.program.segments for s in g.steps)
        return next(s.repeat for s in steps if isinstance(s, Call) and s.chunk == chunk)

    def _slice_bytes(self, program: Program, facts: dict[str, ChunkFacts]) -> int:
        calls = [s for g in program.segments for s in g.steps if isinstance(s, Call)]
        return sum((s.repeat - 1) * facts[s.chunk].weight_bytes for s in calls)


def _hoisted(chunk: str) -> bool:
    return chunk.startswith(("denoise.once", "denoise.schedule"))


def _heavier(f: ChunkFacts, weight_bytes: int, more_s: float, target: Target) -> ChunkFacts:
    """The same chunk with other weights and more computing."""
    return replace(
        f,
        weight_bytes=weight_bytes,
        load_s=load_seconds(weight_bytes, target),
        cold_s=cold_seconds(weight_bytes, target),
        exec_s=f.exec_s + more_s,
        exec_by=tuple((name, s + more_s) for name, s in f.exec_by),
    )


def _with_case(program: Program, case: Case) -> Program:
    """The loop's steps, and which function of the denoiser they use."""
    return replace(program, segments=tuple(_segment(g, case) for g in program.segments))


def _segment(segment: Segment, case: Case) -> Segment:
    if not segment.is_loop:
        return segment
    steps = tuple(
        replace(s, switch=((MERGED, case.steps),) if case.merged else ())
        if isinstance(s, Call) and s.switch
        else s
        for s in segment.steps
    )
    return replace(segment, steps=steps, count=case.steps)
