"""Observed above proven is an alarm, in every command that reads a run; and a run is never lost.

The device here is a stand-in that counts as the null device does, computes what it is told to, and
may say that its calls took more than the plan claims.
"""

import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from entracte.cli.observed import run_lines, show_alarm, show_run
from entracte.cli.plan import app
from entracte.codec import encode
from entracte.devices.null import NullDevice
from entracte.errors import WriteError
from entracte.ir import ChunkRun, Run
from entracte.plan.file import CONSTANTS, write_plan
from entracte.run.alarm import alarm_of
from entracte.run.execute import run_build
from entracte.run.origin import plan_digest
from entracte.run.outputs import FORMATS
from entracte.run.record import FILE, run_of, write_run
from entracte.run.runner import Outcome, run_plan
from tests.planner.plans import make_plan

VALUE = np.arange(4, dtype=np.float16) / 4


def made(plan, over: int = 0, chunk: str = "", more: int = 0, arithmetic: str = "") -> Run:
    """A record whose peak is so many bytes over the claim, and a chunk's activations are."""
    chunks = tuple(
        ChunkRun(
            chunk=f.id,
            loads=1,
            calls=1,
            load_s=1.0,
            exec_s=1.0,
            peak_activation_bytes=f.activation_bytes + (more if f.id == chunk else 0),
        )
        for f in plan.facts
    )
    return Run(
        device="toy",
        wall_s=9.0,
        peak_bytes=plan.forecast.peak_bytes + over,
        stall_s=0.0,
        loaded_bytes=1,
        chunks=chunks,
        plan=plan_digest(plan),
        arithmetic=arithmetic,
    )


@pytest.mark.parametrize(
    ("how", "names"),
    [
        ({}, None),
        ({"over": -1}, None),
        ({"over": 1}, ["peak memory"]),
        ({"chunk": "c1.01", "more": 1}, ["activations of c1.01"]),
        ({"over": 5, "chunk": "c2.00", "more": 2}, ["peak memory", "activations of c2.00"]),
        # fp32 arithmetic has larger activations by itself; the peak is the peak.
        ({"chunk": "c1.01", "more": 1, "arithmetic": "fp32"}, None),
        ({"chunk": "c1.01", "more": 1, "arithmetic": "round"}, ["activations of c1.01"]),
        ({"over": 1, "arithmetic": "fp32"}, ["peak memory"]),
    ],
)
def test_one_byte_above_is_an_alarm_and_none_is_not(how, names):
    plan = make_plan()
    alarm = alarm_of(plan, made(plan, **how))
    if names is None:
        assert alarm is None
        return
    assert [x.name for x in alarm.over] == names
    extra = [how[k] for k in ("over", "more") if how.get(k)]
    assert [x.observed_bytes - x.claimed_bytes for x in alarm.over] == extra
    if how.get("over"):
        assert alarm.over[0].claimed_bytes == plan.forecast.peak_bytes
    wanted = "--policy hybrid" if how.get("arithmetic") == "fp32" else "Do not ship"
    assert wanted in alarm.remedy


# ---------------------------------------------------------------- what it looks like


def drawn(draw, width=80, colour=False) -> str:
    out = io.StringIO()
    system = "truecolor" if colour else None
    draw(Console(width=width, file=out, force_terminal=colour, color_system=system))
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_it_says_what_it_means_and_what_to_do_without_colour(width):
    plan = make_plan()
    text = drawn(lambda c: show_run(c, plan, made(plan, 1000)), width)
    assert "\nALARM: observed above proven\n" in text
    assert "peak memory: observed 1.19 KiB, claimed 221 B (+1000 B)" in text
    flat = " ".join(text.split())
    assert "The proof does not hold for this run" in flat and "Do not ship this build" in flat
    assert max(map(len, text.splitlines())) <= width
    assert "ALARM" not in drawn(lambda c: show_run(c, plan, made(plan)), width)


def test_it_is_red():
    plan = make_plan()
    alarm = alarm_of(plan, made(plan, 1))
    text = drawn(lambda c: show_alarm(c, alarm, "build/x"), colour=True)
    assert "\x1b[1;31m" in text and "in the recorded run of build/x" in text
    assert drawn(lambda c: show_alarm(c, None), colour=True) == ""


@pytest.mark.parametrize(("count", "end"), [(8, ""), (9, "and 1 more"), (20, "and 12 more")])
def test_of_many_it_tells_eight(count, end):
    plan = make_plan()
    alarm = alarm_of(plan, made(plan, 1))
    alarm = replace(alarm, over=tuple(replace(alarm.over[0], name=f"x{i}") for i in range(count)))
    text = drawn(lambda c: show_alarm(c, alarm))
    assert "x7: observed" in text and "x8: observed" not in text
    assert end in text and text.count(" more\n") == bool(end)


def test_names_in_it_are_text():
    plan = make_plan()
    alarm = alarm_of(plan, made(plan, 1))
    alarm = replace(alarm, over=(replace(alarm.over[0], name="[red]x[/]"),))
    assert "[red]x[/]" in drawn(lambda c: show_alarm(c, alarm, "[b]build[/b]"))
    assert "[b]build[/b]" in drawn(lambda c: show_alarm(c, alarm, "[b]build[/b]"))


@pytest.fixture
def build(tmp_path):
    """A folder with a plan, whose run may be recorded with `record`."""
    folder = tmp_path / "build"
    folder.mkdir()
    write_plan(make_plan(), folder)
    return folder


def record(folder: Path, **how) -> Run:
    run = made(make_plan(), **how)
    write_run(run, folder / FILE)
    return run


def command(*words) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(map(str, words)))
    return done.exit_code, done.output


@pytest.mark.parametrize("options", [[], ["--stage", "c1"], ["--chunk", "c1.01"]])
def test_show(build, options):
    record(build)
    code, text = command("show", build, *options)
    assert code == 0 and "ALARM" not in text
    record(build, over=7)
    code, text = command("show", build, *options)
    assert code == 1 and text.count("ALARM: observed above proven") == 1
    assert "(+7 B)" in text
    code, text = command("show", build / "plan.json", *options, "--json")
    alarm = json.loads(text)["alarm"]
    claim = make_plan().forecast.peak_bytes
    over = {"name": "peak memory", "claimed_bytes": claim, "observed_bytes": claim + 7}
    assert code == 1 and alarm["over"] == [over] and alarm["meaning"] and alarm["remedy"]
    record(build)
    code, text = command("show", build, *options, "--json")
    assert code == 0 and json.loads(text)["alarm"] is None
    assert json.loads(text)["observed"]["plan"] == plan_digest(make_plan())


def test_a_plan_without_a_run_has_no_alarm(build):
    for words in (["show", build], ["report", build], ["compare", build, build]):
        assert command(*words)[0] == 0
    assert json.loads(command("show", build, "--json")[1])["alarm"] is None


def test_report(build, tmp_path):
    record(build, over=7)
    code, text = command("report", build)
    assert code == 1 and "wrote" in text and "ALARM: observed above proven" in text
    page = (build / "report.html").read_text()
    assert 'role="alert"' in page and "Alarm: observed above proven" in page
    assert "peak memory: observed 228 B, claimed 221 B (+7 B)" in page
    assert "Do not ship this build" in page
    assert '<span class="chip good">fits</span>' not in page
    assert page.count('<tr class="alarmed">') == 1
    record(build, chunk="c1.01", more=3)
    assert command("report", build)[0] == 1
    page = (build / "report.html").read_text()
    assert "activations of c1.01: observed 22 B, claimed 19 B (+3 B)" in page
    assert page.count('<tr data-chunk="c1.01" class="alarmed">') == 1
    record(build)
    code, text = command("report", build)
    page = (build / "report.html").read_text()
    assert code == 0 and "ALARM" not in text
    assert 'role="alert"' not in page and '<span class="chip good">fits</span>' in page
    other = tmp_path / "other.json"
    write_run(made(make_plan(), over=1), other)
    assert command("report", build, "--run", other)[0] == 1


def test_trace(build, tmp_path):
    out = tmp_path / "trace.json"
    for over, status in ((0, 0), (7, 1)):
        record(build, over=over)
        code, text = command("trace", build, "--out", out)
        assert code == status and text.count("ALARM: observed above proven") == status
        assert json.loads(out.read_text())["traceEvents"]


def test_verify(build, monkeypatch):
    """Packages that are what they should be, in a run that takes more than is proven."""
    from entracte.verify import verify
    from entracte.verify.folder import Verified

    plan = make_plan()

    class Source:
        of = classmethod(lambda cls, *_: cls())

    alarms = [None, alarm_of(plan, made(plan, over=7))]
    runs = iter(Outcome({"y": VALUE}, made(plan), alarm) for alarm in alarms for _ in range(2))
    monkeypatch.setattr(verify, "SourceDevice", Source)
    monkeypatch.setattr(verify, "execute", lambda *_, **__: next(runs))
    monkeypatch.setattr(verify, "_Recorder", lambda: SimpleNamespace(note=None, samples=Samples()))
    monkeypatch.setattr(verify, "_outputs", lambda *_: [(VALUE, VALUE)])
    for alarm in alarms:
        whole = verify.verify_plan(plan, build, NullDevice(), {})
        found = Verified(plan, whole.chunks, whole)
        assert whole.alarm == alarm and found.passed == (alarm is None)
        monkeypatch.setattr("entracte.cli.verify.verify_build", lambda *_, found=found, **__: found)
        code, text = command("verify", build, "--no-save")
        assert code == int(alarm is not None) and ("ALARM" in text) == bool(code)
        assert "; passed" in text


class Samples(dict):
    """No inputs of any chunk."""

    def __missing__(self, _):
        return []


def test_compare(build, tmp_path):
    fine = tmp_path / "fine"
    fine.mkdir()
    write_plan(make_plan(), fine)
    record(fine)
    record(build, over=7)
    for pair, where in (([fine, build], 1), ([build, fine], 0)):
        code, text = command("compare", *pair, "--max-time-increase", "0")
        flat = " ".join(text.split())
        assert code == 1 and "within --max-time-increase" in flat
        assert flat.count("ALARM: observed above proven in the recorded run of") == 1
        code, text = command("compare", *pair, "--json")
        told = json.loads(text)
        alarms = [told["alarm"], told["compared"][0]["alarm"]]
        assert code == 1 and told["worse"] is False
        assert alarms[where]["over"][0]["name"] == "peak memory" and alarms[1 - where] is None
    assert command("compare", fine, fine)[0] == 0
    assert command("compare", fine, build / "plan.json")[0] == 1


@pytest.mark.parametrize(("before", "after"), [(5000, 10), (10, 5000)])
def test_the_peak_has_what_was_there_at_the_begin_or_at_the_end_of_a_call(before, after):
    """One call's activations and tensors on top: no less, and nothing of another call."""

    class Changing(NullDevice):
        now = before

        def call(self, *given):
            found = super().call(*given)
            self.now = after
            return found

        def resident_bytes(self):
            found, self.now = self.now, before
            return found

        def activation_peak_bytes(self):
            return 100

    plan = make_plan()
    constants = {p.name: VALUE for p in plan.program.constants}
    run = run_plan(plan, Path("nowhere"), Changing(), {}, constants=constants).run
    assert run.peak_bytes in [5100 + 8 * k for k in range(1, 8)]
    assert {c.peak_activation_bytes for c in run.chunks} == {100}


# ---------------------------------------------------------------- what plan run leaves


class Stand(NullDevice):
    """Computes `VALUE`, and needs `activations` bytes for it."""

    name = "stand"

    def __init__(self, activations: int) -> None:
        super().__init__()
        self.activations, self.arithmetic = activations, "hybrid"

    def activation_peak_bytes(self) -> int:
        return self.activations

    def fetch(self, value):
        return VALUE


@pytest.fixture
def runnable(build, monkeypatch):
    """`build` with its constants, on a device that needs 1 byte, or what the test says."""
    from safetensors.numpy import save_file

    save_file({p.name: VALUE for p in make_plan().program.constants}, build / CONSTANTS)
    monkeypatch.setattr("entracte.run.execute.check_files", lambda *_: None)
    device = Stand(1)
    monkeypatch.setattr("entracte.run.execute.make_device", lambda *_: device)
    return build, device


def test_run_writes_the_output_and_the_record_and_then_exits_with_1(runnable, tmp_path):
    build, device = runnable
    out = tmp_path / "x.npy"
    code, text = command("run", build, "--out", out)
    assert code == 0 and "ALARM" not in text and f"wrote {out}" in text.replace("\n", "")
    assert run_of(make_plan(), build).peak_bytes <= make_plan().forecast.peak_bytes
    out.unlink()
    device.activations = 1000
    code, text = command("run", build, "--out", out)
    assert code == 1 and "ALARM: observed above proven" in text
    np.testing.assert_array_equal(np.load(out), VALUE)
    run = run_of(make_plan(), build)
    assert run.peak_bytes >= 1000 and run.arithmetic == "hybrid" and run.device == "stand"
    assert "peak memory" in text and "activations of c0.00" in text
    assert f"wrote {out}" in text.replace("\n", "")
    assert command("show", build)[0] == 1


def test_from_python_the_outcome_has_it(runnable, tmp_path):
    build, device = runnable
    assert run_build(build, out=tmp_path / "x.npy").alarm is None
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), VALUE)
    assert not (build / FILE).exists()
    device.activations = 1000
    alarm = run_build(build).alarm
    assert alarm.over[0].name == "peak memory"
    assert alarm.over[0].observed_bytes == run_build(build).run.peak_bytes


class Broken:
    """A writer that raises at the first piece, or at the end."""

    def __init__(self, error, path, at_end):
        self.error, self.path, self.at_end = error, path, at_end

    def take(self, piece):
        self.path.write_bytes(b"half")
        if not self.at_end:
            raise self.error

    def finish(self, spools):
        raise self.error

    def abandon(self):
        pass


def broken(monkeypatch, error, at_end=False):
    """Files that end in .npy are written by `Broken`."""
    row = replace(FORMATS[".npy"], open=lambda _, path: Broken(error, path, at_end))
    monkeypatch.setitem(FORMATS, ".npy", row)


FULL_DISK = OSError(28, "No space left on device")


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ValueError("width not divisible by 2"),
         "cannot be encoded (ValueError: width not divisible by 2)"),
        (FULL_DISK, "cannot be written (No space left on device)"),
    ],
)  # fmt: skip
def test_what_a_writer_cannot_write_is_kept_and_recorded(
    runnable, tmp_path, monkeypatch, error, why, at_end
):
    build, _ = runnable
    broken(monkeypatch, error, at_end)
    code, text = command("run", build, "--out", tmp_path / "x.npy")
    flat = text.replace("\n", "")
    assert code == 1 and why in flat and f"; its tensor is kept in {tmp_path}/x.partial-" in flat
    assert "wrote" not in text and "Traceback" not in text and "peak    claimed" in text
    [kept] = [p for p in tmp_path.iterdir() if p != build]
    assert str(kept) in flat
    np.testing.assert_array_equal(np.load(kept), VALUE)
    assert run_of(make_plan(), build) is not None


def test_where_nothing_can_be_kept_it_says_so_and_the_run_is_recorded(
    runnable, tmp_path, monkeypatch
):
    build, _ = runnable
    broken(monkeypatch, FULL_DISK)
    monkeypatch.setattr("entracte.run.spool.Spool.write_npy", lambda *_: 1 / 0)
    code, text = command("run", build, "--out", tmp_path / "x.npy")
    assert code == 1 and "nor could its tensor be kept: it is lost" in " ".join(text.split())
    assert not list(tmp_path.glob("x*")) and run_of(make_plan(), build) is not None


def test_a_record_that_cannot_be_written_loses_no_output(runnable, tmp_path, monkeypatch):
    build, _ = runnable

    monkeypatch.setattr("entracte.cli.observed.write_run", full_disk_for_records)
    out = tmp_path / "x.npy"
    code, text = command("run", build, "--out", out)
    assert code == 0 and "not recorded" in text and out.exists()
    out.unlink()
    code, text = command("run", build, "--out", out, "--record", tmp_path / "r.json")
    flat = " ".join(text.split())
    assert code == 1 and "cannot be written (No space left on device); with --record" in flat
    assert f"wrote {out}" in text.replace("\n", "") and out.exists()


def test_both_faults_are_told(runnable, tmp_path, monkeypatch):
    build, _ = runnable
    broken(monkeypatch, FULL_DISK)
    monkeypatch.setattr("entracte.cli.observed.write_run", full_disk_for_records)
    words = ["--out", tmp_path / "x.npy", "--record", tmp_path / "r.json"]
    code, text = command("run", build, *words)
    flat = " ".join(text.split())
    assert code == 1 and flat.count("error:") == 1
    assert flat.index("its tensor is kept in") < flat.index("--record")


def full_disk_for_records(run, path, **_):
    raise WriteError(f"{path}: cannot be written (No space left on device); with --record")


def test_a_place_that_cannot_be_is_found_before_the_run(runnable, tmp_path):
    build, device = runnable
    for words in (
        ["--record", tmp_path / "no" / "r.json", "--out", tmp_path / "x.npy"],
        ["--out", tmp_path / "no" / "x.npy"],
        ["--input", "guidance", "--out", tmp_path / "x.npy"],
    ):
        code, text = command("run", build, *words)
        assert code == 1 and "error:" in text
    assert device.log == []


def test_the_null_device_leaves_the_record_alone_and_says_so(runnable, tmp_path, monkeypatch):
    build, _ = runnable
    assert command("run", build, "--out", tmp_path / "x.npy")[0] == 0
    before = (build / FILE).read_bytes()
    monkeypatch.setattr("entracte.run.execute.make_device", lambda *_: NullDevice())
    code, text = command("run", build, "--device", "null")
    assert code == 0 and (build / FILE).read_bytes() == before
    assert "not recorded: device null only counts" in text
    assert command("run", build, "--device", "null", "--record", build / FILE)[0] == 1
    assert (build / FILE).read_bytes() == before
    other = tmp_path / "null.json"
    assert command("run", build, "--device", "null", "--record", other)[0] == 0
    assert json.loads(other.read_text())["device"] == "null"
    (build / FILE).unlink()
    assert command("run", build, "--device", "null")[0] == 0 and not (build / FILE).exists()


# ---------------------------------------------------------------- lines of a record


def test_lines_of_a_record():
    plan = make_plan()
    bare = made(plan)
    assert run_lines(plan, bare)[0].startswith("peak    claimed at most 221 B, observed 221 B")
    run = replace(
        bare,
        date="2026-11-28T09:30:00Z",
        inputs=(("prompt", "a\n\x1b[31m" + "b" * 100), ("seed", -3), ("guidance", 3.5)),
        anonymous_peak_bytes=3 * 2**20,
        start_bytes=2**20,
    )
    lines = run_lines(plan, run)
    text = " ".join(" ".join(lines).split())
    told = json.dumps("a\n\x1b[31m" + "b" * 50)[:-1] + '..."'
    assert f"run 2026-11-28T09:30:00Z: prompt {told}, seed -3, guidance 3.5" in text
    assert "the process took at most 3 MiB more than before the run" in text
    assert "1 MiB of it stayed when all was given back: the process's own start" in text
    assert "stayed" not in " ".join(run_lines(plan, replace(run, start_bytes=0)))
    assert "the process" not in " ".join(run_lines(plan, replace(run, anonymous_peak_bytes=None)))
    assert max(map(len, lines)) <= 80
    for count, told in ((60, "c" * 60), (61, "c" * 57 + "...")):
        long = replace(bare, date=run.date, inputs=(("prompt", "c" * count),))
        assert f'prompt "{told}"' in " ".join(" ".join(run_lines(plan, long)).split())
    assert run_lines(plan, replace(bare, date=run.date))[0] == "run     2026-11-28T09:30:00Z"


def test_a_record_is_encoded_with_all_that_it_names():
    body = encode(made(make_plan()))
    for name in ("plan", "inputs", "date", "versions", "device", "arithmetic", "start_bytes"):
        assert name in body
