"""Runs are recorded with every event, and read as what a stranger may have written."""

import calendar
import json
import os
import platform
import time
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import entracte
from entracte.cli.observed import record_run
from entracte.cli.plan import app
from entracte.codec import encode
from entracte.devices.null import NullDevice
from entracte.errors import PlanError, RunError
from entracte.inspect.residency import stays_of, usage
from entracte.ir import Bar, Input, Run
from entracte.plan.file import plan_sha256, write_plan
from entracte.run.alarm import alarm_of
from entracte.run.inputs import given_inputs
from entracte.run.origin import plan_digest, versions
from entracte.run.possible import fault_of
from entracte.run.record import (
    FILE,
    observed_timeline,
    place_for,
    read_run,
    run_of,
    write_run,
)
from entracte.run.runner import run_plan
from entracte.run.sinks import place_of
from tests.planner.plans import ONLINE, make_online_plan, make_plan, make_special_plan, plan_of
from tests.planner.programs import POLICIES, parts
from tests.planner.test_run_null import ender, erratic


def run(plan, device) -> Run:
    constants = {"x": np.zeros(4, np.float16)}
    return run_plan(plan, Path("nowhere"), device, {}, constants=constants).run


def count(made: Run, queue: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for e in made.bars:
        if e.queue == queue:
            found[e.label] = found.get(e.label, 0) + 1
    return found


@settings(max_examples=80, deadline=None)
@given(
    parts,
    st.sampled_from((*POLICIES, ONLINE)),
    st.integers(0, 400),
    st.integers(0, 2**32),
    st.booleans(),
)
def test_every_load_call_and_free_is_an_event(shape, policy, extra, seed, early):
    plan = plan_of(shape, policy, extra)
    device, ends = erratic(plan, seed, early)
    made = run(plan, device)
    loads = {c.chunk: c.loads for c in made.chunks if c.loads}
    assert count(made, "load") == loads == count(made, "free")
    calls = {}
    for g in plan.program.segments:
        for step in g.steps:
            done = ends[g.name] if g.until else g.count
            made_in = sum(map(step.is_called, range(done)))
            calls[step.chunk] = calls.get(step.chunk, 0) + made_in
    assert count(made, "compute") == calls
    assert sum(e.size_bytes for e in made.bars if e.queue == "load") == made.loaded_bytes
    assert [e.end_s for e in made.bars] == sorted(e.end_s for e in made.bars)
    assert all(0 <= e.start_s <= e.end_s <= made.wall_s for e in made.bars)
    assert len(stays_of(made.bars)) == sum(loads.values())
    assert fault_of(plan, made) is None and alarm_of(plan, made) is None
    samples = usage(plan, made.bars)
    assert max(s.total_bytes for s in samples) <= plan.forecast.peak_bytes
    waited = sum(w.end_s - w.start_s for w in observed_timeline(plan, made).waits)
    assert waited <= made.stall_s + 0.02 * len(made.bars)


def test_waits_of_a_run_are_those_for_its_loads():
    plan = make_plan()
    device = NullDevice(None, lambda what, _: time.sleep(0.01 if what == "load" else 0.0))
    waits = observed_timeline(plan, run(plan, device)).waits
    assert {w.cause for w in waits} >= {"start", "steady"}
    assert {w.chunk for w in waits} <= {c.id for c in plan.chunks}
    assert all(w.start_s < w.end_s for w in waits)


def test_an_early_end_has_no_events_of_iterations_that_were_not_done():
    plan = make_special_plan()
    made = run(plan, NullDevice(None, None, ender(plan, {"p1": 3, "p0": 1})))
    assert max(e.iteration for e in made.bars if e.queue == "compute") == 2
    assert len([e for e in made.bars if e.queue == "free"]) == sum(c.loads for c in made.chunks)


@pytest.mark.parametrize("make", [make_plan, make_special_plan, lambda: make_online_plan(4096)])
def test_what_the_runner_records_is_possible(make):
    """Gates, an early end, and pages: what is refused below is nothing that happens."""
    plan = make()
    made = run(plan, NullDevice(None, None, ender(plan, {"p1": 3, "p0": 1})))
    assert fault_of(plan, made) is None


# ---------------------------------------------------------------- what a record is of


def test_a_record_names_plan_inputs_date_and_versions(monkeypatch):
    monkeypatch.setattr("entracte.run.runner.now", lambda: "2026-11-28T09:30:00Z")
    plan = with_inputs(make_plan())
    prompt = "a " + "very " * 2000 + "long prompt\u202e\n\x1b[31m"
    given = {"prompt": prompt, "seed": "-5", "guidance": "3"}
    constants = {"x": np.zeros(4, np.float16)}
    made = run_plan(plan, Path("nowhere"), NullDevice(None), given, constants=constants).run
    assert made.inputs == (("prompt", prompt), ("seed", -5), ("guidance", 3.0), ("much", 1.5))
    assert (made.device, made.date, made.arithmetic) == ("null", "2026-11-28T09:30:00Z", "")
    found = dict(made.versions)
    assert found["python"] == platform.python_version() and found["numpy"] == np.__version__
    assert found["entracte"] == entracte.__version__ and platform.system() in found["system"]
    assert made.plan == plan_digest(plan) == plan_sha256(plan)


@pytest.mark.parametrize("number", ["nan", "inf", "-Infinity", "1e999", "much"])
def test_numbers_are_finite(number):
    with pytest.raises(RunError, match=f"input 'guidance': '{number}' is not a number"):
        given_inputs(with_inputs(make_plan()), {"guidance": number})


def test_the_time_of_a_run_is_utc(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        before = int(time.time())
        made = run(make_plan(), NullDevice(None)).date
    finally:
        monkeypatch.undo()
        time.tzset()
    seconds = calendar.timegm(time.strptime(made, "%Y-%m-%dT%H:%M:%SZ"))
    assert before <= seconds <= before + 60


def test_versions_are_of_what_is_installed(monkeypatch):
    def none(name):
        raise PackageNotFoundError(name)

    versions.cache_clear()
    monkeypatch.setattr("entracte.run.origin.version", none)
    assert [name for name, _ in versions()] == ["entracte", "python", "system"]
    versions.cache_clear()


def with_inputs(plan):
    inputs = (
        Input("prompt", "text", "a circle"),
        Input("seed", "seed", 0),
        Input("guidance", "number", 4.0),
        Input("much", "number", 1.5),
    )
    return replace(plan, program=replace(plan.program, inputs=inputs))


def test_a_record_stays_the_plans_when_psnrs_are_added(folder):
    """`plan verify` writes them into the plan; what runs is the same."""
    plan = make_plan()
    packages = tuple(replace(p, psnr_db=61.5) for p in plan.packages)
    verified = replace(plan, packages=packages)
    assert run_of(verified, folder) == run_of(plan, folder)
    # A runner of another's names what it finds in the file.
    made = replace(run_of(plan, folder), plan=plan_sha256(verified))
    write_run(made, folder / FILE)
    assert plan_sha256(verified) != plan_sha256(plan)
    assert run_of(verified, folder) == made
    with pytest.raises(PlanError, match="of another plan"):
        run_of(plan, folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: replace(p, title="Another"),
        lambda p: replace(p, title="Another"),
        lambda p: replace(p, forecast=replace(p.forecast, peak_bytes=p.forecast.peak_bytes + 1)),
        lambda p: replace(p, target=replace(p.target, name="other")),
        lambda p: replace(p, settings="{ }"),
    ],
)
def test_a_record_of_a_plan_that_differs_in_anything_is_refused(folder, change):
    """Also of one with the same chunks and loops, of which every name is known."""
    with pytest.raises(PlanError, match=r"run\.json: a record of another plan \(it names [0-9a-f]"):
        run_of(change(make_plan()), folder)


@pytest.mark.parametrize("names", ["", "\x1b[31m", "a b", "é"])
def test_a_record_of_no_plan_is_refused_and_shows_nothing_of_it(folder, names):
    rewrite(folder, lambda b: b.update(plan=names))
    with pytest.raises(PlanError, match="another plan .it does not name this."):
        run_of(make_plan(), folder)


COMMANDS = (["show"], ["show", "--json"], ["show", "--stage", "c1"], ["report"], ["trace"])


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_refuses_a_record_of_another_plan(folder, words):
    name, *options = words
    write_plan(replace(make_plan(), title="Another"), folder)
    before = sorted(p.name for p in folder.iterdir())
    out = ["-o", str(folder / "out")] if name in ("report", "trace") else []
    done = CliRunner().invoke(app, [name, str(folder), *options, *out])
    assert done.exit_code == 1 and "of another plan" in done.output
    assert sorted(p.name for p in folder.iterdir()) == before


def test_compare_refuses_a_record_of_another_plan_on_either_side(folder, tmp_path):
    write_plan(replace(make_plan(), title="Another"), folder)
    (tmp_path / "sound").mkdir()
    write_plan(make_plan(), tmp_path / "sound")
    for pair in ([folder, tmp_path / "sound"], [tmp_path / "sound", folder]):
        done = CliRunner().invoke(app, ["compare", *map(str, pair)])
        assert done.exit_code == 2 and "of another plan" in done.output


# ---------------------------------------------------------------- read as a stranger's


def called(body):
    """The event of the first call."""
    return next(e for e in body["bars"] if e["queue"] == "compute")


def rewrite(folder, change):
    body = json.loads((folder / FILE).read_text())
    change(body)
    (folder / FILE).write_text(json.dumps(body))


@pytest.fixture
def folder(tmp_path):
    write_run(run(make_plan(), NullDevice(None)), tmp_path / FILE)
    return tmp_path


def test_round_trip(folder):
    made = run_of(make_plan(), folder)
    assert made == read_run(folder / FILE)
    assert made.bars and not list(folder.glob(".*"))


def test_no_run_is_no_fault_but_a_missing_file_is(tmp_path):
    assert read_run(tmp_path) is None and run_of(make_plan(), tmp_path) is None
    with pytest.raises(PlanError, match="no such file; `plan run BUILD --record"):
        read_run(tmp_path / "other.json")
    (tmp_path / FILE).mkdir()
    with pytest.raises(PlanError, match=r"run\.json: is no file"):
        read_run(tmp_path)


def test_damaged_files_are_refused(folder):
    path = folder / FILE
    text = path.read_text()
    for damaged in (text[:300], "[" * 100_000, "\xff", "9" * 5000):
        path.write_bytes(damaged.encode("latin-1"))
        with pytest.raises(PlanError, match=r"run\.json"):
            read_run(folder)
    path.write_text("[]")
    with pytest.raises(PlanError, match="no record of a run"):
        read_run(folder)


def wait(**changed):
    return {"chunks": ["c0.00"], "expected_bytes": 9, "returned_bytes": 8, "wait_s": 0.1} | changed


def reused(**changed):
    told = {"key": "a" * 64, "inputs": [], "chunks": ["c0.00"], "size_bytes": 8}
    return told | changed


def test_what_was_not_computed_and_what_was_there_may_be_recorded(folder):
    rewrite(folder, lambda b: b.update(reused=[reused()], carried=["c0.00"]))
    run = run_of(make_plan(), folder)
    assert run.reused[0].chunks == run.carried == ("c0.00",)


def test_waits_for_freed_memory_may_be_recorded(folder):
    rewrite(folder, lambda b: b.update(settled=[wait()]))
    assert run_of(make_plan(), folder).settled[0].chunks == ("c0.00",)


def test_a_file_that_is_too_large_is_not_read(folder, monkeypatch):
    size = (folder / FILE).stat().st_size
    monkeypatch.setattr("entracte.run.record.MAX_BYTES", size)
    assert read_run(folder)
    monkeypatch.setattr("entracte.run.record.MAX_BYTES", size - 1)
    with pytest.raises(PlanError, match="larger than"):
        read_run(folder)


def test_a_file_that_cannot_be_read_is_one_message(folder, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(PlanError, match=r"run\.json: cannot be read \(Permission denied\)"):
        read_run(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b.update(wall_s="long"), "wall_s: wants float"),
        (lambda b: b.update(wall_s=float("inf")), "not finite"),
        (lambda b: b.update(wall_s=10**400), "wall_s: .* 64 bits"),
        (lambda b: b.update(wall_s=-1.0), "wall_s: -1 is no amount"),
        (lambda b: b.update(wall_s=0.0), r"bars\[0\]"),
        (lambda b: b.update(peak_bytes=-1), "peak_bytes: -1 is no amount"),
        (lambda b: b.update(wall_s=1e300), "wall_s: too large"),
        (lambda b: b.update(peak_bytes=2**62), "peak_bytes: too large"),
        (lambda b: b["stage_s"][0].__setitem__(1, 2e9), r"stage_s.'c0': too large"),
        (lambda b: b.update(peak_bytes=10**300), "peak_bytes: .* 64 bits"),
        (lambda b: b.update(stall_s=-0.5), "stall_s: -0.5 is no amount"),
        (lambda b: b.update(loaded_bytes=-1), "loaded_bytes: -1 is no amount"),
        (lambda b: b.update(anonymous_peak_bytes=-1), "anonymous_peak_bytes: -1 is no amount"),
        (lambda b: b.update(start_bytes=-1), "start_bytes: -1 is no amount"),
        (lambda b: b["chunks"][0].update(loads=-1), r"chunks.*loads: -1 is no amount"),
        (lambda b: b["chunks"][1].update(calls=-1), r"chunks.*calls: -1 is no amount"),
        (lambda b: b["chunks"][0].update(load_s=-1.0), r"load_s: -1 is no amount"),
        (lambda b: b["chunks"][0].update(exec_s=-1.0), r"exec_s: -1 is no amount"),
        (
            lambda b: b["chunks"][0].update(peak_activation_bytes=-1),
            "peak_activation_bytes: -1 is no amount",
        ),
        (lambda b: b["stage_s"][0].__setitem__(1, -1.0), r"stage_s\.'c0': -1 is no amount"),
        (lambda b: b["stage_s"].append(["c9", 1.0]), "stage_s: there is no 'c9'"),
        (lambda b: b.update(settled=[wait(chunks=["c9"])]), "settled: there is no 'c9'"),
        (lambda b: b.update(carried=["c9"]), "carried: there is no 'c9'"),
        (lambda b: b.update(carried=["c0.00"] * 2), "carried: 'c0.00' is there 2 times"),
        (lambda b: b.update(reused=[reused(chunks=["c9"])]), r"reused\[0\]: there is no 'c9'"),
        (lambda b: b.update(reused=[reused(inputs=["p"])]), r"reused\[0\]: there is no 'p'"),
        (lambda b: b.update(reused=[reused(key="a")]), r"reused\[0\].key: 'a' is no SHA-256"),
        (lambda b: b.update(reused=[reused(size_bytes=-1)]), "size_bytes: -1 is no amount"),
        (lambda b: b.update(reused=[reused()] * 2), "reused: 'a+' is there 2 times"),
        (lambda b: b.update(settled=[wait(wait_s=-1.0)]), r"settled\[0\].wait_s: -1 is no amount"),
        (lambda b: b.update(settled=[wait(returned_bytes=-1)]), "returned_bytes: -1 is no amount"),
        (lambda b: b.update(settled=[wait(expected_bytes=2**62)]), "expected_bytes: too large"),
        (lambda b: b["stage_s"].append(b["stage_s"][0]), "stage_s: 'c0' is there 2 times"),
        (lambda b: b["bars"][0].update(label="c9.00"), "bars: there is no 'c9.00'"),
        (lambda b: b["bars"][0].update(segment=4), "segment 4"),
        (lambda b: called(b).update(segment=1), "'c0.00' is called where the plan does not"),
        (lambda b: called(b).update(step=1), "'c0.00' is called where the plan does not"),
        (lambda b: b["bars"][0].update(segment=-1), "segment -1"),
        (lambda b: b["bars"][0].update(step=2), "step 2"),
        (lambda b: b["bars"][0].update(step=-1), "step -1"),
        (lambda b: b["bars"][0].update(iteration=1), "iteration 1"),
        (lambda b: b["bars"][0].update(iteration=-1), "iteration -1"),
        (lambda b: b["bars"][0].update(queue="dance"), "queue 'dance'"),
        (lambda b: b["bars"][0].update(start_s=-1.0), "-1 to"),
        (lambda b: b["bars"][0].update(start_s=b["bars"][0]["end_s"] + 1), "bars.0. of 'c0.00'"),
        (lambda b: b["bars"][-1].update(end_s=b["wall_s"] + 1), "bars"),
        (lambda b: b["bars"][0].update(size_bytes=-1), r"bars\[0\].size_bytes: -1 is no amount"),
        (lambda b: b["bars"][0].update(size_bytes=91), "91 bytes of 'c0.00' are in memory"),
        (lambda b: b["bars"].append(b["bars"][-1]), "'c3.00' is given back and was not loaded"),
        (lambda b: b["bars"].insert(0, nothing_freed(b)), "'c0.00' is given back and was not"),
        (lambda b: b["bars"][-1].update(size_bytes=11), "-1 bytes of 'c3.00' are in memory"),
        (lambda b: b["bars"].reverse(), "not in the order of their ends"),
        (lambda b: doubled(b), "is called twice in one, iteration 0"),
        (lambda b: b["chunks"][0].update(chunk="c9.00"), "chunks: there is no 'c9.00'"),
        (lambda b: b["chunks"].append(b["chunks"][0]), "chunks: 'c0.00' is there 2 times"),
        (lambda b: b.update(iterations=[["p9", 1]]), "iterations: there is no 'p9'"),
        (lambda b: b.update(iterations=[["p1", 5]]), "loop p1 does 6 to 6, not 5"),
        (lambda b: b.update(iterations=[["p1", 6], ["p1", 6]]), "'p1' is there 2 times"),
        (lambda b: b.update(device=""), "device: it has no name"),
        (lambda b: b.update(device="a\x1b[2J"), "device: .* is no name"),
        (lambda b: b.update(device="a\u202eb"), "device: .* is no name"),
        (lambda b: b.update(device="a" * 201), "device: .* is no name"),
        (lambda b: b.update(arithmetic="\n"), "arithmetic: .* is no name"),
        (lambda b: b["versions"].append(["numpy", "2\r"]), r"versions\.\d+: .* is no name"),
        (lambda b: b.update(date="today"), "date: 'today' is no time"),
        (lambda b: b.update(date="2026-13-28T09:30:00Z"), "is no time"),
        (lambda b: b.update(date="2026-11-28T09:30:00"), "is no time"),
        (lambda b: b.update(inputs=[["seed", 1]]), "inputs: there is no 'seed'"),
        (lambda b: b.update(inputs=[["seed", True]]), "of no allowed type"),
        (lambda b: b.update(inputs=[["seed", None]]), "of no allowed type"),
    ],
)
def test_runs_of_no_or_another_plan_are_refused(folder, change, message):
    rewrite(folder, change)
    with pytest.raises(PlanError, match=message) as caught:
        run_of(make_plan(), folder)
    assert str(caught.value).startswith(str(folder / FILE)) and len(str(caught.value)) < 1500


def nothing_freed(body):
    """Before anything is loaded."""
    return body["bars"][0] | {"queue": "free", "start_s": 0.0, "end_s": 0.0, "size_bytes": 0}


def doubled(body):
    """The first call, made once more in the moment in which it ended."""
    one = called(body)
    body["bars"].insert(body["bars"].index(one), one)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((("prompt", "x"), ("prompt", "y")), "'prompt' is there 2 times"),
        ((("prompt", 3),), "prompt is a text, not '3'"),
        ((("seed", "3"),), "seed is a seed, not '3'"),
        ((("guidance", "3"),), "guidance is a number, not '3'"),
        ((("guidance", 3), ("seed", -2), ("prompt", "\x1b")), None),
    ],
)
def test_inputs_are_those_of_the_plan(inputs, message):
    plan = with_inputs(make_plan())
    made = replace(run(make_plan(), NullDevice(None)), inputs=inputs)
    found = fault_of(plan, made)
    assert found is None if message is None else message in found


@pytest.mark.parametrize(("done", "kept"), [(0, False), (1, True), (6, True), (7, False)])
def test_a_loop_that_may_end_early_does_one_iteration_to_all(done, kept):
    plan = make_special_plan()
    made = replace(run(plan, NullDevice(None)), iterations=(("p1", done),), bars=())
    assert (fault_of(plan, made) is None) == kept


def test_no_call_is_after_the_end_of_its_loop():
    plan = make_special_plan()
    made = run(plan, NullDevice(None, None, ender(plan, {"p1": 3})))
    assert made.iterations == (("p1", 3),) and fault_of(plan, made) is None
    found = fault_of(plan, replace(made, iterations=(("p1", 2),)))
    assert "is called in one that was not done, iteration 2" in found


# ---------------------------------------------------------------- where it is written


def test_a_folder_that_cannot_be_written_costs_a_line(tmp_path):
    made = replace(run(make_plan(), NullDevice(None)), bars=())
    place = tmp_path / "nowhere" / FILE
    note = f"not recorded: {place} cannot be written"
    assert record_run(made, place, needed=False) == (note, "")
    fault = f"--record {place}: cannot be written (No such file or directory); name another file"
    assert record_run(made, place, needed=True) == ("", f"{fault} with --record")
    assert record_run(made, tmp_path / "x.json", needed=True) == ("", "")
    assert json.loads((tmp_path / "x.json").read_text()) == json.loads(json.dumps(encode(made)))
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_the_place_of_a_record_is_looked_at_before_the_run(tmp_path):
    assert place_for(tmp_path, None, "reference") == tmp_path / FILE
    assert place_for(tmp_path, tmp_path / "x.json", "reference") == tmp_path / "x.json"
    for chosen, message in (
        (tmp_path, "is a folder; name a file"),
        (tmp_path / "no" / "x.json", "there is no folder .*no; name a file"),
        (tmp_path / ("x" * 300), "name another file"),
    ):
        with pytest.raises(RunError, match=f"--record .*{message}"):
            place_for(tmp_path, chosen, "reference")


def test_folders_that_cannot_be_written_are_found_before_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda place, how: place != tmp_path or not how & os.W_OK)
    with pytest.raises(RunError, match="--record .*the folder cannot be written"):
        place_for(tmp_path, tmp_path / "x.json", "reference")
    with pytest.raises(RunError, match=r"x\.npy: cannot be written: its folder is read-only"):
        place_of(tmp_path / "x.npy")
    # Build folders may be read-only; that costs a line and not the run.
    assert place_for(tmp_path, None, "reference") == tmp_path / FILE


def test_many_loads_are_read_in_no_time():
    """A stranger's record of 100,000 loads of nothing, for one call each: seconds, not hours."""
    plan = make_plan()
    made = run(plan, NullDevice(None))
    calls = [e for e in made.bars if e.queue == "compute"]
    one = next(e for e in made.bars if e.queue == "load")
    pairs = [replace(one, size_bytes=0), replace(one, size_bytes=0, queue="free")] * 50_000
    long = replace(made, bars=tuple(sorted((*pairs, *calls), key=lambda e: e.end_s)))
    begun = time.process_time()
    assert fault_of(plan, long) is None
    observed_timeline(plan, long)
    assert time.process_time() - begun < 5


def test_a_call_waits_for_the_last_load_before_it():
    plan = make_plan()
    load = Bar("load", "c0.00", 0, 0, 0, 0.0, 2.0, 90)
    later = replace(load, start_s=4.0, end_s=5.0)
    call = Bar("compute", "c0.00", 0, 0, 0, 2.0, 3.0)
    made = replace(run(plan, NullDevice(None)), bars=(load, call, later))
    [wait] = observed_timeline(plan, made).waits
    assert (wait.start_s, wait.end_s, wait.chunk) == (0.0, 2.0, "c0.00")
    # A load that ended before the call before did is not waited for.
    again = replace(call, start_s=3.0, end_s=4.0, label="c0.01", step=1)
    early = replace(load, label="c0.01", end_s=3.0)
    made = replace(made, bars=(load, call, early, again, later))
    assert len(observed_timeline(plan, made).waits) == 1


def test_the_null_device_never_takes_the_place_of_what_was_observed(tmp_path):
    """Its own records it may replace; nothing that it does not know."""
    made, path = run(make_plan(), NullDevice(None)), tmp_path / FILE
    assert place_for(tmp_path, None, "null") is None
    assert place_for(tmp_path, path, "null") == path
    write_run(made, path)
    assert place_for(tmp_path, path, "null") == path
    (tmp_path / "link.json").symlink_to(path)
    for other in (encode(replace(made, device="reference")), {}, [], {"device": "null"}):
        path.write_text(json.dumps(other))
        for place in (path, tmp_path / "link.json"):
            with pytest.raises(RunError, match="no record of the null device.*name another file"):
                place_for(tmp_path, place, "null")
            assert place_for(tmp_path, place, "reference") == place
