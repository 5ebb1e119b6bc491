"""What `plan show` prints, in 80 columns; the tables that grow with the width, in 140 too."""

import io
import json
import time
from dataclasses import replace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from entracte.cli.chunks import strip
from entracte.cli.console import Bars
from entracte.cli.observed import run_lines, show_run
from entracte.cli.plan import app
from entracte.cli.show import show_plan, show_summary
from entracte.cli.tables import Column, fitted, hanging
from entracte.inspect.overview import overview
from entracte.inspect.residency import Stay
from entracte.ir import ChunkRun, Run
from entracte.plan.file import write_plan
from entracte.plan.limits import MOST_STEPS
from entracte.run.origin import plan_digest
from entracte.run.record import FILE, write_run
from entracte.units import (
    compact_seconds,
    format_bytes,
    format_seconds,
    parse_bytes,
    typed_bytes,
)
from tests.inspection.hostile import NAME, hostile_plan
from tests.planner.plans import make_plan, make_special_plan, plan_of
from tests.planner.programs import SEQUENTIAL, Part


def printed(draw, width=80) -> str:
    console = Console(width=width, record=True, file=io.StringIO(), highlight=False)
    draw(console)
    text = console.export_text()
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def fits(text, width):
    return max(len(line) for line in text.splitlines()) <= width


@pytest.mark.parametrize("width", [80, 140])
def test_show_plan(golden, width):
    text = printed(lambda c: show_plan(c, make_plan()), width)
    golden.check(text)
    assert fits(text, width)


def test_show_a_loop_that_may_end_early_and_changes_functions(golden):
    text = printed(lambda c: show_plan(c, make_special_plan()))
    golden.check(text)
    assert fits(text, 80)


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_every_width_is_used_and_none_exceeded(width):
    """Long names, compressed and measured: the columns that are left still fit."""
    plan = make_plan()
    packages = tuple(replace(p, compression="int4_block32", psnr_db=41.5) for p in plan.packages)
    text = printed(lambda c: show_plan(c, replace(plan, packages=packages)), width)
    assert fits(text, width)
    assert "int4_block32" in text and "42 dB" in text
    assert ("in memory" in text) == (width >= 120)


def test_a_recorded_run_is_shown(golden):
    plan = make_plan()
    text = printed(lambda c: show_plan(c, plan, run=make_run(plan)))
    golden.check(text)
    assert fits(text, 80)


def test_names_are_printed_as_they_are(golden):
    """Rich's markup in names is text; so is HTML, which `plan report` must escape as well."""
    text = printed(lambda c: show_plan(c, hostile_plan()), 140)
    golden.check(text)
    assert f"{NAME}.00" in text
    assert "[bold red]A toy[/]" in text


def test_a_strip_shows_when_a_chunk_is_in_memory():
    stays = (Stay("a", 0.0, 2.0), Stay("a", 5.0, 5.5))
    assert strip(stays, 10.0, 10) == "##...+...."
    assert strip((Stay("a", 9.0, 10.0),), 10.0, 5) == "....+"
    assert strip((), 10.0, 3) == "..."


def test_an_early_end_is_told():
    plan = make_special_plan()
    run = Run(
        device="null",
        wall_s=1.0,
        peak_bytes=1,
        stall_s=0.0,
        loaded_bytes=1,
        chunks=(),
        iterations=(("p1", 4),),
    )
    assert run_lines(plan, run)[-1].strip() == "loop p1 did 4 of 6 iterations"


def test_show_one_stage(golden):
    golden.check(printed(lambda c: show_plan(c, make_plan(), stage="c1")))


def test_show_one_chunk(golden):
    golden.check(printed(lambda c: show_plan(c, make_plan(), chunk="c1.01")))


def make_run(plan) -> Run:
    chunks = tuple(
        ChunkRun(chunk=c.id, loads=3, calls=60, load_s=0.3, exec_s=7.5, peak_activation_bytes=16)
        for c in plan.chunks
    )
    return Run(
        device="reference",
        wall_s=9.5,
        peak_bytes=200,
        stall_s=0.25,
        loaded_bytes=4096,
        chunks=chunks,
        anonymous_peak_bytes=9_000_000,
        start_bytes=8_000_000,
        plan=plan_digest(plan),
        date="2026-11-28T09:30:00Z",
    )


def test_planned_against_observed(golden):
    plan = make_plan()
    text = printed(lambda c: show_run(c, plan, make_run(plan)))
    golden.check(text)
    assert max(len(line) for line in text.splitlines()) <= 80


def test_summary_of_a_dry_run(golden):
    golden.check(printed(lambda c: show_summary(c, make_plan(built=False), None, 1.25)))


@pytest.mark.parametrize("arguments", [["--stage", "nope"], ["--chunk", "c9.00"]])
def test_unknown_names_list_the_known(tmp_path, arguments):
    write_plan(make_plan(), tmp_path)
    result = CliRunner().invoke(app, ["show", str(tmp_path), *arguments])
    assert result.exit_code == 1
    assert "c0" in result.output


def test_json_says_what_the_tables_show(tmp_path):
    plan = make_plan()
    write_plan(plan, tmp_path)
    runner = CliRunner()
    made = json.loads(runner.invoke(app, ["show", str(tmp_path), "--json"]).output)
    assert made["pipeline"] == "toy" and made["built"] is True
    assert made["peak_bytes"] == plan.forecast.peak_bytes == made["peak"]["total_bytes"]
    assert made["makespan_s"] == plan.forecast.makespan_s
    assert [s["name"] for s in made["stages"]] == ["c0", "c1", "c2", "c3"]
    streamed = next(c for c in made["chunks"] if c["id"] == "c1.01")
    assert (streamed["loads"], streamed["loaded_bytes"], len(streamed["stays"])) == (6, 480, 6)
    assert (streamed["input_bytes"], streamed["output_bytes"]) == (8, 8)
    assert made["observed"] is None
    write_run(make_run(plan), tmp_path / FILE)
    again = runner.invoke(app, ["show", str(tmp_path / "plan.json"), "--json", "--stage", "c1"])
    made = json.loads(again.output)
    assert [c["id"] for c in made["chunks"]] == ["c1.00", "c1.01", "c1.02"]
    assert made["observed"]["wall_s"] == 9.5


@pytest.mark.parametrize("make", [make_plan, make_special_plan])
def test_stages_add_up_to_the_forecast(make):
    plan = make()
    made, f = overview(plan), plan.forecast
    assert sum(s.compute_s for s in made.stages) == pytest.approx(f.compute_s)
    assert sum(s.load_s for s in made.stages) == pytest.approx(f.loading_s)
    assert sum(s.wait_s for s in made.stages) == pytest.approx(f.stall_s)
    assert sum(s.loads for s in made.stages) == f.loads
    assert sum(c.loaded_bytes for c in made.chunks) == f.loaded_bytes


def test_sizes_and_times_print_and_parse():
    assert [format_bytes(n) for n in (0, 1023, 1536, 5 * 2**20, 3.3 * 2**30)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "5 MiB",
        "3.3 GiB",
    ]
    # Three digits; a zero at the end says that there is more behind it.
    assert [format_bytes(n) for n in (1037517, 1017000, 33000, 1100001, 1152)] == [
        "1013 KiB",
        "993 KiB",
        "32.2 KiB",
        "1.05 MiB",
        "1.13 KiB",
    ]
    assert [format_bytes(n) for n in (10237, 2**20 - 1, 2**30 - 1)] == [
        "10.0 KiB",
        "1.00 MiB",
        "1.00 GiB",
    ]
    assert [compact_seconds(s) for s in (0, 3e-4, 0.0042, 0.5, 1.35, 75)] == [
        "0us",
        "300us",
        "4.2ms",
        "500ms",
        "1.35s",
        "1m15s",
    ]
    assert [format_seconds(s) for s in (3e-4, 0.0042, 1.35, 750, 119.6)] == [
        "300 us",
        "4.2 ms",
        "1.35 s",
        "12 min 30 s",
        "2 min 0 s",
    ]
    assert parse_bytes("3.3GB", "x") == 3_300_000_000
    assert parse_bytes("24MiB", "x") == 24 * 2**20
    assert parse_bytes(17, "x") == 17


@pytest.mark.parametrize(
    ("typed", "size", "told"),
    [
        ("24MiB", 25165824, "24 MiB"),
        (" 1.50 GiB ", 1610612736, "1.50 GiB"),
        ("3.3GB", 3300000000, "3.3 GB"),
        ("90M", 90000000, "90 MB"),
        ("512Ki", 524288, "512 KiB"),
        ("65536", 65536, "64 KiB"),
        (65536, 65536, "64 KiB"),
        ("3.3GB", 3000000000, "2.79 GiB"),
        ("plenty", 1024, "1 KiB"),
        (None, 1024, "1 KiB"),
    ],
)
def test_what_was_typed_is_told_as_it_was_typed(typed, size, told):
    assert typed_bytes(typed, size) == told


@pytest.mark.parametrize(("typed", "told"), [("24MiB", "24 MiB"), ("25165824", "24 MiB")])
def test_the_limit_is_told_as_it_was_typed(typed, told):
    plan = make_plan()
    target = replace(plan.target, memory_bytes=25165824)
    settings = json.dumps({"target": {"memory": typed}})
    text = printed(lambda c: show_plan(c, replace(plan, target=target, settings=settings)))
    assert f"limit {told}; at step" in text


@pytest.mark.parametrize("settings", ["", "[1]", '{"target": []}', '{"target": {"memory": 1}}'])
def test_settings_that_name_no_limit_are_no_fault(settings):
    text = printed(lambda c: show_plan(c, replace(make_plan(), settings=settings)))
    assert "limit 242 B; at step" in text


def test_names_are_cut_before_numbers():
    columns = (
        Column("name", ["a" * 40, "b" * 18], left=True),
        Column("size", ["1013KiB", "1013KiB"]),
        Column("small", ["no", "yes"], 1),
    )
    text = printed(lambda c: c.print(fitted("Title", columns, 30)), 30)
    assert "a" * 18 + "…" in text and "b" * 18 in text
    assert text.count("1013KiB") == 2 and "small" not in text


def test_a_number_stays_with_its_unit():
    """Also the two of `1 min 26 s`; elsewhere lines are as full as they can be."""
    text = (
        "a" * 60
        + " it is 1 min 26 s of 5 and "
        + "b" * 44
        + " 12.5 MiB (100 %), 7 steps "
        + "c" * 9
    )
    assert hanging("label   ", text).splitlines() == [
        "label   " + "a" * 60 + " it is",
        "        1 min 26 s of 5 and " + "b" * 44,
        "        12.5 MiB (100 %), 7 steps " + "c" * 9,
    ]


def test_progress_bars_show_names_as_they_are():
    bars = Bars()
    bars.phase("run", 2)
    bars.start(NAME)
    assert NAME[:20] in printed(lambda c: c.print(bars._drawn()), 200)


@pytest.mark.parametrize("command", ["show", "trace", "report", "graph", "run", "compare"])
def test_a_plan_of_endless_steps_is_refused_at_once(tmp_path, monkeypatch, command):
    write_plan(make_plan(), tmp_path)
    monkeypatch.setattr("entracte.plan.limits.MOST_STEPS", 21)
    builds = [str(tmp_path)] * (2 if command == "compare" else 1)
    done = CliRunner().invoke(app, [command, *builds])
    assert done.exit_code == (2 if command == "compare" else 1)
    assert "22 steps, at most 21 are possible" in " ".join(done.output.split())


@pytest.mark.parametrize(
    "shape",
    [(Part(7499, (70, 80)),), (Part(149, tuple(range(100, 200))),)],
    ids=["many iterations", "many chunks"],
)
def test_the_largest_plans_are_shown_in_two_seconds(tmp_path, shape):
    """Of the processor: the machine may be busy."""
    plan = plan_of(shape, SEQUENTIAL, 100)
    assert 0.98 * MOST_STEPS < plan.program.step_count <= MOST_STEPS
    write_plan(plan, tmp_path)
    begun = time.process_time()
    assert CliRunner().invoke(app, ["show", str(tmp_path)]).exit_code == 0
    assert time.process_time() - begun < 2.0
