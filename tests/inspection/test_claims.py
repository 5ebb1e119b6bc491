"""Claims beside what was observed, with figures worked out by hand; and what a run begins with."""

from dataclasses import replace

import numpy as np
import pytest

from entracte.cli.compare import _change, _differs, _percent, _short, _value, verdict
from entracte.cli.observed import run_table, show_run
from entracte.devices.null import NullDevice
from entracte.errors import PlanError, RunError
from entracte.inspect.claims import chunk_claims, claims
from entracte.inspect.compare import ChunkChange, Comparison, Figure, Limit
from entracte.ir import Bar, ChunkRun, Run
from entracte.plan.file import CONSTANTS, write_plan
from entracte.run.execute import load_constants, make_device, open_build
from tests.planner.plans import make_online_plan, make_plan, make_special_plan
from tests.planner.test_show import printed


def seen(chunk: str, loads: int = 4, calls: int = 5) -> ChunkRun:
    return ChunkRun(
        chunk=chunk, loads=loads, calls=calls, load_s=2.0, exec_s=10.0, peak_activation_bytes=3
    )


def made(**more) -> Run:
    return Run(
        device="toy", wall_s=9.0, peak_bytes=200, stall_s=0.25, loaded_bytes=4096,
        chunks=(seen("c1.00"), seen("c1.01", 0, 0)), **more,
    )  # fmt: skip


def test_claims_of_a_whole_run():
    plan = make_special_plan()
    run = made(iterations=(("p1", 4),))
    rows = {c.name: c for c in claims(plan, run)}
    f = plan.forecast
    assert [(n, c.kind, c.claimed, c.observed) for n, c in rows.items()] == [
        ("time", "seconds", f.makespan_s, 9.0),
        ("peak memory", "bytes", f.peak_bytes, 200),
        ("waiting for loads", "seconds", f.stall_s, 0.25),
        ("read", "bytes", f.loaded_bytes, 4096),
        ("loads", "count", f.loads, 4),
        ("iterations of p1", "count", 6, 4),
    ]
    assert rows["time"].note == "predicted for toy, observed on device toy"
    assert rows["iterations of p1"].note == "ended early"


def test_claims_of_chunks_are_of_one_load_and_one_call():
    """c1.00 has 70 bytes: 0.7 s at 100 bytes a second; a call takes 1 s."""
    first, second = chunk_claims(make_plan(), made())
    assert (first.chunk, first.calls, first.loads) == ("c1.00", 5, 4)
    assert first.load_s == (pytest.approx(0.7), 0.5) and first.exec_s == (1.0, 2.0)
    assert first.activation_bytes == (18, 3)
    # What was never loaded or called has its sums.
    assert (second.load_s[1], second.exec_s[1]) == (2.0, 10.0)


def test_of_planned_loads_the_first_is_cold_as_it_was_when_observed():
    """0.7 s each and 2 s more for the first of four: 4.8 s in all."""
    plan = make_plan()
    plan = replace(plan, facts=tuple(replace(f, cold_s=2.0) for f in plan.facts))
    first, never = chunk_claims(plan, made())
    assert first.load_s[0] == pytest.approx(4.8 / 4)
    assert never.load_s[0] == next(f.load_s for f in plan.facts if f.id == never.chunk)


@pytest.mark.parametrize(("size", "times"), [(4096, 2), (7000, 1)])
def test_a_load_is_of_a_page_where_pages_were_loaded(size, times):
    """c1.00 weighs 7000 bytes, two pages of 4 KiB."""
    plan = make_online_plan(4096)
    whole = next(f.load_s for f in plan.facts if f.id == "c1.00")
    run = made(bars=(Bar("load", "c1.00", 1, 0, 0, 0.0, 1.0, size),))
    first, _ = chunk_claims(plan, run)
    assert first.load_s[0] == pytest.approx(whole / times)
    # A free or a call of less says nothing.
    small = Bar("free", "c1.00", 1, 0, 0, 0.0, 1.0, 10)
    assert chunk_claims(plan, made(bars=(small,)))[0].load_s[0] == pytest.approx(whole)


def test_a_unit_that_both_have_is_written_once():
    plan = make_plan()
    chunks = (
        replace(seen("c1.00"), peak_activation_bytes=17),
        replace(seen("c1.01"), peak_activation_bytes=600_000),
    )
    run = replace(made(), chunks=chunks)
    text = printed(lambda c: c.print(run_table(plan, run)))
    assert "18/17B" in text and "19B/586KiB" in text
    assert "700ms/500ms" in text and "1.00s/2.00s" in text
    assert "Planned/observed on device toy" in text
    assert "peak    claimed" in printed(lambda c: show_run(c, plan, run))


# ---------------------------------------------------------------- plan compare


@pytest.mark.parametrize(
    ("figure", "value", "change", "percent"),
    [
        (Figure("peak", "bytes", 1024, 3072), "3KiB", "+2KiB", "+200.0 %"),
        (Figure("peak", "bytes", 2048, 1024), "1KiB", "-1KiB", "-50.0 %"),
        (Figure("makespan", "seconds", 2.0, 2.5), "2.50s", "+500ms", "+25.0 %"),
        (Figure("loads", "count", 0, 3), "3", "+3", ""),
        (Figure("loads", "count", 3, 3), "3", "", ""),
        (Figure("kept", "bool", 1, 0), "no", "-yes", "-100.0 %"),
        (Figure("PSNR", "decibels", 50, 61.4), "61 dB", "+11 dB", "+22.8 %"),
    ],
)
def test_figures_are_told_in_their_units(figure, value, change, percent):
    found = _value(figure, figure.after), _change(figure), _percent(figure)
    assert found == (value, change, percent)


def test_a_chunks_differences_are_before_and_after_or_its_own():
    figures = (Figure("weights", "bytes", 1024, 2048), Figure("kept", "bool", 0, 1))
    assert _differs(ChunkChange("c", "changed", figures)) == [
        "weights 1KiB -> 2KiB",
        "kept no -> yes",
    ]
    assert _differs(ChunkChange("c", "added", figures)) == ["weights 2KiB"]
    assert _differs(ChunkChange("c", "removed", figures)) == ["weights 1KiB"]


def test_what_fits_is_not_shortened():
    assert (_short("abcd", 4), _short("abcde", 4)) == ("abcd", "a...")


def test_a_verdict_names_figure_limit_and_option():
    figures = (Figure("makespan", "seconds", 2.0, 2.5), Figure("loaded", "bytes", 0, 1024))
    change = Comparison(settings=(), figures=figures, chunks=(), stages=(), stalls=())
    time, read = Limit("makespan", "2%", 0.02, 0.0), Limit("loaded", "0", None, 0.0)
    assert verdict("b", change, (), ()) == []
    assert verdict("b", change, (time, read), ()) == [
        "b: within --max-time-increase, --max-loaded-increase"
    ]
    assert verdict("b", change, (time, read), (time, read)) == [
        "worse: b: predicted time 2.00s -> 2.50s (+500ms, +25.0 %); --max-time-increase allows 2%",
        "worse: b: read 0B -> 1KiB (+1KiB); --max-loaded-increase allows 0",
    ]


# ---------------------------------------------------------------- what a run begins with


def constants_of(plan, folder, **arrays):
    from safetensors.numpy import save_file

    save_file(arrays, folder / CONSTANTS)
    return load_constants(plan, folder)


def test_constants_are_those_of_the_plan(tmp_path):
    plan = make_plan()
    [port] = plan.program.constants
    array = np.arange(4, dtype=np.float16)
    more = {"other": np.zeros(1, np.float32)}
    found = constants_of(plan, tmp_path, **{port.name: array}, **more)
    assert list(found) == [port.name]
    np.testing.assert_array_equal(found[port.name], array)
    for wrong in ({port.name: np.zeros(5, np.float16)}, more):
        with pytest.raises(RunError, match=rf"{CONSTANTS} lacks {port.name}, fp16 of \(4,\)"):
            constants_of(plan, tmp_path, **wrong)
    none = replace(plan, program=replace(plan.program, constants=()))
    assert load_constants(none, tmp_path / "nowhere") == {}


def test_auto_is_core_ml_on_a_mac(monkeypatch):
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    plan = make_plan()
    for unit, chosen in (("cpuAndGPU", "cpuAndGPU"), ("gpuOfTomorrow", "all")):
        target = replace(plan.target, compute_unit=unit)
        device = make_device("auto", replace(plan, target=target))
        assert (device.name, device._compute_unit) == ("coreml", chosen)
    assert make_device("null", plan)._budget == plan.target.budget_bytes


def test_what_cannot_be_is_found_in_order_and_before_any_device(tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError

    monkeypatch.setattr("entracte.run.execute.make_device", never)
    with pytest.raises(RunError, match=r"give one of \.mp4"):
        open_build(tmp_path / "nowhere", out=tmp_path / "x.avi")
    with pytest.raises(PlanError, match="no plan.json"):
        open_build(str(tmp_path), out=str(tmp_path / "x.npy"))
    write_plan(make_plan(built=False), tmp_path)
    with pytest.raises(PlanError, match="a dry run"):
        open_build(tmp_path)


def test_the_null_device_writes_no_output(tmp_path, monkeypatch):
    monkeypatch.setattr("entracte.run.execute.check_files", lambda *_: None)
    write_plan(make_plan(), tmp_path)
    opened = open_build(tmp_path, device="null", out=tmp_path / "x.npy")
    assert opened.out is None and isinstance(opened.device, NullDevice)
    monkeypatch.setattr("entracte.run.execute.make_device", lambda *_: NamedNull())
    # A vector is no video.
    with pytest.raises(RunError, match=r"mp4 files hold video, .* a file that ends in \.npy"):
        open_build(tmp_path, out=tmp_path / "x.mp4")
    assert open_build(tmp_path, out=tmp_path / "x.npy").out == tmp_path / "x.npy"


class NamedNull(NullDevice):
    name = "other"
