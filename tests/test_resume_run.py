"""`plan run --snapshots`: killed in the middle of its loop, the demo goes on to the same bytes."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

from entracte.run.execute import open_build
from entracte.run.keeper import Snapshots
from entracte.run.snapshot import FILE

GIVEN = {"prompt": "a red circle moves right", "seed": 3}
RUN = """
import sys, time
from dataclasses import replace
from pathlib import Path
from entracte.run.execute import open_build
from entracte.run.keeper import Snapshots

build, folder, out = sys.argv[1:]
opened = replace(
    open_build(build, device="reference", out=out), snapshots=Snapshots(Path(folder), share=1e9)
)
# Slower, so that it is hit in the middle.
opened.compute({"prompt": "a red circle moves right", "seed": 3}, lambda *_: time.sleep(0.05))
"""


def killed(build, folder, out, step: int) -> None:
    """With no chance to tidy up, once the snapshot of a step or a later one is there."""
    process = subprocess.Popen([sys.executable, "-c", RUN, *map(str, (build, folder, out))])
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        names = sorted(p.name for p in folder.glob("state-*.safetensors"))
        if names and names[-1] >= f"state-{step:06}" and (folder / FILE).exists():
            break
        time.sleep(0.005)
    assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists()


def test_a_killed_run_goes_on_to_the_same_bytes(whole, tmp_path):
    wanted, found = tmp_path / "wanted.npz", tmp_path / "found.npz"
    open_build(whole, device="reference", out=wanted).run(GIVEN)
    folder = tmp_path / "snapshots"
    killed(whole, folder, found, 9)
    opened = open_build(whole, device="reference", out=found)
    outcome = replace(opened, snapshots=Snapshots(folder, resume=True)).run(GIVEN)
    assert found.read_bytes() == wanted.read_bytes()
    run, segment = outcome.run, opened.plan.program.segments[1]
    assert run.resumed is not None and run.resumed >= (1, 1)
    assert 0 < run.peak_bytes <= opened.plan.forecast.peak_bytes and outcome.alarm is None
    calls = {c.chunk: c.calls for c in run.chunks}
    left = segment.count - run.resumed[1] if run.resumed[0] == 1 else 0
    assert calls["denoise.00"] == left, "what was done is not done again"
    assert not folder.exists()
