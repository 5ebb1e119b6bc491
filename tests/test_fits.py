"""`plan fits`: right values by hand, and by what a compile and a plan say of themselves."""

import json
from dataclasses import replace

import pytest
from hydra.core.global_hydra import GlobalHydra
from typer.testing import CliRunner

import entracte
from entracte.cli.fits import estimated_lines, fits_json
from entracte.cli.plan import app
from entracte.compile.job import compile_pipeline
from entracte.declare.profiles import Profile, profiles
from entracte.declare.read import read
from entracte.errors import ConfigError
from entracte.fits.found import fits_of_job, fits_of_plan, ranked
from entracte.plan.file import write_plan
from entracte.ui.tasks import fits_task

TIGHT = ("target.memory=24MiB", "policy=double_buffer")


@pytest.fixture(scope="module")
def plan():
    return compile_pipeline(["target=iphone15pro", "dry_run=true", *TIGHT]).plan


def device(name: str, **changed) -> Profile:
    (found,) = profiles(name, None).profiles
    return replace(found, target=replace(found.target, **changed))


def test_a_pipeline_is_what_a_dry_run_makes_of_it(plan):
    asked = profiles("iphone15pro", None, TIGHT)
    (fit,) = fits_of_job(read(asked.config), asked.profiles)
    f = plan.forecast
    assert (fit.peak_bytes, fit.makespan_s, fit.chunks) == (
        f.peak_bytes, f.makespan_s, len(plan.chunks),
    )  # fmt: skip
    assert fit.fits and fit.limit == "" and fit.budget_bytes == plan.target.budget_bytes
    assert GlobalHydra.instance().hydra is None


def test_what_is_too_little_is_a_row_with_the_memory_that_is_enough():
    """With what it says a compile fits, and with a MiB less it does not."""
    asked = profiles("iphone15pro", None, ("target.memory=21MiB",))
    (fit,) = fits_of_job(read(asked.config), asked.profiles)
    least = fit.least_memory_bytes
    assert not fit.fits and (fit.peak_bytes, fit.makespan_s, fit.chunks) == (None, None, 0)
    assert least is not None and least % 2**20 == 0
    assert f"`target.memory={least // 2**20}MiB`" in fit.missing[0]
    (enough,) = profiles("iphone15pro", None, (f"target.memory={least}B",)).profiles
    (less,) = profiles("iphone15pro", None, (f"target.memory={least - 2**20}B",)).profiles
    both = fits_of_job(read(asked.config), (enough, less))
    assert [f.fits for f in both] == [True, False]


def test_a_build_where_it_was_made_is_what_its_plan_says(plan):
    own = Profile(plan.target, "")
    (fit,) = fits_of_plan(plan, [own])
    assert fit.makespan_s == plan.forecast.makespan_s
    assert (fit.peak_bytes, fit.chunks) == (plan.forecast.peak_bytes, len(plan.chunks))


def test_a_build_takes_twice_as_long_where_all_is_half_as_fast(plan):
    t = plan.target
    slow = replace(
        t,
        load_bandwidth=t.load_bandwidth / 2,
        cold_bandwidth=t.cold_bandwidth / 2,
        load_overhead_s=t.load_overhead_s * 2,
        compute_flops=t.compute_flops / 2,
        memory_bandwidth=t.memory_bandwidth / 2,
        call_overhead_s=t.call_overhead_s * 2,
    )
    (fit,) = fits_of_plan(plan, [Profile(slow, "")])
    assert fit.makespan_s == pytest.approx(2 * plan.forecast.makespan_s, rel=1e-6)


def test_a_build_that_is_too_large_says_what_is_missing(plan):
    """A budget of the peak, and one byte less; packages, and the system that reads them."""
    peak = plan.forecast.peak_bytes
    largest = max(f.weight_bytes for f in plan.facts)
    exact = {"base_footprint_bytes": 0, "settle_fraction": 0.0}
    rows = fits_of_plan(
        plan,
        [
            device("iphone15pro", memory_bytes=peak, **exact),
            device("iphone15pro", memory_bytes=peak - 1, **exact),
            device("iphone15pro", chunk_limit_bytes=largest),
            device("iphone15pro", chunk_limit_bytes=largest - 1),
            device("iphone15pro", deployment="macOS15"),
            device("iphone15pro", deployment="iOS17"),
        ],
    )
    assert [fit.fits for fit in rows] == [True, False, True, False, True, False]
    assert "proven peak" in rows[1].missing[0]
    assert rows[1].least_memory_bytes == (peak // 2**20 + 1) * 2**20
    assert "for a package" in rows[3].missing[0] and rows[3].least_memory_bytes is None
    assert rows[5].missing == ("packages for iOS18 cannot be read by iOS17",)


def test_limits_are_chosen_by_name_where_a_target_has_them():
    found = profiles("iphone15pro,ipad_m4", "entitled").profiles
    assert [(p.target.name, p.limit) for p in found] == [
        ("iphone15pro", "entitled"), ("ipad_m4", "app"),
    ]  # fmt: skip
    assert [p.target.memory_bytes for p in found] == [6_000_000_000, 3_000_000_000]
    every = profiles("iphone15pro", "all").profiles
    assert [p.limit for p in every] == ["app", "entitled"]


@pytest.mark.parametrize(
    ("targets", "limit", "message"),
    [
        ("iphone15", None, r"--targets: 'iphone15' is not one of .*did you mean iphone15pro"),
        (" , ", None, "--targets: no name in"),
        ("all,host", None, "`all` holds the others"),
        ("iphone15pro", "entitle", "--limit entitle: no target .* app, entitled.*did you mean"),
    ],
)
def test_names_that_are_none_are_refused(targets, limit, message):
    with pytest.raises(ConfigError, match=message):
        profiles(targets, limit)


def test_fast_ones_come_first_then_what_lacks_least():
    rows = fits_of_plan_like((None, 5.0), (300, None), (None, 2.0), (200, None), (0, None))
    assert [fit.target for fit in ranked(rows)] == ["c", "a", "d", "b", "e"]


def fits_of_plan_like(*rows):
    """(least memory beyond 100, seconds) -> rows called a, b, c, ...; 0: something else is
    missing."""
    from entracte.fits.found import Fit

    return [
        Fit(
            target=name,
            title="",
            limit="",
            memory_bytes=100,
            budget_bytes=100,
            missing=() if seconds else ("x",),
            least_memory_bytes=least or None,
            makespan_s=seconds,
            sourced=("chunk_limit", *(() if name in "abcd" else ("memory",))),
            estimated=("memory",) if name in "abcd" else (),
        )
        for name, (least, seconds) in zip("abcde", rows, strict=True)
    ]


def test_estimates_are_told_by_figure():
    rows = fits_of_plan_like((None, 1.0), (None, 2.0), (None, 3.0), (None, 4.0), (None, 5.0))
    assert estimated_lines(rows) == ["estimated of all but e: memory"]
    assert estimated_lines(rows[3:]) == ["estimated of d: memory"]
    unknown = replace(rows[4], sourced=())
    assert estimated_lines([*rows[:2], unknown]) == ["estimated of a, b: memory"]
    assert estimated_lines(rows[:2]) == ["estimated of all: memory"]
    assert json.loads(fits_json(rows[:1]))["rows"][0]["fits"] is True


def test_the_command_on_a_build(plan, tmp_path, golden):
    """80 columns; all devices and not this machine; its exit status is 1 where none fits."""
    write_plan(plan, tmp_path)
    done = CliRunner().invoke(app, ["fits", str(tmp_path), "--quiet"], env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    golden.check(done.output)
    # As the web UI asks.
    _, *words = fits_task(("target.memory=21MiB",), "tiny_t2v").words
    done = CliRunner().invoke(app, [*words, "--targets", "iphone15pro", "--progress", "json"])
    assert done.exit_code == 1, done.output
    assert json.loads(done.stdout)["rows"][0]["fits"] is False


def test_words_that_name_nothing_are_one_message(tmp_path, plan, capsys):
    write_plan(plan, tmp_path)
    for words, message in (
        (["tiny_t2"], "did you mean tiny_t2v?"),
        ([str(tmp_path), "policy=online"], "is a build, whose settings were chosen"),
        (["tiny_t2v", "target=host", "--targets", "host"], "target=host is given too"),
    ):
        done = CliRunner().invoke(app, ["fits", *words])
        assert done.exit_code == 2
        assert message in " ".join((done.output + capsys.readouterr().err).split()), words


def test_from_python_it_is_the_command(plan, tmp_path):
    """A build's folder and the words of a compile, each as `plan fits` has them."""
    write_plan(plan, tmp_path)
    rows = entracte.fits_on(tmp_path, targets="iphone15pro,macbook_m3")
    told = CliRunner().invoke(
        app, ["fits", str(tmp_path), "--targets", "iphone15pro,macbook_m3", "--json"]
    )
    assert json.loads(told.stdout)["rows"] == json.loads(fits_json(rows))["rows"]
    (row,) = entracte.fits_on(["target=iphone15pro", *TIGHT])
    assert (row.makespan_s, row.peak_bytes) == (plan.forecast.makespan_s, plan.forecast.peak_bytes)
    for words, said in (
        ([str(tmp_path), "sampler.steps=3"], "is a build, whose settings were chosen"),
        ("nowhere", "nowhere: no build folder is there, and no pipeline has this name"),
        ([], "plan fits: give a build folder, a pipeline's name or KEY=VALUE"),
    ):
        with pytest.raises(ConfigError, match=said):
            entracte.fits_on(words)
