"""What changed between plans, and limits that make CI fail."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from entracte.cli.compare import show_comparison
from entracte.cli.plan import app
from entracte.errors import ConfigError
from entracte.inspect.compare import broken, compare, flat, limits
from entracte.ir import Policy
from entracte.plan.file import write_plan
from tests.inspection.hostile import NAME, hostile_plan
from tests.planner.plans import make_plan, plan_of
from tests.planner.programs import DOUBLE_BUFFER, Part
from tests.planner.test_show import fits, printed

FLAGS = {n: f"--{n}" for n in ("makespan", "peak", "loaded", "weights")}


def worse_plan():
    """One chunk more, another one larger, no overlap, other settings."""
    shape = (Part(1, (90, 40)), Part(6, (70, 95, 90, 5)), Part(1, (60,), repeat=3), Part(1, (10,)))
    plan = plan_of(shape, Policy("sequential", 0, False), 100)
    return replace(plan, settings='{"policy": {"name": "sequential"}, "steps": [1, 2], "x": {}}')


def base_plan():
    settings = '{"policy": {"name": "double_buffer"}, "steps": [1], "x": {}, "gone": null}'
    return replace(make_plan(), settings=settings)


def test_what_it_prints(golden):
    made = compare(base_plan(), worse_plan())
    text = printed(lambda c: show_comparison(c, "build/a", "build/b", made))
    golden.check(text)
    assert fits(text, 80)


def test_plans_that_are_the_same(golden):
    made = compare(base_plan(), base_plan())
    golden.check(printed(lambda c: show_comparison(c, "a", "a", made)))
    assert not made.settings and not made.chunks
    assert all(f.change == 0 for f in (*made.figures, *made.stalls))


def test_differences_are_told_by_key_and_chunk():
    made = compare(base_plan(), worse_plan())
    assert [(s.key, s.before, s.after) for s in made.settings] == [
        ("policy.name", '"double_buffer"', '"sequential"'),
        ("steps", "[1]", "[1, 2]"),
        ("gone", "null", "-"),
    ]
    how = {c.id: c.how for c in made.chunks}
    assert how["c1.03"] == "added" and how["c1.01"] == "changed"
    grown = next(c for c in made.chunks if c.id == "c1.01")
    assert ("weights", 80, 95) in [(f.name, f.before, f.after) for f in grown.figures]
    back = compare(worse_plan(), base_plan())
    assert {c.id: c.how for c in back.chunks}["c1.03"] == "removed"


def test_time_adds_up():
    a, b = base_plan(), worse_plan()
    made = compare(a, b)
    for k, plan in enumerate((a, b)):
        f = plan.forecast
        assert sum(s.compute_s[k] for s in made.stages) == pytest.approx(f.compute_s)
        assert sum(s.wait_s[k] for s in made.stages) == pytest.approx(f.stall_s)
    assert sum(s.after for s in made.stalls) == pytest.approx(b.forecast.stall_s)


def test_settings_are_data():
    assert flat('{"a": {"b\\u001b[2J": "\\u001b[31m"}}') == {r'a."b\u001b[2J"': r'"\u001b[31m"'}
    assert flat("no json") == {"settings": '"no json"'}
    assert flat("[" * 100_000)["settings"].startswith('"[[')
    made = compare(make_plan(), hostile_plan())
    text = printed(lambda c: show_comparison(c, "[b]a", "[/x]", made), 140)
    assert "[b]a -> [/x]" in text and NAME in text


@pytest.mark.parametrize(
    ("text", "change", "kept"),
    [
        ("0", 0.0, True),
        ("0", 1e-3, False),
        ("2%", 0.0199, True),
        ("2%", 0.0201, False),
        ("0.5s", 0.4 / 25, True),
        ("500ms", 0.6 / 25, False),
        ("0", -0.5, True),
    ],
)
def test_limits_of_time(text, change, kept):
    plan = make_plan()
    seconds = plan.forecast.makespan_s * (1 + change)
    other = replace(plan, forecast=replace(plan.forecast, makespan_s=seconds))
    found = broken(compare(plan, other), limits({"makespan": text}, FLAGS))
    assert (not found) == kept


@pytest.mark.parametrize(
    ("text", "kept"), [("0", False), ("10B", True), ("9B", False), ("5%", True)]
)
def test_limits_of_bytes(text, kept):
    plan = make_plan()
    peak = plan.forecast.peak_bytes + 10
    other = replace(plan, forecast=replace(plan.forecast, peak_bytes=peak))
    found = broken(compare(plan, other), limits({"peak": text, "loaded": None}, FLAGS))
    assert (not found) == kept


@pytest.mark.parametrize("text", ["soon", "2 percent", "-1s", "1MiB"])
def test_a_limit_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="--makespan: .* write 2%, 0.5s or 20ms"):
        limits({"makespan": text}, FLAGS)


@pytest.fixture
def builds(tmp_path):
    for name, plan in (("a", base_plan()), ("b", worse_plan()), ("c", base_plan())):
        (tmp_path / name).mkdir()
        write_plan(plan, tmp_path / name)
    return [str(tmp_path / name) for name in "abc"]


def test_exit_status_and_verdict(builds):
    def status(*arguments):
        return CliRunner().invoke(app, ["compare", *arguments]).exit_code

    a, b, c = builds
    assert status(a, b) == 0
    assert status(a, c, "--max-time-increase", "0", "--max-peak-increase", "0") == 0
    assert status(a, b, "--max-time-increase", "2%") == 1
    assert status(a, b, "--max-time-increase", "200%", "--max-loaded-increase", "1MiB") == 0
    assert status(a, b, "--max-weights-increase", "0") == 1
    assert status(b, a, "--max-weights-increase", "0", "--max-time-increase", "0") == 0
    assert status(a) == status(a, "nowhere") == status(a, b, "--max-peak-increase", "x") == 2
    told = CliRunner().invoke(app, ["compare", a, b, c, "--max-time-increase", "2%"]).output
    flat_told = " ".join(told.split())
    assert "worse:" in flat_told and "--max-time-increase allows 2%" in flat_told
    assert "within --max-time-increase" in flat_told


def test_json_has_everything(builds):
    a, b, c = builds
    done = CliRunner().invoke(app, ["compare", a, b, c, "--json", "--max-peak-increase", "0"])
    made = json.loads(done.output)
    assert made["worse"] is (done.exit_code == 1)
    assert [x["plan"] for x in made["compared"]] == [b, c]
    figures = {f["name"]: f for f in made["compared"][0]["figures"]}
    assert figures["makespan"]["after"] == worse_plan().forecast.makespan_s
    assert made["compared"][1]["settings"] == []


def test_a_base_of_nothing_divides_by_nothing():
    plan = plan_of((Part(1, (0,)),), DOUBLE_BUFFER, 0)
    made = compare(plan, make_plan())
    assert made.figure("loaded").before == 0
    assert broken(made, limits({"loaded": "5%"}, FLAGS))
    printed(lambda c: show_comparison(c, "a", "b", made))
