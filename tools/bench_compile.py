"""How long a compile takes, and how much memory, beside the least that it must do.

    python -m tools.bench_compile pipeline=on_device_sora
    python -m tools.bench_compile pipeline=on_device_sora --markdown

Compiles twice, first with an empty cache, then from it; runs a bare loop that makes, casts and
writes the same weights (`tools/bench_floor.py`); copies the build folder on the same disk, writing
everything out (fsync) in both cases; and watches the proportional memory (PSS) of the command and
all its workers. Processor time is of a command and all its workers; its ratio to the loop's moves
neither with the disk nor much with what else runs. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from entracte.store.cache import size_bytes

EVERY_S = 0.2
FLOOR = "making, casting and writing the weights"


@dataclass(frozen=True)
class Measured:
    what: str
    wall_s: float
    processor_s: float
    peak_bytes: int


class MemoryWatch:
    """The largest sum of PSS over a process and its descendants: shared pages count once."""

    def __init__(self, pid: int) -> None:
        self._pid, self.peak_bytes = pid, 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(EVERY_S):
            self.peak_bytes = max(self.peak_bytes, sum(map(pss_bytes, tree(self._pid))))


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for parent in found:
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += [int(p) for p in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def pss_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def compile_once(what: str, overrides: list[str], out: Path, cache: Path) -> Measured:
    command = [sys.executable, "-m", "entracte.cli.compile", *overrides]
    begun, used = time.monotonic(), children_s()
    process = subprocess.Popen(
        [*command, f"out={out}", f"cache={cache}"], stdout=subprocess.DEVNULL
    )
    with MemoryWatch(process.pid) as watch:
        if process.wait():
            raise SystemExit(f"compile failed with exit code {process.returncode}")
    os.sync()
    return Measured(what, time.monotonic() - begun, children_s() - used, watch.peak_bytes)


def children_s() -> float:
    """Processor time of all processes that have ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def floor_once(overrides: list[str], folder: Path, cache: Path) -> Measured:
    """The loop alone, in a process of its own, with traces from the cache."""
    command = [sys.executable, "-m", "tools.bench_floor", str(folder / "floor.bin"), *overrides]
    begun = time.monotonic()
    done = subprocess.run(
        [*command, f"cache={cache}"], stdout=subprocess.PIPE, text=True, check=True
    )
    processor_s = json.loads(done.stdout.splitlines()[-1])["processor_s"]
    return Measured(FLOOR, time.monotonic() - begun, processor_s, 0)


def copy_once(source: Path, destination: Path) -> Measured:
    drop_caches()
    begun = time.monotonic()
    shutil.copytree(source, destination)
    os.sync()
    return Measured("copying the build", time.monotonic() - begun, 0.0, 0)


def drop_caches() -> None:
    """Otherwise the copy reads what was just written from memory. Needs root; silent without."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("1")
    except OSError:
        print("note: the page cache could not be dropped; the copy reads from memory")


def measure(overrides: list[str], folder: Path) -> tuple[list[Measured], int]:
    cache = folder / "cache"
    rows = [compile_once("compile, nothing cached", overrides, folder / "build", cache)]
    rows.append(compile_once("the same command again", overrides, folder / "again", cache))
    rows.append(floor_once(overrides, folder, cache))
    rows.append(copy_once(folder / "build", folder / "copy"))
    return rows, size_bytes(folder / "build")


def table(rows: list[Measured], total_bytes: int, markdown: bool) -> str:
    copy_s = rows[-1].wall_s
    floor_s = next(row.processor_s for row in rows if row.what == FLOOR)
    bar = " | " if markdown else "  "
    lines = [["", "processor time", "of the loop", "wall", "of the copy", "memory peak"]]
    if markdown:
        lines.append(["---", *["---:"] * 5])
    for row in rows:
        used, peak = row.processor_s, row.peak_bytes
        lines.append([
            row.what,
            f"{used:.1f} s" if used else "",
            f"{used / floor_s:.2f}" if used else "",
            f"{row.wall_s:.1f} s",
            f"{row.wall_s / copy_s:.2f}",
            f"{peak / 2**30:.2f} GiB" if peak else "",
        ])  # fmt: skip
    width = [max(len(line[i]) for line in lines) for i in range(6)]
    text = [bar.join(cell.ljust(w) for cell, w in zip(line, width, strict=True)) for line in lines]
    if markdown:
        text = [f"| {line} |" for line in text]
    return "\n".join([*text, "", f"{total_bytes / 2**30:.2f} GiB written"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", help="as for `compile`")
    parser.add_argument("--folder", type=Path, help="where to work; a disk with room for 2 copies")
    parser.add_argument("--keep", type=Path, help="work in this new folder and leave it")
    parser.add_argument("--markdown", action="store_true")
    arguments = parser.parse_args()
    overrides = arguments.overrides
    if not any(o.startswith(("+target", "target=")) for o in overrides):
        overrides = ["target=iphone15pro", *overrides]
    if arguments.keep is not None:
        arguments.keep.mkdir(parents=True)
    with (
        contextlib.nullcontext(arguments.keep)
        if arguments.keep is not None
        else tempfile.TemporaryDirectory(dir=arguments.folder)
    ) as folder:
        rows, total_bytes = measure(overrides, Path(folder))
    print("compile " + " ".join(overrides))
    print(table(rows, total_bytes, arguments.markdown))


if __name__ == "__main__":
    main()
