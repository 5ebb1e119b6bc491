"""Calibration finds the figures that made the times, and says what it could not find."""

import hashlib
import json
import shlex
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from typer.testing import CliRunner

from entracte.calibrate.derived import calibrated, calibration
from entracte.calibrate.errors import class_errors, run_s
from entracte.calibrate.fit import fit
from entracte.calibrate.lines import least_absolute
from entracte.calibrate.observed import Observation, observations
from entracte.calibrate.records import Recorded, recorded
from entracte.cli.plan import app
from entracte.clock.predict import predict
from entracte.cost import facts_on
from entracte.declare.compose import compose
from entracte.declare.read import read, read_target
from entracte.devices.null import NullDevice
from entracte.errors import ConfigError
from entracte.inspect.about import about, about_lines
from entracte.inspect.command import command_of
from entracte.ir import Bar, Chunk, Run, Settled, Work
from entracte.plan.file import read_plan, write_plan
from entracte.program.workload import Workload
from entracte.report.model import page_of
from entracte.run.origin import plan_digest
from entracte.run.record import read_run, write_run
from entracte.run.runner import run_plan
from tests.planner.plans import make_plan, make_target

MADE = replace(
    make_target(10**6),
    compute_unit="cpuAndGPU",
    load_bandwidth=1e6,
    cold_bandwidth=2.5e5,
    load_overhead_s=1e-3,
    compute_flops=1e9,
    memory_bandwidth=2e8,
    call_overhead_s=1e-3,
    efficiency=(("matmul", 1.0), ("conv", 0.5), ("attention", 0.25), ("elementwise", 0.125)),
)
"""The device that made the times of these tests: figures chosen by hand."""
OTHER = replace(
    MADE,
    load_bandwidth=3e7,
    cold_bandwidth=None,
    load_overhead_s=5e-5,
    compute_flops=4e10,
    memory_bandwidth=9e8,
    call_overhead_s=0.0,
    efficiency=(("matmul", 0.5),),
    estimated=("load_bandwidth", "contention"),
    sources=("memory: a data sheet", "load_overhead_s: a data sheet"),
)
"""A profile that is wrong in every figure."""


def call(n, seconds, *work):
    chunk = Chunk(
        id=f"c{n}", graph="g", start=n, stop=n + 1, inputs=(), outputs=(), weight_bytes=1,
        activation_bytes=0, flops=sum(w.flops for w in work),
        moved_bytes=sum(w.moved_bytes for w in work), work=work,
    )  # fmt: skip
    return Observation(kind="call", chunk=chunk.id, part=chunk, work=work, seconds=seconds)


def load(n, kind, size_bytes, *seconds):
    return replace(call(n, seconds), kind=kind, size_bytes=size_bytes)


def made_calls(count=9):
    """Seconds written out: 1 ms a call; 1, 2, 4 and 8 ns for an operation of matrix products,
    convolutions, attention and the rest; 5 ns for a byte that is copied."""
    draw = np.random.default_rng(0)
    rows = []
    for n in range(count):
        a, b, c, d, e = (int(x) for x in draw.integers(10**6, 10**8, 5))
        seconds = 1e-3 + 1e-9 * a + 2e-9 * b + 4e-9 * c + 8e-9 * d + 5e-9 * e
        work = (Work("matmul", a, 0), Work("conv", b, 0), Work("attention", c, 0),
                Work("elementwise", d, 0), Work("move", 0, e))  # fmt: skip
        rows.append(call(n, (seconds,), *work))
    return rows


def made_loads():
    """1 ms, 1 us a byte, of a first load 4 us a byte."""
    sizes = (1000, 3000, 7000, 20000, 50000)
    first = [load(n, "first load", s, 1e-3 + 4e-6 * s) for n, s in enumerate(sizes)]
    return first + [load(n, "load", s, *3 * [1e-3 + 1e-6 * s]) for n, s in enumerate(sizes)]


def figures(target):
    return (
        target.load_overhead_s, target.load_bandwidth, target.cold_bandwidth,
        target.call_overhead_s, target.compute_flops, target.memory_bandwidth,
        *(share for _, share in target.efficiency),
    )  # fmt: skip


def test_it_finds_the_figures_that_made_the_times():
    """From a profile that is wrong in every figure; 1e-3: four digits are kept."""
    found = fit(OTHER, made_loads() + made_calls())
    assert figures(found.target) == pytest.approx(figures(MADE), rel=1e-3)
    assert all(f.observations and not f.note for f in found.figures)
    assert fit(found.target, made_loads() + made_calls()).target == found.target


def test_single_times_that_are_far_off_move_nothing():
    """One call in nine took a hundred times as long, one load ten times."""
    loads, calls = made_loads(), made_calls(18)
    calls[4] = replace(calls[4], seconds=(100 * calls[4].seconds[0],))
    calls[11] = replace(calls[11], seconds=(100 * calls[11].seconds[0],))
    loads[2] = replace(loads[2], seconds=(10 * loads[2].seconds[0],))
    loads[7] = replace(loads[7], seconds=(*loads[7].seconds[:2], 9.0))
    assert figures(fit(OTHER, loads + calls).target) == pytest.approx(figures(MADE), rel=1e-3)


def test_few_observations_leave_the_profiles_figures():
    found = fit(OTHER, made_loads()[:2] + made_calls(2))
    assert found.target == OTHER
    assert {f.note for f in found.figures} == {"fewer than 3 observations"}
    # Of one class only: two chunks have convolutions.
    calls = [
        call(n, (1e-3 + 1e-9 * a + (2e-9 * a if n < 2 else 0),), Work("matmul", a, 0),
             *([Work("conv", a, 0)] if n < 2 else []))
        for n, a in enumerate((10**7, 3 * 10**7, 10**8, 4 * 10**8, 2 * 10**8))
    ]  # fmt: skip
    found = fit(replace(MADE, compute_flops=3e9), calls)
    by_name = {f.name: f for f in found.figures}
    assert by_name["rate.matmul"].value == pytest.approx(1e9, rel=1e-3)
    assert (by_name["rate.matmul"].observations, by_name["rate.conv"].observations) == (3, 0)
    assert by_name["rate.conv"].value == pytest.approx(1.5e9)
    assert by_name["rate.conv"].note == "fewer than 3 observations"


def test_what_cannot_be_told_apart_keeps_its_proportion():
    """Every call has as many FLOPs of attention as of matrix products: 3 ns for one of each. The
    profile's proportion is 4 to 1."""
    sizes = (10**7, 3 * 10**7, 10**8, 4 * 10**8)
    calls = [
        call(n, (1e-3 + 3e-9 * a,), Work("matmul", a, 0), Work("attention", a, 0))
        for n, a in enumerate(sizes)
    ]
    profile = replace(MADE, compute_flops=1e10)
    found = fit(profile, calls)
    by_name = {f.name: f for f in found.figures}
    matmul, attention = by_name["rate.matmul"], by_name["rate.attention"]
    assert 1 / matmul.value + 1 / attention.value == pytest.approx(3e-9, rel=1e-3)
    assert matmul.value / attention.value == pytest.approx(4, rel=1e-3)
    assert "not told apart from" in matmul.note + attention.note


def test_loads_of_one_kind_only():
    """Each package was loaded once: how fast it would be again is not known, but no slower."""
    first = made_loads()[:5]
    found = fit(replace(OTHER, load_bandwidth=1e5), first)
    assert (found.target.load_bandwidth, found.target.cold_bandwidth) == (2.5e5, None)
    found = fit(OTHER, first)
    assert (found.target.load_bandwidth, found.target.cold_bandwidth) == (3e7, 2.5e5)
    by_name = {f.name: f for f in found.figures}
    assert (
        by_name["load_bandwidth"].note
        == "fewer than 3 observations of a load that is not the first"
    )
    # All the same: no bandwidth can be seen.
    same = [load(n, "load", s, 0.004) for n, s in enumerate((1000, 2000, 4000, 9000))]
    made = fit(MADE, same).target
    assert made.load_overhead_s / MADE.load_overhead_s == pytest.approx(
        MADE.load_bandwidth / made.load_bandwidth, rel=1e-3
    )


@pytest.mark.parametrize("seed", range(20))
def test_whatever_was_recorded_gives_a_target(seed):
    """Figures from a stranger's record are finite and no rate is 0."""
    draw = np.random.default_rng(seed)
    amounts, times = (0, 1, 10**6, 10**12, 2**60), (0.0, 1e-300, 1e-9, 1e-3, 1.0, 1e9)
    seen = []
    for n in range(int(draw.integers(0, 12))):
        kind = str(draw.choice(["first load", "load", "call"]))
        took = tuple(float(x) for x in draw.choice(times, 2))
        work = [
            Work(k, int(draw.choice(amounts)), int(draw.choice(amounts)))
            for k in ("matmul", "conv", "move")
        ]
        one = call(n, took, *work) if kind == "call" else load(n, kind, int(work[0].flops), *took)
        seen.append(replace(one, share=float(draw.choice([0.0, 0.5, 1.0]))))
    for profile in (MADE, OTHER):
        made = fit(profile, seen).target
        rates = [made.load_bandwidth, made.compute_flops, made.memory_bandwidth,
                 *(share for _, share in made.efficiency)]  # fmt: skip
        assert all(np.isfinite(x) and x > 0 for x in rates)
        assert made.load_overhead_s >= 0 and made.call_overhead_s >= 0
        assert made.cold_bandwidth is None or 0 < made.cold_bandwidth <= made.load_bandwidth
        assert class_errors(seen, made) or not seen


def test_least_absolute_is_a_median():
    assert least_absolute(np.ones((5, 1)), np.array([1.0, 2.0, 3.0, 50.0, 60.0])) == pytest.approx(
        3
    )
    assert least_absolute(np.array([[-1.0], [-1.0]]), np.array([1.0, 2.0])) == pytest.approx(0)


# ---------------------------------------------------------------- bars


def a_run(plan, bars, **more):
    return Run(
        device="coreml", wall_s=1e3, peak_bytes=0, stall_s=0, loaded_bytes=0, chunks=(),
        bars=tuple(bars), **more,
    )  # fmt: skip


def test_bars_are_loads_and_calls_as_if_alone():
    """By hand: contention 2. The load takes 4 s, 2 of them beside a call: 2 + 2 / 2 = 3 alone."""
    plan = make_plan()
    plan = replace(plan, target=replace(plan.target, contention=2.0))
    a, b = plan.chunks[0].id, plan.chunks[1].id
    size = {f.id: f.weight_bytes for f in plan.facts}
    bars = (
        Bar("load", a, 0, 0, 0, 0.0, 1.0, size[a]),
        Bar("compute", a, 0, 0, 0, 1.0, 4.0, 0),
        Bar("load", b, 0, 0, 1, 2.0, 6.0, size[b]),
        Bar("free", b, 0, 0, 1, 6.5, 6.5, size[b]),
        Bar("load", b, 0, 0, 1, 7.0, 8.0, size[b]),
    )
    seen = {(o.kind, o.chunk): o for o in observations(plan, a_run(plan, bars))}
    assert seen["first load", a].seconds == pytest.approx((1.0,))
    assert seen["first load", b].seconds == pytest.approx((3.0,))
    assert seen["load", b].seconds == pytest.approx((1.0,))
    assert seen["call", a].seconds == pytest.approx((2.0,))
    # What was in memory when the run began is no load, and later ones are not its first.
    bars = (Bar("load", b, 0, 0, 0, 0.0, 0.0, size[b]), Bar("load", b, 0, 0, 1, 1.0, 2.0, size[b]))
    (only,) = observations(plan, a_run(plan, bars, carried=(b,)))
    assert (only.kind, only.seconds) == ("load", (1.0,))
    # Half a package: the first halves are both first loads.
    half = [Bar("load", a, 0, 0, 0, i, i + 1.0, 45) for i in range(3)]
    pages = observations(plan, a_run(plan, half))
    assert [(o.kind, o.share, len(o.seconds)) for o in pages] == [
        ("first load", 0.5, 2), ("load", 0.5, 1),
    ]  # fmt: skip


def test_the_slices_of_a_map_are_one_call_each():
    plan = make_plan()
    segment, step, call_ = next(
        (s, k, x)
        for s, g in enumerate(plan.program.segments)
        for k, x in enumerate(g.steps)
        if getattr(x, "repeat", 1) == 3
    )
    bars = (Bar("compute", call_.chunk, segment, 0, step, 0.0, 6.0, 0),)
    (only,) = observations(plan, a_run(plan, bars))
    assert only.seconds == (2.0,)


def test_errors_by_class():
    """By hand: predicted 3 s of 2, twice; of calls those that are mostly matrix products."""
    seen = [
        load(0, "load", 10**6, 2.0, 2.0),
        call(1, (1.0,), Work("matmul", 10**9, 0)),
        call(2, (4.0,), Work("matmul", 10**9, 0), Work("conv", 10**6, 0)),
        call(3, (0.0,), Work("move", 0, 10**8)),
    ]
    target = replace(MADE, load_overhead_s=2.0, call_overhead_s=0.0)
    first, matmul, move = class_errors(seen, target)
    assert (first.name, first.chunks, first.times) == ("load", 1, 2)
    assert (first.predicted_s, first.observed_s) == (6.0, 4.0)
    assert (first.median_error, first.total_error) == (0.5, 0.5)
    assert (matmul.name, matmul.times, matmul.observed_s) == ("matmul", 2, 5.0)
    assert matmul.predicted_s == pytest.approx(1.0 + 1.002)
    assert matmul.median_error == pytest.approx((0.0 + (1 - 1.002 / 4)) / 2)
    assert (move.name, move.median_error, move.total_error) == ("move", None, None)


# ---------------------------------------------------------------- a whole run


def closed_loop():
    """A run of the clock on the device `MADE`, of a plan that was made for `OTHER`."""
    draw = np.random.default_rng(1)
    plan = make_plan()

    def worked(chunk):
        kinds = ("matmul", "conv", "attention", "elementwise")
        work = tuple(Work(k, int(draw.integers(10**6, 10**8)), 0) for k in kinds)
        move = Work("move", 0, int(draw.integers(10**6, 10**8)))
        return replace(chunk, work=(*work, move))

    plan = replace(plan, target=OTHER, chunks=tuple(map(worked, plan.chunks)))
    # The toy's weights are bytes: a thousand times as large, loads take as long as calls.
    device = replace(MADE, load_bandwidth=1e3, cold_bandwidth=2.5e2)
    workload = replace(
        Workload.on(device, plan.program, facts_on(plan.chunks, plan.facts, device)),
        budget_bytes=plan.schedule.budget_bytes,
    )
    made = predict(workload, plan.schedule)
    bars = sorted(made.bars, key=lambda b: b.end_s)
    return plan, replace(a_run(plan, bars), wall_s=made.makespan_s), device


def test_a_run_corrects_what_the_next_plan_predicts():
    plan, run, device = closed_loop()
    assert run_s(plan, run, device) == pytest.approx(run.wall_s, rel=1e-9)
    seen = observations(plan, run)
    made = fit(OTHER, seen).target
    assert abs(run_s(plan, run, OTHER) / run.wall_s - 1) > 0.5
    assert run_s(plan, run, made) == pytest.approx(run.wall_s, rel=0.01)
    for before, after in zip(
        class_errors(seen, OTHER), class_errors(seen, made, by=OTHER), strict=True
    ):
        assert before.name == after.name and before.median_error > 0.4 > 0.01 > after.median_error


# ---------------------------------------------------------------- records and settings


@cache
def settings():
    return read(composed(*WORDS)).settings


@pytest.fixture
def build(tmp_path):
    """A build folder with its run, as if Core ML had made it."""
    plan = replace(make_plan(), settings=settings())
    folder = tmp_path / "build"
    folder.mkdir()
    write_plan(plan, folder)
    made = run_plan(
        plan, folder, NullDevice(plan.target.budget_bytes), {},
        constants={"x": np.zeros(4, np.float16)},
    ).run  # fmt: skip
    write_run(replace(made, device="coreml", plan=plan_digest(plan)), folder / "run.json")
    return folder


WORDS = ["target=iphone15pro", "target.name=toy", "target.compute_unit=all"]


@cache
def composed(*words):
    """Hydra takes its time; whoever changes it copies it."""
    return compose(words)


def derived(*paths, words=WORDS):
    """As of `target.from=[...]`."""
    return named([str(p) for p in paths], words)


def named(value, words=WORDS):
    config = composed(*words).copy()
    config.target.from_run = value
    return calibrated(config)


def test_the_next_compile_has_the_derived_target(build, tmp_path):
    config = calibrated(compose([*WORDS, f"target.from={build}"]))
    target = read_target(config)
    stem, _, digest = target.name.partition("-")
    assert (stem, len(digest), target.title.endswith(", calibrated")) == ("toy", 8, True)
    made = calibration(read_target(composed(*WORDS)), recorded([str(build)], "x"))
    assert target == made.target and made.digest.startswith(digest)
    sha = hashlib.sha256((build / "run.json").read_bytes()).hexdigest()
    fitted = [f.name for f in made.figures if f.observations]
    assert "load_overhead_s" in fitted
    told = [s for s in target.sources if s.startswith("load_overhead_s: ")]
    assert len(told) == 1 and sha[:12] in told[0] and told[0].endswith(" on coreml")
    assert "load_overhead_s" not in target.estimated
    # What runs do not tell is the profile's.
    profile = read_target(composed(*WORDS))
    same = ("memory_bytes", "contention", "chunk_limit_bytes", "settle_fraction", "deployment")
    assert all(getattr(target, n) == getattr(profile, n) for n in same)
    # The same records, named otherwise, are the same bytes; nothing of the path is left.
    elsewhere = tmp_path / "phone.json"
    elsewhere.write_bytes((build / "run.json").read_bytes())
    for paths in ((build / "run.json",), (build, build / "run.json"), (build, elsewhere)):
        assert derived(*paths) == config
    assert config.target.from_run is None and str(tmp_path) not in str(config.target)
    # A plan for the derived target calibrates the profile again, not a name of a name.
    again = calibration(target, recorded([str(build)], "x")).target
    assert again.name.count("-") == 1 and again.title == target.title


def test_what_is_no_record_of_this_target_is_refused(build, tmp_path):
    other = tmp_path / "other.json"
    run = read_run(build)
    write_run(replace(run, plan="f" * 64), other)
    empty = tmp_path / "empty"
    empty.mkdir()
    text = tmp_path / "text.json"
    text.write_text("[1]")

    def changed(**more):
        place = tmp_path / f"{next(iter(more))}{len(list(tmp_path.iterdir()))}.json"
        write_run(replace(run, **more), place)
        return build, place

    for paths, words, said in (
        ((tmp_path / "gone.json",), WORDS, "gone.json: there is no such file; `plan run BUILD"),
        ((empty,), WORDS, r"empty is no build folder \(it has no plan.json\); give a folder that"),
        ((text,), WORDS, "text.json: no record of a run"),
        ((other,), WORDS, r"a record of none of the builds given; .* \[BUILD,.*other.json\]"),
        ((build, other), WORDS, "a record of none of the builds given"),
        ((build,), ["target=iphone15pro"], "run of a plan for toy, and the target is iphone15pro;"),
        ((build,), WORDS[:2], "of compute unit all, and the target's is cpuAndGPU; figures are of"),
        (changed(device="reference"), WORDS, "recorded on device reference, which is not toy"),
        (changed(device="null"), WORDS, "of the null device, which observes nothing"),
        (changed(bars=()), WORDS, "tells no single load or call"),
    ):
        with pytest.raises(ConfigError, match=said) as raised:
            derived(*paths, words=words)
        assert str(raised.value).startswith("target.from: ")
    two = tmp_path / "two"
    two.mkdir()
    write_plan(read_plan(build), two)
    write_run(replace(run, device="Mac", plan=run.plan), two / "run.json")
    with pytest.raises(ConfigError, match=r"several devices \(Mac, coreml\); give those of one"):
        derived(build / "run.json", two / "run.json")
    for value in ({"a": 1}, [], 3, [3, str(build)], ""):
        with pytest.raises(ConfigError, match=r"target.from: .* is no path; give a record"):
            named(value)
    with pytest.raises(ConfigError, match="33 paths; give 1 to 32"):
        recorded(["x"] * 33, "x")


def test_what_comes_back_late_is_kept_free_and_never_less():
    plan, run, _ = closed_loop()
    target = replace(OTHER, memory_bytes=10_020, base_footprint_bytes=20, settle_fraction=0.01)
    plan = replace(plan, target=target)
    waits = (
        Settled(chunks=("a",), expected_bytes=1000, returned_bytes=900, wait_s=0.3),
        Settled(chunks=("a", "b"), expected_bytes=4000, returned_bytes=3666, wait_s=0.1),
        # More than expected came back: others' memory.
        Settled(chunks=("b",), expected_bytes=10, returned_bytes=99, wait_s=0.2),
    )
    record = Recorded(Path("r"), "0" * 64, plan, replace(run, settled=waits))
    made = calibration(target, [record])
    assert made.target.settle_fraction == 0.0334
    careful = replace(target, settle_fraction=0.05)
    assert calibration(careful, [record]).target.settle_fraction == 0.05


def test_the_command_tells_and_writes_it(build, tmp_path):
    place = tmp_path / "conf" / "target" / "mine.yaml"
    place.parent.mkdir(parents=True)
    plan = make_plan()
    words = ["calibrate", str(build), "--json"]
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 0, told.output
    said = json.loads(told.output)
    assert said["target"].startswith("toy-") and said["profile"] == plan.target.name
    assert {f["name"] for f in said["figures"]} >= {"load_bandwidth", "rate.matmul"}
    assert said["runs"][0]["device"] == "coreml" and said["errors"]["before"]
    shown = CliRunner().invoke(app, words[:2])
    assert shown.exit_code == 0
    assert f"compile target=toy target.from={build}" in shown.output.replace("\n", "")
    assert CliRunner().invoke(app, ["calibrate", str(tmp_path)]).exit_code == 1
    # As a file it is the same target under the file's name.
    wrote = CliRunner().invoke(app, ["calibrate", str(build), "--out", str(place)])
    assert wrote.exit_code == 0 and f"wrote {place}" in wrote.output.replace("\n", "")
    mine = read_target(compose(["target=mine"], tmp_path / "conf"))
    made = calibration(plan.target, recorded([str(build)], "x")).target
    names = ("load_overhead_s", "load_bandwidth", "cold_bandwidth", "compute_flops", "efficiency",
             "memory_bandwidth", "call_overhead_s", "sources")  # fmt: skip
    assert [getattr(mine, n) for n in names] == [getattr(made, n) for n in names]
    assert (mine.name, mine.title) == ("mine", made.title)


def test_a_plan_says_the_figures_in_the_command_that_makes_it_again(build):
    """The record is not needed any more."""
    config = derived(build, words=["target=iphone15pro", "target.compute_unit=all"] + WORDS[1:2])
    OmegaConf.update(config, "target.name", f"iphone15pro-{config.target.name[-8:]}")
    said = read(config).settings
    command = command_of(replace(make_plan(), settings=said))
    words = shlex.split(command.text)[1:]
    assert not command.notes and words[0] == "target=iphone15pro" and "target.from" not in words
    assert read(compose(words)).settings == said


def test_show_and_the_report_tell_it(build):
    plan, run = read_plan(build), read_run(build)
    shown = CliRunner().invoke(app, ["show", str(build)])
    assert "Errors by class" in shown.output and "first load" in shown.output
    found = class_errors(observations(plan, run), plan.target)
    told = json.loads(CliRunner().invoke(app, ["show", str(build), "--json"]).output)
    assert [e["name"] for e in told["errors"]] == [e.name for e in found]
    assert page_of(plan, (), run).classes == found
    # What a run gave, and what is the profile's.
    made = calibration(plan.target, recorded([str(build)], "x"))
    lines = dict(about_lines(about(replace(plan, target=made.target))))
    assert f"fitted to run {made.records[0].digest[:12]} of toy on coreml" in lines["rates"]
    assert lines["rates"].endswith("; all others are the profile's")
    assert "rates" not in dict(about_lines(about(plan)))


def test_a_unit_of_its_own_is_told():
    plan = make_plan()
    first, *rest = plan.chunks
    plan = replace(plan, chunks=(replace(first, compute_unit="cpuAndNeuralEngine"), *rest))
    told = about(plan)
    assert [(unit, n) for _, unit, n, _ in told.units] == [("cpuAndNeuralEngine", 1)]
    assert dict(about_lines(told))["units"].startswith("1 chunk runs on cpuAndNeuralEngine; their")
