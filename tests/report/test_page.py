"""The page as text: escaped, closed, small, the same each time; and the command's errors."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from entracte.cli.plan import app
from entracte.clock.timeline import Timeline, predicted
from entracte.codec import decode, encode
from entracte.ir import Plan
from entracte.plan.file import write_plan
from entracte.report import model
from entracte.report.helps import helps
from entracte.report.model import page_of
from entracte.report.page import as_json, asset, render
from entracte.report.policies import compared
from entracte.report.sweep import SweepRow, render_sweep
from tests.planner.plans import plan_of
from tests.planner.programs import DOUBLE_BUFFER, Part

EVIL = "<img src=x onerror=alert(1)>&\"'\u2028</script><script>alert(2)</script>"
LIMIT_BYTES = 2_000_000


def rendered(plan, run=None) -> str:
    return render(page_of(plan, compared(plan), run, helps(plan)))


class Tags(HTMLParser):
    """Every element and attribute of a page, in order; the contents of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.scripts, self.inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside = tag == "script"
        if self.inside:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "script"

    def handle_data(self, data):
        if self.inside:
            self.scripts[-1] += data


def evil_plan(plan: Plan) -> Plan:
    """Title, target, stage, chunk and settings hold markup."""
    text = json.dumps(encode(plan))
    for name in ('"c0.00"', '"c0"', '"A toy pipeline"', '"A toy device"', '"p1"'):
        text = text.replace(name, json.dumps(name.strip('"') + EVIL))
    named = decode(Plan, json.loads(text))
    return replace(named, settings=json.dumps({EVIL: EVIL}))


def test_names_with_markup_stay_text(plan):
    plain, evil = Tags(rendered(plan)), Tags(rendered(evil_plan(plan)))
    # One row more: the setting. Otherwise the very same elements.
    assert {t for t, _ in evil.tags} - {t for t, _ in plain.tags} == set()
    assert len(evil.scripts) == len(plain.scripts) == 3
    assert not [a for _, a in evil.tags if any(k.startswith("on") for k in a)]
    assert not [t for t, a in evil.tags if t == "img"]
    assert evil.scripts[1:] == plain.scripts[1:]
    data = json.loads(evil.scripts[0])
    assert data["title"] == "A toy pipeline" + EVIL
    assert data["chunks"][0]["id"] == "c0.00" + EVIL


def test_json_cannot_leave_its_element():
    text = as_json({"</script>": ["<!--", "\u2028", "&", "]]>"]})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"</script>": ["<!--", "\u2028", "&", "]]>"]}


def test_the_policy_names_the_two_scripts_and_lets_nothing_be_fetched(plan):
    page = Tags(rendered(plan))
    policy = next(a["content"] for t, a in page.tags if "http-equiv" in a)
    digests = [
        base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in page.scripts[1:]
    ]
    assert re.findall(r"'sha256-([^']+)'", policy) == digests
    assert policy.startswith("default-src 'none'; script-src ")
    assert "unsafe-eval" not in policy
    linked = [v for _, a in page.tags for k, v in a.items() if k in ("src", "href")]
    assert not [v for v in linked if not v.startswith(("#", "data:,"))]


def test_the_same_plan_gives_the_same_bytes(plan, run):
    assert rendered(plan, run) == rendered(plan, run)


def test_the_figures_are_the_plans(plan):
    page = Tags(rendered(plan))
    values = {a["id"]: a["data-value"] for _, a in page.tags if "data-value" in a and "id" in a}
    f = plan.forecast
    assert int(values["peak"]) == f.peak_bytes
    assert int(values["budget"]) == plan.target.budget_bytes
    assert int(values["loaded"]) == f.loaded_bytes
    assert int(values["loads"]) == f.loads
    assert float(values["makespan"]) == f.makespan_s
    assert float(values["stall"]) == f.stall_s
    assert float(values["ratio"]) == f.makespan_s / f.lower_bound_s


def test_the_targets_figures_are_told_as_they_were_typed(plan):
    target = replace(plan.target, memory_bytes=3_300_000_000, load_bandwidth=650e6)
    settings = json.dumps({"target": {"memory": "3.3GB", "load_bandwidth": "650MB"}})
    text = rendered(replace(plan, target=target, settings=settings))
    assert '<dd id="limit">3.3 GB</dd>' in text and "<dd>650 MB/s, " in text


@pytest.fixture(scope="module")
def large() -> Plan:
    """As many chunks and steps as the full-size pipeline, most of them streamed."""
    shape = (Part(1, (9_000_000,) * 24), Part(30, (2_000_000,) * 28), Part(1, (500_000,) * 12, 3))
    return plan_of(shape, DOUBLE_BUFFER, 9_000_000)


def paged(timeline: Timeline, pages: int) -> Timeline:
    """Every load and free in so many pages."""
    made = []
    for e in timeline.bars:
        if e.queue == "compute":
            made.append(e)
            continue
        step = (e.end_s - e.start_s) / pages
        for k in range(pages):
            start = e.start_s + k * step
            size = e.size_bytes // pages
            made.append(replace(e, start_s=start, end_s=start + step, size_bytes=size))
    return Timeline(tuple(sorted(made, key=lambda e: e.start_s)), timeline.waits,
                    timeline.makespan_s)  # fmt: skip


def test_a_full_size_page_stays_under_two_megabytes(large, monkeypatch):
    assert len(predicted(large).bars) > 1800
    assert len(rendered(large).encode()) < LIMIT_BYTES
    monkeypatch.setattr(model, "predicted", lambda plan: paged(predicted(plan), 12))
    page = page_of(large, compared(large))
    assert len(page.tracks[0].memory.at) > 9_000
    assert len(render(page).encode()) < LIMIT_BYTES


def test_a_dry_run_says_what_is_missing(plan):
    text = rendered(replace(plan, built=False, packages=()))
    assert "dry run, not built" in text
    assert "nothing was built" in text
    assert "<code>plan verify BUILD</code> runs every package" in rendered(plan)


def test_compression_errors_are_shown_once_measured(plan):
    first, *rest = plan.packages
    scored = replace(
        plan,
        packages=(replace(first, psnr_db=41.27), replace(rest[0], psnr_db=999.0), *rest[1:]),
    )
    text = rendered(scored)
    assert f"2 of {len(plan.chunks)} chunks" in text
    assert '<td class="n" data-sort="41.27">41.3 dB</td>' in text
    assert '<td class="n" data-sort="999.0">equal</td>' in text
    assert 'id="psnr"' in text and 'id="psnr"' not in rendered(plan)


def test_the_bundle_goes_with_the_licences_of_what_is_in_it():
    root = Path(__file__).parents[2]
    wanted = json.loads((root / "tools/report_assets/package.json").read_text())["dependencies"]
    licences = asset("vendor.LICENSES.txt")
    assert wanted
    for name, version in wanted.items():
        assert f"\n{name} {version}, " in licences


# ---------------------------------------------------------------- the command


def report(*arguments) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["report", *map(str, arguments)])
    return done.exit_code, " ".join(done.output.split())


@pytest.fixture
def build(plan, tmp_path):
    folder = tmp_path / "build"
    folder.mkdir()
    write_plan(plan, folder)
    return folder


def test_the_command_writes_into_the_build_folder_or_where_told(build, plan, tmp_path):
    code, told = report(build)
    assert (code, told) == (0, f"wrote {build / 'report.html'}")
    assert (build / "report.html").read_text() == rendered(plan)
    code, told = report(build / "plan.json", "-o", tmp_path / "mine.html")
    assert (code, told) == (0, f"wrote {tmp_path / 'mine.html'}")
    assert (tmp_path / "mine.html").read_text() == rendered(plan)
    assert sorted(p.name for p in build.iterdir()) == ["plan.json", "report.html"]


def test_the_command_shows_the_folders_run_or_the_one_given(build, plan, run, tmp_path):
    (build / "run.json").write_text(json.dumps(encode(run)))
    assert report(build)[0] == 0
    assert (build / "report.html").read_text() == rendered(plan, run)
    other = tmp_path / "other.json"
    other.write_text(json.dumps(encode(replace(run, device="elsewhere"))))
    assert report(build, "--run", other)[0] == 0
    assert "Observed on elsewhere" in (build / "report.html").read_text()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda f: (f / "plan.json").unlink(), "there is no plan.json here"),
        (lambda f: cut(f / "plan.json"), "not a whole JSON file"),
        (lambda f: age(f / "plan.json"), "plan version 99, this Entracte"),
        (lambda f: (f / "run.json").write_text("{"), "run.json: not a whole JSON file"),
        (lambda f: (f / "run.json").write_text("[]"), "run.json: no record of a run"),
        (
            lambda f: (f / "run.json").write_text('{"wall_s": 1}'),
            "Run lacks 'device'",
        ),
    ],
)
def test_bad_files_end_with_one_message_and_leave_nothing(build, spoil, told):
    spoil(build)
    code, said = report(build)
    assert code == 1
    assert said.startswith("error: ") and told in said
    assert "Traceback" not in said
    assert not [p for p in build.iterdir() if "report" in p.name]


def cut(path):
    path.write_text(path.read_text()[:500])


def age(path):
    whole = json.loads(path.read_text())
    whole["plan"]["version"] = 99
    path.write_text(json.dumps(whole))


def test_a_plan_of_too_many_steps_is_refused_before_it_is_drawn(tmp_path):
    plan = plan_of((Part(1, (90,)), Part(6, (70,))), DOUBLE_BUFFER, 40)
    first, loop = plan.program.segments
    endless = replace(plan.program, segments=(first, replace(loop, count=200_000)))
    write_plan(replace(plan, program=endless), tmp_path)
    code, said = report(tmp_path)
    assert code == 1 and "200001 steps, at most 15000 are possible" in said


def test_a_place_that_cannot_be_written_is_named(build, tmp_path):
    code, said = report(build, "-o", tmp_path / "no" / "page.html")
    assert code == 1 and "cannot be written (No such file" in said and "--out" in said
    code, said = report(build, "--run", tmp_path / "none.json")
    assert code == 1 and "there is no such file" in said


# ---------------------------------------------------------------- sweeps


def test_a_sweep_shows_every_row_and_names_the_fastest():
    fast = SweepRow(
        label="a=1", target="toy", budget_bytes=100, fits=True, peak_bytes=90, makespan_s=2.0,
        loaded_bytes=300, lower_bound_s=1.6, pareto=True,
    )  # fmt: skip
    slow = replace(fast, label="a=2", makespan_s=3.0, pareto=False)
    none = SweepRow(label=EVIL, target="toy", budget_bytes=5, fits=False, reason="needs " + EVIL)
    text = render_sweep([slow, fast, none])
    page = Tags(text)
    rows = [a["data-sort"] for t, a in page.tags if t == "td" and a["class"] == "t name"]
    assert rows == ["a=2", "a=1", EVIL]
    assert "2 of 3 fit; the fastest is <b>a=1</b> on toy: 2.00 s with a peak of 90 B" in text
    assert "1.25 ×" in text
    assert not [t for t, _ in page.tags if t == "img"]
    assert len(page.scripts) == 3
    assert text == render_sweep([slow, fast, none])


def test_a_sweep_of_nothing_that_fits_has_no_chart():
    row = SweepRow(label="a", target="toy", budget_bytes=5, fits=False, reason="too small")
    text = render_sweep([row])
    assert "0 of 1 fit." in text and 'id="scatter"' not in text and "too small" in text
    assert ">no</span>" in text and ">failed</span>" not in text


def test_a_job_that_failed_is_told_from_one_that_does_not_fit():
    fault = SweepRow(
        label="a", target="toy", budget_bytes=5, fits=False, failed=True, reason="no such file"
    )
    text = render_sweep([fault])
    assert "0 of 1 fit, 1 failed." in text and "no such file" in text
    assert ">failed</span>" in text and ">no</span>" not in text


def test_a_sweep_leads_to_its_plans_and_no_name_leaves_its_link():
    good = SweepRow(
        label="a=1", target="toy", budget_bytes=100, fits=True, makespan_s=2.0, psnr_db=41.25,
        folder='x"><script>,a=1', has_report=True,
    )  # fmt: skip
    rows = [good, replace(good, label="a=2", folder="../y", has_report=False, psnr_db=999.0)]
    text = render_sweep(rows, ("time", "db"), "2 of 9 are tried")
    ways = [a["href"] for t, a in Tags(text).tags if t == "a" and a.get("class") != "skip"]
    assert ways == [
        "./x%22%3E%3Cscript%3E%2Ca%3D1/report.html",
        "./x%22%3E%3Cscript%3E%2Ca%3D1/plan.json",
        "../y/plan.json",
    ]
    assert "2 of 9 are tried" in text and ">41.2 dB<" in text and ">equal<" in text
    assert "at least as good in predicted time and dB" in text and 'id="quality"' in text
