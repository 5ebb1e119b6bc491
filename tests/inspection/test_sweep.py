"""Sweeps: rows, Pareto-optimal points, the table, and the commands from end to end."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from entracte.cli.sweep import counts, reasons, show_sweep, sweep_table
from entracte.cli.sweep_job import Made, SweepJob, labels
from entracte.compile.folder import check_out
from entracte.compile.job import compile_job
from entracte.errors import ConfigError, DoesNotFit
from entracte.plan.file import read_plan, write_plan
from entracte.report.pareto import usual, with_pareto
from entracte.report.sweep import SweepRow
from tests.demo import STEPS, job
from tests.inspection.hostile import NAME
from tests.planner.plans import make_plan
from tests.planner.test_show import fits, printed

MADE = Made(fits=True, peak_bytes=90, makespan_s=2.5, loaded_bytes=300, lower_bound_s=2.0)


def row(label: str, peak: int, seconds: float, *, target: str = "t", fit: bool = True) -> SweepRow:
    return SweepRow(
        label=label,
        target=target,
        budget_bytes=2000,
        fits=fit,
        reason="" if fit else "does not fit: stage `x` needs 3 KiB",
        peak_bytes=peak if fit else 0,
        makespan_s=seconds if fit else 0.0,
        loaded_bytes=4096 if fit else 0,
        lower_bound_s=0.5,
    )


def test_pareto_by_hand():
    rows = [
        row("fast and large", 900, 1.0),
        row("slow and small", 100, 9.0),
        row("beaten by both", 900, 9.0),
        row("the same as the first", 900, 1.0),
        row("as fast but larger", 901, 1.0),
        row("does not fit", 0, 0.0, fit=False),
        row("alone on its target", 950, 20.0, target="u"),
    ]
    marked = {r.label for r in with_pareto(rows) if r.pareto}
    assert marked == {
        "fast and large",
        "slow and small",
        "the same as the first",
        "alone on its target",
    }
    assert [replace(r, pareto=False) for r in with_pareto(rows)] == rows


def test_pareto_with_decibels_by_hand():
    """More dB are better."""
    rows = [
        replace(row("slow, exact", 900, 3.0), psnr_db=60.0),
        replace(row("slow, coarse", 900, 3.0), psnr_db=20.0),
        replace(row("fast, coarse", 800, 1.0), psnr_db=20.0),
        row("not verified", 1, 0.1),
    ]
    marked = [r.label for r in with_pareto(rows, ("time", "memory", "db")) if r.pareto]
    assert marked == ["slow, exact", "fast, coarse"]
    assert [r.label for r in with_pareto(rows) if r.pareto] == ["not verified"]
    assert usual(rows) == ("time", "memory") and usual(rows[:3]) == ("time", "memory", "db")
    text = printed(lambda c: c.print(sweep_table(rows, 80, ("time", "db"))))
    assert "none of the same target is better in all of time, db" in text and "60.0" in text


def some_rows():
    return with_pareto(
        [
            row("target.memory=24MiB compression=none", 1900, 2.0),
            row("target.memory=24MiB compression=int8", 1500, 1.5),
            row("target.memory=2MiB compression=none", 0, 0.0, fit=False),
            row("target.memory=24MiB compression=none", 1900, 3.0, target="u"),
            replace(
                row("target.memory=24MiB compression=x", 0, 0.0, target="u", fit=False),
                failed=True,
                reason="compression: there is no `x`",
            ),
        ]
    )


def test_the_table(golden):
    def draw(console):
        console.print(sweep_table(some_rows(), console.width))
        console.print("\n".join(reasons(some_rows())), markup=False)

    text = printed(draw)
    golden.check(text)
    assert fits(text, 80)


def test_what_became_of_all_jobs_in_one_line():
    jobs = [outcome(Path(), was_known=True)] * 2 + [outcome(Path())] * 3
    assert counts(jobs, some_rows()) == (
        "5 jobs, 2 known from an earlier sweep, 1 without a fit, 1 failed"
    )
    assert counts(jobs[4:], some_rows()[:1]) == "1 job"


def test_folders_differ_where_names_cannot_hold_the_overrides(tmp_path):
    """Two jobs must never write the same folder."""
    plain = outcome(tmp_path, "target.memory=24MiB", "sampler.steps=2").folder("toy")
    assert plain == tmp_path / "toy-target.memory=24MiB,sampler.steps=2"
    alike = [f"pipeline.weights={w}" for w in ("/a/b", "/a.b", "/a:b", "/a_b")]
    alike += ["x=" + "long" * 99 + end for end in "ab"]
    folders = [outcome(tmp_path, word).folder("toy") for word in alike]
    assert len(set(folders)) == len(alike)
    assert all(len(f.name.encode()) < 200 and f.parent == tmp_path for f in folders)
    assert folders == [outcome(tmp_path, word).folder("toy") for word in alike]


def test_jobs_with_other_keys_show_whole_overrides():
    rows = [row("a=1 b=2", 1, 1.0), row("a=1", 1, 1.0), row("default", 1, 1.0)]
    text = printed(lambda c: c.print(sweep_table(rows, 80)))
    assert "a=1 b=2" in text and "default" in text and " job " in text


def outcome(base: Path, *words: str, **more) -> SweepJob:
    return SweepJob(words, " ".join(words), "toy", more.pop("dry_run", True), base, 100, **more)


def test_labels_leave_out_what_all_jobs_share():
    jobs = [outcome(Path(), "target=toy", "steps=2", f"memory={m}") for m in (1, 2)]
    assert labels(jobs) == ["memory=1", "memory=2"]
    assert labels(jobs[:1]) == ["steps=2 memory=1"]
    assert labels([outcome(Path(), "target=toy")]) == ["default"]


def test_not_to_fit_is_an_answer_to_a_dry_run_only():
    unfit, wrong = DoesNotFit("does not fit"), ConfigError("wrong")
    assert not outcome(Path(), error=unfit).failed
    assert outcome(Path(), error=unfit, dry_run=False).failed
    assert outcome(Path(), error=wrong).failed
    assert not outcome(Path(), made=MADE).failed


def test_what_a_sweep_leaves(tmp_path):
    base = tmp_path / "many"
    jobs = [
        outcome(base, f"name={NAME}", made=MADE),
        outcome(base, "name=x", error=DoesNotFit("does not fit: <b>[red]")),
        outcome(base, "name=y", error=ConfigError("name: no such name")),
    ]
    text = printed(lambda c: show_sweep(c, jobs), 200)
    assert NAME in text and "<b>[red]" in text and "sweep.html" in text
    page = (base / "sweep.html").read_text()
    assert "<script>alert(1)" not in page and "does not fit: &lt;b&gt;" in page
    rows = json.loads((base / "sweep.json").read_text())["rows"]
    assert [r["fits"] for r in rows] == [True, False, False]
    assert [r["failed"] for r in rows] == [False, False, True]
    assert rows[2]["reason"] == "name: no such name"
    assert rows[0]["makespan_s"] == 2.5
    assert {p.name for p in base.iterdir()} == {"sweep.html", "sweep.json"}


# ---------------------------------------------------------------- folders of dry runs


def test_a_dry_run_never_replaces_a_build(tmp_path):
    build, dry = tmp_path / "build", tmp_path / "dry"
    for folder, built in ((build, True), (dry, False)):
        folder.mkdir()
        write_plan(make_plan(built=built), folder)
    with pytest.raises(ConfigError, match="a build is there, .* choose another name"):
        check_out(build, dry_run=True)
    check_out(build)
    check_out(dry, dry_run=True)
    (dry / "plan.json").write_text("from another version")
    with pytest.raises(ConfigError, match="a build is there"):
        check_out(dry, dry_run=True)


def test_a_dry_run_writes_its_plan_where_it_is_told_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "dry"
    built = compile_job(job(out, "dry_run=true"))
    assert [p.name for p in out.iterdir()] == ["plan.json"]
    plan = read_plan(out)
    assert plan == built.plan and not plan.built and not plan.packages
    compile_job(job(out, "dry_run=true"))
    compile_job(replace(job(out, "dry_run=true"), out=None))
    assert [p.name for p in tmp_path.iterdir()] == ["dry"]


def compile_command(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "entracte.cli.compile", *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=600,
    )  # fmt: skip


def test_a_sweep_of_dry_runs_from_end_to_end(tmp_path):
    done = compile_command(
        "-m", "+target=iphone15pro,host", "target.memory=20.5MiB,64MiB", "dry_run=true",
        f"sampler.steps={STEPS}", "out=many", "sweep.jobs=2", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "(1 of 4) compile" in done.stdout and "(4 of 4) compile" in done.stdout
    assert "Sweep" in done.stdout and "no (1)" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    rows = json.loads((tmp_path / "many" / "sweep.json").read_text())["rows"]
    fitting = [r for r in rows if r["fits"]]
    assert len(rows) == 4 and 1 <= len(fitting) < 4
    folders = [p for p in (tmp_path / "many").iterdir() if p.is_dir()]
    plans = {p.name: read_plan(p) for p in folders}
    assert sorted(p.forecast.makespan_s for p in plans.values()) == sorted(
        r["makespan_s"] for r in fitting
    )
    assert not any(p.built for p in plans.values())
    assert {p.target.name for p in plans.values()} == {"iphone15pro", "host"}
    again = compile_command(
        "-m", "+target=iphone15pro,host", "target.memory=20.5MiB,64MiB", "dry_run=true",
        f"sampler.steps={STEPS}", "out=many", cwd=tmp_path,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert "4 jobs, 4 known from an earlier sweep" in again.stdout
    assert json.loads((tmp_path / "many" / "sweep.json").read_text())["rows"] == rows
    # Hydra's own multirun.yaml is not left behind.
    assert [p.name for p in tmp_path.iterdir()] == ["many"]


def test_a_job_that_cannot_be_read_is_one_of_the_jobs(tmp_path):
    """Also where it is what the sweep itself asks for."""
    done = compile_command(
        "-m", "+target=iphone15pro", "dry_run=true", "sampler.steps=2",
        "target.memory=1MiB", "out=many,${nowhere.x}", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr
    assert "2 of the sweep's jobs failed:" in done.stderr
    rows = json.loads((tmp_path / "many" / "sweep.json").read_text())["rows"]
    assert ["nowhere.x" in r["reason"] for r in rows] == [False, True]
