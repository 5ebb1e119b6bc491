"""Run coremltools' own test suites against the reference device.

Apple's expected values test the meaning of each operation; on Linux coremltools skips every
numeric assertion. Here `MLModel.predict` and `make_state` are replaced by the reference device and
the suites are told that they run on macOS 15.

    python tools/run_coremltools_tests.py mil --per-function 4
    python tools/run_coremltools_tests.py torch -- -k "TestLinear"

Prints a table by file and the failures; `--json` keeps every outcome.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ["PYMIL_TEST_TARGETS"] = "mlprogram"
os.environ.setdefault("INCLUDE_MIL_FP32_UNIT_TESTS", "1")
logging.disable(logging.ERROR)
warnings.simplefilter("ignore")

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import coremltools as ct  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

from compiler.reference import Loaded, PackageError, load  # noqa: E402

SUITES = {
    "mil": ["converters/mil/mil/ops/tests"],
    "torch": ["converters/mil/frontend/torch/test/test_torch_ops.py"],
    "torch-rest": ["converters/mil/frontend/torch/test"],
}
POLICY = "round"
RAN: set[tuple[str, int]] = set()
"""(operation, deployment) pairs executed by the current test."""


class FakeState:
    """Looks like coremltools' MLState."""

    def __init__(self, values: dict[str, torch.Tensor]) -> None:
        self.values = values

    def read_state(self, name: str) -> np.ndarray:
        return self.values[name].float().numpy().copy()

    def write_state(self, name: str, value: np.ndarray) -> None:
        self.values[name].copy_(torch.from_numpy(np.asarray(value)))


def _load(model: Any) -> Loaded:
    kind = model._spec.WhichOneof("Type")
    if kind != "mlProgram":
        pytest.skip(f"the test makes a {kind}, not an ML Program")
    loaded = getattr(model, "_entracte_loaded", None)
    if loaded is None:
        # A model may have been edited after it was made: what counts is what save() writes.
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "model.mlpackage")
            model.save(path)
            name = getattr(model, "function_name", None) or "main"
            loaded = load(path, function=name, policy=POLICY, own=True, strict=True)
        model._entracte_loaded = loaded
    RAN.update((name, loaded.info.deployment) for name in loaded.info.operations)
    return loaded


def _result(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    array = value.numpy()
    # Core ML has no rank-0 outputs.
    return array.reshape(1) if array.ndim == 0 else array


def predict(self: Any, data: Any, state: FakeState | None = None) -> Any:
    """Stands in for `MLModel.predict`."""
    if isinstance(data, list):
        return [predict(self, d, state) for d in data]
    self._verify_input_dict(data)
    try:
        loaded = _load(self)
    except PackageError as error:
        raise RuntimeError(f"Unable to compute the prediction using ML Program: {error}") from error
    ranks = {f.name: len(f.shape) for f in loaded.info.inputs}
    inputs = {}
    for name, value in data.items():
        plain = value if hasattr(value, "convert") else np.asarray(value)
        if not hasattr(plain, "convert") and ranks.get(name) == 0 and plain.shape == (1,):
            plain = plain.reshape(())
        inputs[name] = plain
    try:
        found = loaded.predict(inputs, None if state is None else state.values)
    except PackageError as error:
        # What coremltools raises when Core ML refuses, in its words.
        raise RuntimeError(f"Unable to compute the prediction using ML Program: {error}") from error
    names = [o.name for o in self._spec.description.output]
    results = [_result(v) for v in found.values()]
    if len(names) == len(results) and set(names) != set(found):
        return dict(zip(names, results, strict=True))
    return dict(zip(found, results, strict=True))


def make_state(self: Any) -> FakeState:
    """Stands in for `MLModel.make_state`."""
    return FakeState(_load(self).make_state())


def pretend_macos() -> None:
    """Make the suites' conditions true and give them our device."""
    from coremltools import _deps
    from coremltools.models import model, utils

    _deps._IS_MACOS = True
    for module in (model, utils):
        module._is_macos = lambda: True
        module._macos_version = lambda: (15, 0)
    model.MLModel.predict = predict
    model.MLModel.make_state = make_state


class Recorder:
    """Samples the collection and keeps every outcome."""

    def __init__(self, per_function: int, shard: tuple[int, int], log: str | None) -> None:
        self.log = Path(log).open("w") if log else None  # noqa: SIM115 - open for the whole run
        self.per_function = per_function
        self.shard = shard
        self.outcomes: dict[str, tuple[str, str]] = {}
        self.collected = 0

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        self.collected = len(items)
        groups: dict[str, list[Any]] = collections.defaultdict(list)
        for item in items:
            groups[item.nodeid.split("[")[0]].append(item)
        kept = []
        for group in groups.values():
            # A fixed sample, spread over the parameters by a hash of the test's own name.
            group.sort(key=lambda i: hashlib.sha256(i.nodeid.encode()).digest())
            kept += group[: self.per_function] if self.per_function else group
        index, count = self.shard
        items[:] = sorted(kept, key=lambda i: i.nodeid)[index::count]

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            outcome = "xfailed" if hasattr(report, "wasxfail") else report.outcome
            text = ""
            if report.failed:
                crash = getattr(report.longrepr, "reprcrash", None)
                text = crash.message if crash else str(report.longrepr)
            elif report.skipped and isinstance(report.longrepr, tuple):
                text = report.longrepr[2]
            self.outcomes[report.nodeid] = (outcome, text[:600])
            if self.log:
                line = [report.nodeid, outcome, text[:600], sorted(RAN)]
                print(json.dumps(line), file=self.log, flush=True)
            RAN.clear()


def table(recorder: Recorder) -> str:
    """Markdown: one row per test file, then the totals."""
    rows: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for name, (outcome, _) in recorder.outcomes.items():
        parts = name.split("::")[0].split("/")
        rows["/".join(parts[-2:])][outcome] += 1
    kinds = ("passed", "failed", "skipped", "xfailed")
    lines = ["| file | " + " | ".join(kinds) + " |", "|---|" + "---:|" * len(kinds)]
    total: collections.Counter[str] = collections.Counter()
    for name in sorted(rows):
        total += rows[name]
        lines.append(f"| {name} | " + " | ".join(str(rows[name][k]) for k in kinds) + " |")
    lines.append("| **all** | " + " | ".join(f"**{total[k]}**" for k in kinds) + " |")
    return "\n".join(lines)


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Ours, and pytest's behind a `--`."""
    place = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:place], arguments[place + 1 :]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", choices=sorted(SUITES))
    parser.add_argument("--per-function", type=int, default=0, help="most cases of one test")
    parser.add_argument("--shard", default="0/1", help="this part of the tests: index/count")
    parser.add_argument("--json", help="file that gets every outcome as a line")
    own, rest = _split(sys.argv[1:])
    options = parser.parse_args(own)
    torch.set_num_threads(1)
    pretend_macos()
    index, count = map(int, options.shard.split("/"))
    recorder = Recorder(options.per_function, (index, count), options.json)
    root = Path(ct.__file__).parent
    targets = [str(root / t) for t in SUITES[options.suite]]
    quiet = ["-q", "--no-header", "-p", "no:cacheprovider", "--tb=no", "-W", "ignore",
             "--rootdir", str(root), "--disable-warnings", "--no-summary"]  # fmt: skip
    pytest.main([*quiet, *targets, *rest], plugins=[recorder])
    print(f"\ncollected {recorder.collected}, run {len(recorder.outcomes)}\n")
    print(table(recorder))
    failed = {n: t for n, (o, t) in recorder.outcomes.items() if o == "failed"}
    for name, text in failed.items():
        print(f"\nFAILED {name}\n    {text[:300]}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
