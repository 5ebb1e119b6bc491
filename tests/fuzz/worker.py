"""The watched process: reads `kind index` lines, does these cases, writes a line for each."""

import contextlib
import faulthandler
import json
import os
import platform
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.fuzz import base, doors, graphs, guard
from tests.fuzz.case import Case, Door, Outcome, rng_of
from tests.fuzz.kinds import kind_of

STACK = "stack.txt"
"""Where it was when it was ended from outside."""


class Worker:
    """Everything below `root`: base/, sentinel/, home/, tmp/, and a folder for each case."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.seed = root, seed
        guard.own_places(root)
        os.environ["ENTRACTE_CACHE"] = str(root / "cache")
        os.environ["COLUMNS"] = "100"
        graphs.register()
        # What a record says of the system: the first who asks starts `uname`.
        platform.platform()
        self.base = base.ready(root / "base")
        self.sentinel = guard.Sentinel(root / "sentinel")
        doors.only_read_weights()
        self._stack = (root / STACK).open("w")
        faulthandler.enable(self._stack)
        faulthandler.register(signal.SIGPROF, self._stack, chain=True)
        guard.limit()
        self.watch = guard.Watch([root], root / "sentinel")

    def case(self, kind: str, index: int) -> Outcome:
        """Do one; its folder stays where it broke a bound."""
        folder = self.root / "cases" / f"{kind}-{self.seed}-{index}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        made = Case(folder, rng_of(kind, self.seed, index), self.base)
        what_kind = kind_of(kind)
        tried = what_kind.doors(made)
        self.watch.links = what_kind.follows_links
        os.chdir(folder)
        begun = time.process_time()
        guard.forget_peak()
        verdict, what = "", ""
        for door in tried:
            verdict, what = _worse((verdict, what), self._try(door, what_kind.cpu_s))
        peak = guard.peak_bytes()
        if peak > guard.MEMORY_BYTES:
            verdict, what = _worse((verdict, what), ("memory", f"{peak} bytes"))
        os.chdir(self.root)
        outcome = Outcome(
            kind, index, verdict, what[-4000:], round(time.process_time() - begun, 3), peak,
            tuple(made.notes),
        )  # fmt: skip
        if outcome.is_bad:
            _tell(folder, outcome, tried)
        else:
            shutil.rmtree(folder, ignore_errors=True)
        return outcome

    def _try(self, door: Door, cpu_s: float) -> tuple[str, str]:
        with self.watch.on(), guard.clocked(cpu_s):
            said = doors.call(door.words)
        found = doors.verdict(said)
        if (wrong := door.accepted(said)) is not None:
            found = _worse(found, ("unsafe", wrong))
        if touched := self.sentinel.change() or "; ".join(self.watch.seen[:5]):
            found = _worse(found, ("outside", touched))
        return found


_RANK = ("", "refused", "accepted", "silent", "memory", "unsafe", "outside", "hang", "traceback")


def _worse(one: tuple[str, str], other: tuple[str, str]) -> tuple[str, str]:
    return max(one, other, key=lambda found: _RANK.index(found[0]))


def _tell(folder: Path, outcome: Outcome, tried: Sequence[Door]) -> None:
    """What a person needs to see it again."""
    lines = [" ".join(d.words) for d in tried]
    text = "\n".join([outcome.verdict, *outcome.notes, "", *lines, "", outcome.what, ""])
    (folder / "FAILED.txt").write_text(text, "utf-8", "replace")


def main() -> None:
    """`python -m tests.fuzz.worker ROOT SEED`: until the input ends."""
    root, seed = Path(sys.argv[1]).absolute(), int(sys.argv[2])
    pipe = os.fdopen(os.dup(1), "w", buffering=1)
    # What libraries print past `sys.stdout` is no answer.
    os.dup2(os.open(root / "printed.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    worker = Worker(root, seed)
    pipe.write("ready\n")
    for line in sys.stdin:
        kind, index = line.split()
        pipe.write(json.dumps(asdict(worker.case(kind, int(index)))) + "\n")
    with contextlib.suppress(BrokenPipeError):
        pipe.close()


if __name__ == "__main__":
    main()
