"""Stands in for the commands: tells progress as they do, and writes what it is asked for.

ENTRACTE_FAKE_PLAN is the plan that a compile writes. A word `wait` in the name of the place makes
it wait until it is interrupted; `fail` makes it fail.
"""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path


def told(**values):
    body = {
        "event": "unit", "phase": "trace", "name": "denoise", "done": 12, "of": 30,
        "unit_bytes": False, "phase_s": 1.0, "seconds": 2.0, "share": 0.4, "left_s": 75.0,
        "late": False, "loop": None,
    }  # fmt: skip
    print(json.dumps(body | values), file=sys.stderr, flush=True)


def main():
    words = sys.argv[1:]
    place = next((w.partition("=")[2] for w in words if w.startswith(("out=", "--out="))), "")
    loop = {"name": "sample", "iteration": 12, "count": 30, "each_s": 1.8, "sliced": False}
    told(loop=loop if words[0] == "plan" else None)
    print("note: told on the way", file=sys.stderr)
    if "fail" in place:
        print("error: target.memory: does not fit <b>at all</b>", file=sys.stderr)
        sys.exit(1)
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    for _ in range(600 if "wait" in place else 0):
        time.sleep(0.1)
    if words[0] == "compile":
        Path(place).mkdir(parents=True)
        shutil.copy(os.environ["ENTRACTE_FAKE_PLAN"], Path(place) / "plan.json")
        if "dry_run=true" not in words:
            (Path(place) / "packages").mkdir()
    elif place:
        Path(place).write_bytes(Path(os.environ["ENTRACTE_FAKE_PICTURE"]).read_bytes())
    if words[:2] == ["plan", "fits"]:
        print(os.environ["ENTRACTE_FAKE_FITS"])
        sys.exit(os.environ["ENTRACTE_FAKE_FITS"].count('"fits": true') == 0)
    print(json.dumps(words))


main()
