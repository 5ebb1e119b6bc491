"""`compile ... advise=techniques`: which combinations there are, what is typed for them, and what a
first-block test is said to take. Decisions are made up but for one slow test."""

import io
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from entracte.cli import techniques, techniques_ranked
from entracte.cli.techniques_ranked import _MEASURED, INTERVAL, LEAP, REUSE, TEST
from entracte.declare.compose import compose
from entracte.declare.read import read
from entracte.inspect.expected import declared_share
from entracte.units import compact_seconds

DOCS = Path(__file__).parent.parent / "docs" / "techniques.md"
OWN = "pipeline.stages.denoise.reuse={first: 1, last: 0, at: {change: 0.1, expected: 0.3}}"
OTHER = "pipeline.stages.denoise.reuse={first: 2, last: 1, at: {change: 0.2}}"


@pytest.fixture
def shown(monkeypatch):
    """What is printed, and each job that was declared: a step takes a second, blocks that may rest
    nine, and the leap, which takes about half of the steps, is faster in both."""
    jobs = []

    def decided(job, _):
        jobs.append(job)
        return SimpleNamespace(workload=job, schedule=None)

    def predicted(job, _, share=1.0):
        count = next(x.count for x in job.pipeline.loops if x.name == "sample")
        return SimpleNamespace(makespan_s=count * (1 + 9 * share), loaded_bytes=0)

    monkeypatch.setattr(techniques_ranked, "decide_job", decided)
    monkeypatch.setattr(techniques_ranked, "predict", predicted)
    traced = SimpleNamespace(measured=None)
    monkeypatch.setattr("entracte.trace.wire.trace_pipeline", lambda *_, **__: traced)

    def show(*words, width=80, only=None):
        if only is not None:
            monkeypatch.setattr(techniques, "combinations", lambda: map(frozenset, only))
            monkeypatch.setattr(techniques_ranked, "combinations", lambda: map(frozenset, only))
        out = io.StringIO()
        config = compose(["target=iphone15pro", *words])
        techniques.show_techniques(Console(file=out, width=width), config)
        return out.getvalue(), jobs

    return show


def row(text, name):
    (found,) = re.findall(rf"^ {re.escape(name)}  +(.*?) *$", text, re.MULTILINE)
    return re.split(r"  +", found)


def test_tests_are_ranked_by_the_share_that_was_measured(shown):
    text, jobs = shown()
    share = _MEASURED[frozenset({TEST})].share
    # 30 steps of a second, and nine more in the share of them.
    seconds = 30 * (1 + 9 * share)
    time, ends, at, _, right, psnr = row(text, "test")
    assert time == compact_seconds(seconds)
    assert (ends, at) == ("30.0s-5m00s", f"{share:.0%}")
    assert (right, psnr) == ("98% / 100%", "43.5 dB")
    assert row(text, "plain")[0] == "5m00s"
    names = re.findall(r"^ (plain|[a-z]+(?: \+ [a-z]+)*)  ", text, re.MULTILINE)
    assert names.pop(0) == "technique" and len(names) == len(jobs) == 13
    assert {n for n in names if "test" in n} == {
        "test", "leap + test", "interval + test", "leap + interval + test"
    }  # fmt: skip
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "the demo's, measured" in " ".join(text.split())


def test_what_is_typed_declares_the_same_job(shown):
    """The line below the table, typed, is the job that was timed."""
    text, jobs = shown(only=({REUSE}, {TEST}, {LEAP, INTERVAL, TEST}))
    lines = typed(text)
    assert lines.keys() == {"reuse", "test", "leap + interval + test"}
    for name, words in lines.items():
        job = read(compose(["target=iphone15pro", *words]))
        assert job.settings in {job.settings for job in jobs}, name
        stage = next(s for s in job.pipeline.stages if s.name == "denoise")
        assert bool(stage.reuse and stage.reuse.change) == ("test" in name)
        assert (declared_share(job.settings) is not None) == ("test" in name)


def typed(text):
    """Name -> words, of the lines below the table."""
    below = text[text.index("PSNR") :]
    pattern = r"^((?:leap|interval|apart|reuse|test)[a-z +]*): *((?:\n?\S+=\S+ ?)+)$"
    return {n: w.split() for n, w in re.findall(pattern, below, re.MULTILINE)}


def test_a_declared_share_is_taken(shown):
    text, _ = shown(OWN, only=({TEST}, {}))
    assert row(text, "test")[:3] == [compact_seconds(30 * (1 + 9 * 0.3)), "30.0s-5m00s", "30%"]
    assert row(text, "plain")[0] == "5m00s", "the plain one has no test"
    assert "the share `at` that is declared" in " ".join(text.split())
    assert "{change:0.1,expected:0.3}" in text
    assert row(text, "test")[4:] == ["98% / 100%", "43.5 dB"]


def test_of_another_test_nothing_was_measured(shown):
    """Its time is that of all blocks."""
    text, _ = shown(OTHER, only=({TEST}, {REUSE}))
    assert row(text, "test") == ["5m00s", "30.0s-5m00s", "0B"], "neither a share nor fidelity"
    assert "{first:2,last:1,at:{change:0.2}}" in text
    assert "in all, since the demo's test was another one" in " ".join(text.split())
    assert row(text, "reuse")[-1] == "38.9 dB"


def test_the_figures_are_those_of_the_page():
    """Of the table of 72 clips: accuracy, PSNR, and the share of blocks that ran, of which one of
    six runs in every step of each half."""
    names = {
        frozenset({TEST}): ("test 0.1", 1.0),
        frozenset({LEAP, TEST}): ("LPL static, test 0.1", 16 / 30),
        frozenset({INTERVAL, TEST}): ("interval 0-15, test 0.1", 45 / 60),
        frozenset({LEAP, INTERVAL, TEST}): ("LPL static, interval 0-8, test 0.1", 24 / 60),
    }
    page = DOCS.read_text()
    for on, (name, steps) in names.items():
        known = _MEASURED[on]
        found = re.search(
            rf"^\| {name} \| ([\d.]+) \| ([\d.]+) % \| ([\d.]+) % \| ([\d.]+) ", page, re.MULTILINE
        )
        blocks, seen, held_out, psnr = map(float, found.groups())
        assert (known.seen, known.held_out) == pytest.approx((seen / 100, held_out / 100), abs=1e-3)
        assert known.psnr_db == psnr
        assert steps * (1 + 5 * known.share) / 6 == pytest.approx(blocks, abs=0.011)
