"""What `plan show` prints, at 80 columns: golden."""

import io

import pytest
from rich.console import Console
from typer.testing import CliRunner

from compiler.cli.plan import app
from compiler.cli.observed import run_lines, run_table
from compiler.cli.show import show_plan, show_summary
from compiler.ir import ChunkRun, Run
from compiler.plan import write_plan
from compiler.units import (
    compact_bytes,
    compact_seconds,
    format_bytes,
    format_seconds,
    parse_bytes,
)
from tests.planner.plans import make_plan, make_special_plan


def printed(draw, width=80) -> str:
    console = Console(width=width, record=True, file=io.StringIO(), highlight=False)
    draw(console)
    text = console.export_text()
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def test_show_plan(golden):
    text = printed(lambda c: show_plan(c, make_plan()))
    golden.check(text)
    assert max(len(line) for line in text.splitlines()) <= 80


def test_show_a_loop_that_may_end_early_and_changes_functions(golden):
    text = printed(lambda c: show_plan(c, make_special_plan()))
    golden.check(text)
    assert max(len(line) for line in text.splitlines()) <= 80


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


def test_claimed_against_observed(golden):
    plan = make_plan()
    chunks = tuple(
        ChunkRun(
            chunk=c.id, loads=3, calls=60, load_s=0.3, exec_s=7.5, peak_activation_bytes=600_000
        )
        for c in plan.chunks
    )
    run = Run(
        device="reference",
        wall_s=9.5,
        peak_bytes=200,
        stall_s=0.25,
        loaded_bytes=4096,
        chunks=chunks,
    )

    def draw(console):
        console.print(run_table(plan, run))
        console.print("\n".join(run_lines(plan, run)))

    text = printed(draw)
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


def test_json_is_the_plan(tmp_path):
    import json

    write_plan(make_plan(), tmp_path)
    result = CliRunner().invoke(app, ["show", str(tmp_path), "--json"])
    assert json.loads(result.output)["pipeline"] == "toy"


def test_sizes_and_times_print_and_parse():
    assert [format_bytes(n) for n in (0, 1023, 1536, 5 * 2**20, 3.3 * 2**30)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "5.0 MiB",
        "3.30 GiB",
    ]
    assert [compact_bytes(n) for n in (0, 999, 2048, 1.2 * 2**20, 150 * 2**20)] == [
        "0B",
        "999B",
        "2K",
        "1.2M",
        "150M",
    ]
    assert [compact_seconds(s) for s in (0, 3e-4, 0.0042, 0.5, 1.35, 75)] == [
        "0us",
        "300us",
        "4.2ms",
        "500ms",
        "1.35s",
        "1m15s",
    ]
    assert [format_seconds(s) for s in (3e-4, 0.0042, 1.35, 750)] == [
        "300 us",
        "4.2 ms",
        "1.35 s",
        "12 min 30 s",
    ]
    assert parse_bytes("3.3GB", "x") == 3_300_000_000
    assert parse_bytes("24MiB", "x") == 24 * 2**20
    assert parse_bytes(17, "x") == 17
