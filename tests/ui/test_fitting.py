"""Where it fits, on the page: a command that can be typed, and its rows as a table."""

import json

from entracte.cli.fits import fits_json
from entracte.fits.found import Fit
from entracte.ui.fitting import fits_html
from entracte.ui.shown import history_html, job_html
from entracte.ui.words import Chosen
from tests.ui.test_jobs import ended

FITS = Fit(
    target="a", title="A", limit="app", memory_bytes=2**30, budget_bytes=2**30,
    peak_bytes=2**20, makespan_s=90.0, chunks=7,
)  # fmt: skip
LACKS = Fit(
    target="b", title="B", limit="", memory_bytes=2**20, budget_bytes=2**20,
    missing=("too <b>large</b>",), least_memory_bytes=3 * 2**20,
)  # fmt: skip


def looked(studio, monkeypatch, *rows, chosen=None):
    monkeypatch.setenv("ENTRACTE_FAKE_FITS", fits_json(rows))
    task = studio.fits(chosen or Chosen({"target": "host"}, {}, "sampler.steps=3"))
    return task, ended(studio)


def test_it_is_a_command_and_its_rows_are_a_table(studio, monkeypatch):
    task, status = looked(studio, monkeypatch, FITS, LACKS)
    assert task.line == "plan fits sampler.steps=3 pipeline=tiny_t2v"
    assert status.state == "done" and json.loads("\n".join(status.lines))["rows"]
    text = fits_html(status)
    for cell in ("a", "app", "yes", "1MiB", "1GiB", "1m30s", "7", "b", "no", "3MiB"):
        assert f">{cell}</td>" in text, cell
    assert "<li>b: too &lt;b&gt;large&lt;/b&gt;</li>" in text
    assert "Nothing was run on any of these devices" in text
    assert "<b>where it fits</b>: done" in job_html(status)
    # The job says what to type, not what a program reads; the history has no report of it.
    assert "makespan_s" not in job_html(status) and task.line.split()[1] in job_html(status)
    told = history_html(studio.history.entries())
    assert "where it fits" in told and "report" not in told


def test_nowhere_is_a_table_too_and_no_rows_are_none(studio, monkeypatch):
    status = looked(studio, monkeypatch, LACKS)[1]
    assert status.state == "failed" and ">no</td>" in fits_html(status)
    assert "it fits on none of them" in history_html(studio.history.entries())
    chosen = Chosen({"target": "host", "pipeline": "on_device_sora"}, {})
    monkeypatch.setenv("ENTRACTE_FAKE_FITS", "{}")
    task = studio.fits(chosen)
    assert task.line == "plan fits pipeline=on_device_sora"
    assert fits_html(ended(studio)) == ""
