"""Settings that are left to the planner: what it tries, what it takes, and what it says of that.

The times and bytes that it should find are worked out by hand from shapes and a target's figures.
"""

import functools
import json
import math

import pytest
import torch
from torch.nn import functional

import entracte.decide.remembered
import entracte.graphs
import entracte.trace.measure
from entracte.compile.job import compile_job
from entracte.declare.compose import compose
from entracte.declare.read import decided, guided, read, refuse_undecided
from entracte.declare.undecided import SCORE_BYTES
from entracte.errors import ConfigError, DoesNotFit
from entracte.graphs.spec import Graph, Input
from entracte.halves import _as, _noted
from entracte.inspect.about import about, about_lines
from entracte.inspect.command import command_of
from entracte.inspect.compare import compare

MIB = 1 << 20
HEADS, QUERIES, WIDTH = 4, 2048, 8
SHAPE = (1, HEADS, QUERIES, WIDTH)
ONE = 4 * math.prod(SHAPE)
"""Bytes of the queries in fp32; of keys, values and results as well: 256 KiB."""
SCORES = 4 * HEADS * QUERIES * QUERIES
"""64 MiB; a call holds them twice."""
WIDE = 1024
WEIGHT = 4 * WIDE * WIDE


class Attend(torch.nn.Module):
    def forward(self, x):
        return functional.scaled_dot_product_attention(x, x, x).reshape(-1, WIDE)


class Widen(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.wide = torch.nn.Linear(WIDE, WIDE, bias=False)

    def forward(self, y):
        return self.wide(y)


def _attend():
    return Graph(Attend().eval(), (Input("x", SHAPE),), ("y",))


def _widen(rows=ONE // 4 // WIDE):
    return Graph(Widen().eval(), (Input("y", (rows, WIDE)),), ("z",))


PIPELINE = f"""
name: own
title: Own
precision: fp32
inputs: {{x: {{kind: tensor, shape: {list(SHAPE)}, default: 0.5}}}}
stages:
  attend: {{graph: own.attend, inputs: {{x: x}}}}
  widen: {{graph: own.widen, inputs: {{y: attend.y}}}}
outputs: {{z: {{kind: tensor, value: widen.z}}}}
"""
SLICED = f"""
name: own
title: Own
precision: fp32
inputs: {{y: {{kind: tensor, shape: [8, {WIDE}], default: 0.5}}}}
stages:
  widen:
    graph: own.rows
    params: {{rows: "${{pipeline.stages.widen.map.size}}"}}
    inputs: {{y: y}}
    map: {{port: y, axis: 0, size: auto, sizes: [2, 8, 3, 4]}}
outputs: {{z: {{kind: tensor, value: widen.z}}}}
"""
TARGET = (
    "target=iphone15pro",
    "target.settle_fraction=0",
    "target.base_footprint=0B",
    "target.compute_gflops=1",
    "target.memory_bandwidth=10MB",
    "target.load_bandwidth=10TB",
    "target.cold_bandwidth=10TB",
    "target.load_overhead_s=0.5",
    "target.call_overhead_s=0",
    "target.contention=1",
    "policy=double_buffer",
    "dry_run=true",
)


@pytest.fixture(scope="module")
def once():
    """A stage of the same form is traced once for all tests: half a second each."""
    known, trace = {}, entracte.trace.measure.trace_stage

    @functools.wraps(trace)
    def traced(stage, graph, *given):
        key = repr((stage, given[:-1]))
        known[key] = known.get(key) or trace(stage, graph, *given)
        return known[key]

    return traced


@pytest.fixture
def own(once, tmp_path, monkeypatch):
    """A job of one of the pipelines above, on a target of round figures."""
    for name, text in (("own", PIPELINE), ("sliced", SLICED)):
        folder = tmp_path / "conf" / "pipeline"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.yaml").write_text(text)
    for name in ("attend", "widen", "rows"):
        made = "widen" if name == "rows" else name
        monkeypatch.setitem(entracte.graphs._BUILT_IN, f"own.{name}", f"{__name__}:_{made}")

    monkeypatch.setattr(entracte.trace.measure, "trace_stage", once)

    def job(*words, pipeline="own"):
        given = [f"pipeline={pipeline}", *TARGET, *words]
        return read(compose(given, tmp_path / "conf"))

    return job


def tried(plan):
    ((key, found),) = json.loads(plan.settings)["chosen"].items()
    return key, found


def test_blocks_are_taken_where_whole_scores_leave_no_room_to_load_ahead(own):
    """The break-even by hand. Whole scores: 0.62 s of FLOPs, and the next chunk's load of 0.5 s
    behind them, or during them where 4 MiB more fit. Blocks: during them in either, but queries
    are sliced and results joined, which moves each twice."""
    key, value = "partition.score_bytes", "auto"
    tight = compile_job(own(f"{key}={value}", "target.memory=130MiB")).plan
    ample = compile_job(own(f"{key}={value}", "target.memory=140MiB")).plan
    flops = 2 * math.prod(SHAPE[:3]) * QUERIES * 2 * WIDTH + 5 * math.prod(SHAPE[:3]) * QUERIES
    share = 0.47e9  # the target's efficiency of attention, of 1 GFLOP/s
    attend = flops / share + ONE / 1e7
    joined = 2 * (ONE + ONE) / 1e7
    linear = max(2 * ONE // 4 * WIDE / share, (WEIGHT + 2 * ONE) / 1e7)
    widen = linear + ONE / 1e7
    first = 0.5
    ((_, of_tight), (_, of_ample)) = tried(tight), tried(ample)
    apart, together = first + attend + 0.5 + widen, first + max(attend, 0.5) + widen
    assert of_tight["0"] == pytest.approx(apart, rel=1e-3)
    assert of_ample["0"] == pytest.approx(together, rel=1e-3)
    for found in (of_tight, of_ample):
        assert found["32MiB"] == pytest.approx(together + joined, rel=1e-3)
    assert json.loads(tight.settings)["partition"]["score_bytes"] == "32MiB"
    assert json.loads(ample.settings)["partition"]["score_bytes"] == "0"


def test_blocks_are_taken_where_whole_scores_do_not_fit(own):
    """Twice 64 MiB of scores do not; twice a block's and 512 KiB beside them do."""
    plan = compile_job(own("partition.score_bytes=auto", "target.memory=40MiB")).plan
    _, found = tried(plan)
    assert [k for k, s in found.items() if s is None] == ["0", "32MiB"]
    assert json.loads(plan.settings)["partition"]["score_bytes"] == "16MiB"
    with pytest.raises(DoesNotFit, match=r"with the best partition.score_bytes of 0, 32MiB, 16MiB"):
        compile_job(own("partition.score_bytes=auto", "target.memory=3MiB"))


def test_what_was_chosen_is_not_decided_again(own, monkeypatch):
    """Each value once: the one that is taken was decided when it was tried."""
    asked, decide = [], entracte.decide.remembered.decide_job
    monkeypatch.setattr(
        entracte.decide.remembered,
        "decide_job",
        lambda job, source: asked.append(source) or decide(job, source),
    )
    plan = compile_job(own("partition.score_bytes=auto", "target.memory=40MiB")).plan
    assert len(asked) == len(tried(plan)[1]) > 2
    asked.clear()
    plan = compile_job(own(pipeline="sliced")).plan
    assert len(asked) == len(tried(plan)[1]) == 3


def test_the_plan_tells_what_was_tried_and_is_made_again_by_its_command(own):
    plan = compile_job(own("partition.score_bytes=auto", "target.memory=40MiB")).plan
    line = dict(about_lines(about(plan)))["chosen"]
    assert line.startswith(
        "partition.score_bytes=16MiB by predicted time, of 0 (does not fit), 32MiB"
    )
    assert "partition.score_bytes=16MiB" in command_of(plan).text
    again = compile_job(own("partition.score_bytes=16MiB", "target.memory=40MiB")).plan
    assert (again.program, again.schedule, again.facts) == (plan.program, plan.schedule, plan.facts)
    assert compare(plan, again).settings == ()


def test_slices_are_as_large_as_is_fastest_and_fits(own):
    """A call reads 4 MiB of weights again: 0.42 s, so the fewer the better. Three does not divide
    eight, and is left out; in 4 MiB and 40 KiB eight rows' 64 KiB do not fit."""
    ample = compile_job(own(pipeline="sliced")).plan
    key, found = tried(ample)
    assert key == "pipeline.stages.widen.map.size"
    assert list(found) == ["2", "8", "4"]
    assert found["2"] - found["8"] == pytest.approx(3 * WEIGHT / 1e7, rel=1e-3)
    assert json.loads(ample.settings)["pipeline"]["stages"]["widen"]["map"]["size"] == 8
    assert json.loads(ample.settings)["pipeline"]["stages"]["widen"]["params"]["rows"] == 8


def test_smaller_slices_where_larger_ones_do_not_fit(own):
    """Beside 4 MiB of weights: 32 KiB come in and 32 KiB go out, and of a call's slice the same in
    part. Two rows are 16 KiB more, eight 64 KiB."""
    memory = f"target.memory={WEIGHT + 100 * 1024}B"
    _, found = tried(compile_job(own(memory, pipeline="sliced")).plan)
    assert found["8"] is None and found["2"] is not None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["pipeline.stages.decode_time.map.size=auto"], r"decode_time.map.size: auto: nobody says"),
        (
            [f"pipeline.stages.decode_space.map.{x}" for x in ("size=auto", "count=2")],
            r"decode_space.map.size: auto: with `count` given",
        ),
        (["+chosen.mine={whole: 1.0}"], r"chosen.mine: is written by `compile`"),
        (["partition.score_bytes=automatic"], "partition.score_bytes"),
    ],
)  # fmt: skip
def test_what_cannot_be_chosen_is_refused_before_anything_is_traced(words, told):
    with pytest.raises(ConfigError, match=told):
        read(compose(["target=iphone15pro", *words]))


def test_what_compares_settings_wants_values():
    job = read(compose(["target=iphone15pro", "partition.score_bytes=auto"]))
    with pytest.raises(ConfigError, match=r"partition.score_bytes=auto: plan fits compares"):
        refuse_undecided(job, "plan fits")
    assert job.settings != read(compose(["target=iphone15pro", "partition.score_bytes=0"])).settings
    made = decided(job, {"partition.score_bytes": "8MiB"}, {})
    assert made.undecided is None
    assert {s.score_bytes for s in made.pipeline.stages if s.kind == "graph"} == {8 * MIB}


def test_what_was_chosen_of_guidance_stays():
    """`guidance=auto` is decided before; what is chosen after it is of the pipeline guided so."""
    job = read(compose(["target=iphone15pro", "partition.score_bytes=auto"]))
    apart = _noted(_as(job, guided(job, "apart")), "apart 3.1 s")
    made = decided(apart, {"partition.score_bytes": "0"}, {})
    assert json.loads(made.settings)["guidance"] == json.loads(apart.settings)["guidance"]
    assert json.loads(made.settings)["guidance"]["chosen"] == "apart 3.1 s"
    assert [s.name for s in made.pipeline.stages] == [s.name for s in apart.pipeline.stages]
    assert made.pipeline != decided(job, {"partition.score_bytes": "0"}, {}).pipeline


def test_whole_scores_are_tried_first_then_halves():
    """Of equally fast values the first is taken: as few blocks as may be."""
    assert SCORE_BYTES[0] == "0"
    assert [int(v.removesuffix("MiB")) for v in SCORE_BYTES[1:]] == [1024 >> k for k in range(8)]


def test_the_demos_frames_are_decoded_alike_in_any_number():
    """What `sizes` of its spatial decoder says, by torch: eight frames at once and one by one."""
    from entracte.graphs.opensora.build import SpatialDecoder, models_of

    torch.manual_seed(0)
    decoder = SpatialDecoder(models_of("tiny", "").vae, False).eval()
    x = torch.randn(1, 4, 8, 8, 8)
    with torch.no_grad():
        apart = torch.cat([decoder(frame) for frame in x.split(1, 2)], 2)
        torch.testing.assert_close(decoder(x), apart)
