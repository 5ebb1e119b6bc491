"""Run coremltools' own test suites against the reference device.

Apple's expected values test the meaning of each operation; on Linux coremltools skips every
numeric assertion. Here `MLModel.predict` and `make_state` are replaced by the reference device and
the suites are told that they run on macOS 15.

    python tools/run_coremltools_tests.py mil --resume mil.jsonl
    python tools/run_coremltools_tests.py torch --resume torch.jsonl --minutes 30
    python tools/run_coremltools_tests.py torch --resume torch.jsonl --again failed
    python tools/run_coremltools_tests.py mil --of mil.jsonl --again failed --policy fp32
    python tools/run_coremltools_tests.py torch -- -k "TestLinear"

Cases run in a fixed order: one case of every test function (at each deployment target), then a
second of each, and so on, by a hash of their names. A run that is stopped has therefore done an
even sample, and `--resume` goes on where it stopped. A case's name seeds its random numbers.

The device lives in this process only, so pytest runs the cases here and nowhere else, whatever
configuration lies above coremltools' folder or in the environment. It ends with 0; with 1 when a
case fails that is not a known one; with 2 when no case asked the device, or pytest itself failed.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import gc
import hashlib
import logging
import os
import random
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ["PYMIL_TEST_TARGETS"] = "mlprogram"
os.environ.setdefault("INCLUDE_MIL_FP32_UNIT_TESTS", "1")
logging.disable(logging.ERROR)
warnings.simplefilter("ignore")

import apple_shims  # noqa: E402
import coremltools as ct  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from apple_device import Device, pretend_macos  # noqa: E402
from apple_outcomes import (  # noqa: E402
    Outcome,
    by_file,
    explanation,
    plain_name,
    read_known,
    read_log,
    table,
    write_line,
)  # fmt: skip

TORCH = "converters/mil/frontend/torch/test"
TORCH_OPS = f"{TORCH}/test_torch_ops.py"
SUITES = {
    "mil": ["converters/mil/mil/ops/tests"],
    "torch": [TORCH_OPS],
    "torch-rest": [TORCH],
    "programs": ["test/ml_program", "test/optimize/coreml", "converters/mil/mil/passes/tests",
                 "converters/mil/mil/tests", "converters/mil/backend/mil", "test/api",
                 "converters/mil/test_flexible_shape_inputs.py",
                 "converters/mil/test_inputs_outputs_shape.py"],
}  # fmt: skip


def _digest(name: str) -> bytes:
    return hashlib.sha256(plain_name(name).encode()).digest()


def _group(name: str) -> str:
    """A test function at one deployment target."""
    target = re.search(r"AvailableTarget\.iOS\d+", name)
    return name.split("[")[0] + (target[0] if target else "")


class Recorder:
    """Orders and samples the collection, watches the device, keeps every outcome."""

    def __init__(self, options: argparse.Namespace, device: Device) -> None:
        self.options = options
        self.device = device
        self.before = read_log(options.resume) if _exists(options.resume) else {}
        self.chosen = read_log(options.of) if options.of else self.before
        log = options.resume or options.json
        self.log = Path(log).open("a" if options.resume else "w") if log else None  # noqa: SIM115
        self.outcomes: dict[str, Outcome] = {}
        self.collected = 0
        self.unreadable: list[str] = []
        self.stop_at = time.monotonic() + 60 * options.minutes if options.minutes else None

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            crash = getattr(report.longrepr, "longrepr", None) or str(report.longrepr)
            self.unreadable.append(f"{report.nodeid}: {crash.strip().splitlines()[-1]}")

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        self.collected = len(items)
        groups: dict[str, list[Any]] = collections.defaultdict(list)
        without = re.compile(self.options.without or "(?!)")
        for item in items:
            if not without.search(item.nodeid):
                groups[_group(item.nodeid)].append(item)
        ranked = []
        for group in groups.values():
            group.sort(key=lambda i: _digest(i.nodeid))
            ranked += [(rank, _digest(item.nodeid), item) for rank, item in enumerate(group)]
        most = self.options.per_function or len(items)
        ranked.sort(key=lambda r: r[:2])
        items[:] = [i for rank, _, i in ranked if rank < most and self._wanted(i.nodeid)]
        apple_shims.complete_modules()
        # Collected tests are garbage to nobody: without this, every collection walks them.
        gc.collect()
        gc.freeze()

    def _wanted(self, name: str) -> bool:
        name = plain_name(name)
        done, again = name in self.before, self.options.again
        if again is None:
            return not done
        chosen = self.chosen.get(name)
        # With a log of its own for --of, what --resume holds has been run again already.
        return chosen is not None and chosen.outcome == again and not (done and self.options.of)

    def pytest_runtest_setup(self, item: Any) -> None:
        seed = int.from_bytes(_digest(item.nodeid)[:4])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        self.device.reset()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        with self.device.watching():
            yield

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        outcome = report.outcome
        if hasattr(report, "wasxfail"):
            outcome = "xpassed" if report.passed else "xfailed"
        name = plain_name(report.nodeid)
        made = Outcome(name, outcome, _reason(report)[:600],
                       tuple(sorted(self.device.ran)), self.device.calls, self.device.error,
                       round(report.duration, 3), self.device.policy)  # fmt: skip
        self.outcomes[name] = made
        if self.log:
            print(write_line(made), file=self.log, flush=True)

    def pytest_runtest_logfinish(self) -> None:
        if self.stop_at and time.monotonic() > self.stop_at:
            pytest.exit("the minutes are over", returncode=0)


def _exists(path: str | None) -> bool:
    return path is not None and Path(path).exists()


def _reason(report: Any) -> str:
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        return crash.message if crash else str(report.longrepr)
    if report.skipped and isinstance(report.longrepr, tuple):
        return report.longrepr[2]
    return getattr(report, "wasxfail", "")


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Ours, and pytest's behind a `--`."""
    place = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:place], arguments[place + 1 :]


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suites", nargs="+", choices=sorted(SUITES), metavar="suite",
                        help=", ".join(SUITES))  # fmt: skip
    parser.add_argument("--per-function", type=int, default=0,
                        help="most cases of a test function at a deployment target")  # fmt: skip
    parser.add_argument("--every-opset", action="store_true",
                        help="older operations at every later deployment target too")  # fmt: skip
    parser.add_argument("--without", help="leave out cases whose name this expression matches")
    parser.add_argument("--policy", default="round", help="round (default), hybrid or fp32")
    parser.add_argument("--minutes", type=float, help="stop after the case that reaches this")
    parser.add_argument("--json", help="new file that gets every outcome as a line")
    parser.add_argument("--resume", help="file to go on with: what it holds is not run again")
    parser.add_argument("--again", help="run only the cases that had this outcome in --of")
    parser.add_argument("--of", help="log for --again; default: that of --resume")
    return parser.parse_args(arguments)


@contextlib.contextmanager
def _configuration(root: Path) -> Iterator[list[str]]:
    """pytest's arguments that keep out every configuration but this one.

    A virtual environment often lies inside a repository: pytest would look above coremltools'
    folder, find that repository's `pyproject.toml`, and take its `addopts`. With `-n 2` in them the
    cases run in worker processes, which know nothing of the device and skip every comparison.

    Args:
        root: coremltools' folder; no `conftest.py` above it is read, and cases are named from it.
    """
    for name in [n for n in os.environ if n.startswith("PYTEST_") and n != "PYTEST_DEBUG_TEMPROOT"]:
        del os.environ[name]
    # pytest-xdist among them: its workers are other processes.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        ini = Path(folder) / "pytest.ini"
        ini.write_text("[pytest]\n")
        yield ["-c", str(ini), "--rootdir", str(root), "--confcutdir", str(root),
               "-p", "no:cacheprovider", "-p", "no:logging"]  # fmt: skip


def main() -> int:
    own, rest = _split(sys.argv[1:])
    options = _options(own)
    if options.every_opset:
        os.environ["RUN_BACKWARD_COMPATIBILITY"] = "1"
    torch.set_num_threads(1)
    device = Device(options.policy)
    apple_shims.install()
    pretend_macos(device)
    recorder = Recorder(options, device)
    root = Path(ct.__file__).parent
    targets = [str(root / t) for suite in options.suites for t in SUITES[suite]]
    if "torch" not in options.suites:
        targets.append(f"--ignore={root / TORCH_OPS}")
    quiet = ["-q", "--no-header", "--tb=line", "-W", "ignore", "--disable-warnings",
             "--no-summary", "--continue-on-collection-errors"]  # fmt: skip
    with _configuration(root) as alone:
        ended = pytest.main([*alone, *quiet, *targets, *rest], plugins=[recorder])
    unknown = _report(recorder)
    trouble = _trouble(recorder, ended)
    if trouble:
        print(f"\nerror: {trouble}")
        return 2
    return 1 if unknown else 0


def _trouble(recorder: Recorder, ended: int) -> str | None:
    """Why the table above says nothing about the device; None when it does."""
    if ended in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR):
        return f"pytest itself failed ({pytest.ExitCode(ended).name})"
    # A run that goes on with a finished log has nothing left to do: then the log is judged.
    judged = recorder.outcomes or recorder.before
    if any(outcome.calls for outcome in judged.values()):
        return None
    return (
        f"no case asked the device ({len(judged)} run): nothing was compared with Apple's expected "
        "values; choose cases that predict, and run them in this process (no pytest-xdist)"
    )


def _report(recorder: Recorder) -> int:
    """Print the table and the failures; how many of them are not known ones."""
    known = read_known()
    outcomes = {**recorder.before, **recorder.outcomes}
    print(f"\ncollected {recorder.collected}, run now {len(recorder.outcomes)}, "
          f"in all {len(outcomes)}\n")  # fmt: skip
    print(table("file", by_file(outcomes.values())))
    for line in recorder.unreadable:
        print(f"\nNOT READ {line}")
    unknown = 0
    for outcome in outcomes.values():
        if outcome.outcome != "failed":
            continue
        found = explanation(outcome, known)
        unknown += found is None
        word = "KNOWN " + found.kind if found else "FAILED"
        print(f"\n{word} {outcome.case}\n    {outcome.message[:300]}")
    print(f"\nfailures that are not known: {unknown}")
    return unknown


if __name__ == "__main__":
    sys.exit(main())
