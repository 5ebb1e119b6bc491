"""Faults put into the code on purpose, one at a time: which of them do the tests see?

    python -m tools.mutants                      # all of tools/mutant_list.py, one process
    python -m tools.mutants --only check -j 2    # those whose file or number matches
    python -m tools.mutants --fresh              # forget what was found before

Each mutant is applied in a copy of the tree, never in place, and run against the tests that its
row names. Results are kept in a file (`--record`), so that a run that was stopped goes on; a mutant
is run again when its row changes. Exit status 1: a mutant survived without a reason.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue

import hypothesis  # noqa: F401 (once, for all children)
import numpy as np  # noqa: F401
import pytest

from tools.mutant_list import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[1]
RECORD = Path(tempfile.gettempdir()) / "mutants.jsonl"
LIMIT_S = 300
SEED = "--hypothesis-seed=1"


@dataclass(frozen=True)
class Result:
    key: str
    """See `key_of`."""
    name: str
    killed: bool
    by: str
    """The first test that failed; `hangs`, or `does not import`."""
    seconds: float


def faults(root: Path = ROOT) -> list[str]:
    """Rows that can no longer be applied: every text occurs once, and changes."""
    found = []
    for m in MUTANTS:
        path = root / m.file
        times = path.read_text().count(m.old) if path.is_file() else 0
        if times != 1:
            found.append(f"{m.name}: its text occurs {times} times in {m.file}, not once")
        if m.old == m.new:
            found.append(f"{m.name}: changes nothing")
        found += [f"{m.name}: no {t}" for t in m.tests if not (root / t.split("::")[0]).exists()]
    names = [m.name for m in MUTANTS]
    return found + [f"{n}: two mutants have this name" for n in {*names} if names.count(n) > 1]


def copy_of_the_tree(folder: Path) -> Path:
    """What git knows of the working tree, links kept."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in listed.splitlines():
        source, place = ROOT / name, folder / name
        if source.is_symlink() or source.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, place, follow_symlinks=False)
    # Compiled once, and trusted by content.
    command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash"]
    subprocess.run([*command, "compiler/entracte", "tests", "tools"], cwd=folder, check=True)
    return folder


def run_tests(tree: Path, tests: Sequence[str]) -> tuple[bool, str]:
    """Whether one fails, and which. A file at a time, as the row has them: cheap ones first."""
    return next((found for t in tests if (found := _run_file(tree, t))[0]), (False, ""))


def _run_file(tree: Path, test: str) -> tuple[bool, str]:
    """In a child that has what the tests import from elsewhere already."""
    said = tree / ".said"
    child = multiprocessing.get_context("fork").Process(target=_child, args=(tree, test, said))
    child.start()
    child.join(LIMIT_S)
    if child.is_alive():
        child.kill()
        child.join()
        return True, "hangs"
    if child.exitcode == 0:
        return False, ""
    lines = [x for x in said.read_text().splitlines() if x.startswith(("FAILED ", "ERROR "))]
    return True, lines[0].split(" - ")[0] if lines else "does not import"


def _child(tree: Path, test: str, said: Path) -> None:
    out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.chdir(tree)
    # Compiled files are trusted by time and size, which a mutant may share with what it replaces.
    sys.dont_write_bytecode = True
    # For the processes that tests start.
    path = [str(tree / "compiler"), str(tree)]
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ":".join(path)}
    own = ROOT / "compiler"
    sys.path[:] = path + [x for x in sys.path if x and not Path(x).is_relative_to(own)]
    options = ["-n", "0", "-x", "-q", "-p", "no:cacheprovider", "--no-header", "-rfE", "--tb=no"]
    code = pytest.main([*options, SEED, test])
    sys.stdout.flush()
    os._exit(code)


def key_of(m: Mutant) -> str:
    """What a result belongs to: the change, the file that it changes, and what looks for it."""
    parts = [m.name, m.old, m.new, (ROOT / m.file).read_text()]
    parts += [(ROOT / t.split("::")[0]).read_text() for t in sorted(m.tests)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def tried(tree: Path, m: Mutant) -> Result:
    """Apply, run, and put back."""
    path, begun = tree / m.file, time.monotonic()
    whole = path.read_text()
    path.write_text(whole.replace(m.old, m.new))
    try:
        killed, by = run_tests(tree, m.tests)
    finally:
        path.write_text(whole)
    return Result(key_of(m), m.name, killed, by, round(time.monotonic() - begun, 1))


def known(record: Path) -> dict[str, Result]:
    """Results of earlier runs, by key."""
    if not record.is_file():
        return {}
    results = [Result(**json.loads(line)) for line in record.read_text().splitlines()]
    return {r.key: r for r in results}


def run_all(chosen: Sequence[Mutant], record: Path, processes: int) -> list[Result]:
    """Every mutant that is not in the record yet; each process has a tree of its own."""
    before = known(record)
    results = [before[key_of(m)] for m in chosen if key_of(m) in before]
    left = [m for m in chosen if key_of(m) not in before]
    trees: SimpleQueue[Path] = SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        for k in range(processes):
            trees.put(copy_of_the_tree(Path(folder) / str(k)))

        def one(m: Mutant) -> Result:
            tree = trees.get()
            try:
                return tried(tree, m)
            finally:
                trees.put(tree)

        with ThreadPoolExecutor(processes) as pool, record.open("a") as out:
            for result in pool.map(one, left):
                print(json.dumps(asdict(result)), file=out, flush=True)
                print(_line(result), flush=True)
                results.append(result)
    return results


def _line(r: Result) -> str:
    return f"{'killed  ' if r.killed else 'SURVIVED'} {r.seconds:6.1f} s  {r.name}  {r.by}"


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="a part of a mutant's name or file")
    parser.add_argument("-j", "--processes", type=int, default=1)
    parser.add_argument("--record", type=Path, default=RECORD, help=f"{RECORD} by default")
    parser.add_argument("--fresh", action="store_true", help="try all again")
    parser.add_argument("--list", action="store_true", help="only name them")
    given = parser.parse_args()
    if wrong := faults():
        print("\n".join(wrong), file=sys.stderr)
        return 2
    chosen = [m for m in MUTANTS if given.only in m.name or given.only in m.file]
    if given.list:
        print("\n".join(f"{m.name:32} {m.why}" for m in chosen))
        return 0
    if given.fresh:
        given.record.unlink(missing_ok=True)
    results = {r.name: r for r in run_all(chosen, given.record, given.processes)}
    alive = [m for m in chosen if not results[m.name].killed]
    print(f"{len(chosen)} mutants: {len(chosen) - len(alive)} killed, {len(alive)} survived")
    for m in alive:
        print(f"  {m.name}: {m.survives or 'NO REASON GIVEN'} ({m.why})")
    return 1 if any(not m.survives for m in alive) else 0


if __name__ == "__main__":
    sys.exit(main())
