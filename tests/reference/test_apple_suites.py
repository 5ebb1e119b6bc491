"""A fixed sample of coremltools' own suites, judged by Apple's expected values and tolerances.

One case of every test function of the MIL suite and of the torch suite's torch.jit frontend, chosen
by a hash of the case's name, so the same on every machine with this coremltools; about a minute.
The whole suites' results are in docs/reference-suites.md.
"""

from __future__ import annotations

import collections
import os
import subprocess
import sys
from pathlib import Path

import coremltools
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from apple_outcomes import (  # noqa: E402
    Outcome,
    explanation,
    grouped,
    read_known,
    read_log,
    write_line,
)  # fmt: skip

SLOW = "|".join((
    r"TestTransformer::test_transformer\[", "SliceScatter", "WeightNorm::test_conv[23]d",
    "convolution_transpose2d_dynamic", "TestNarrow", "Atan2::test_atan2_broadcast",
    "test_toy_xformer", "test_transformer_encoder", "TestStackedBLSTM",
))  # fmt: skip
"""A third of the time for one case in forty: large compositions of what other cases have singly."""
SAMPLE = ["mil", "torch", "--per-function", "1", "--without", f"TORCHEXPORT|{SLOW}"]
TOOL = ROOT / "tools" / "run_coremltools_tests.py"
AT_LEAST = {"MIL": 250, "torch.jit": 360}
"""Cases that must have predicted on the device and passed, by frontend: the sample is not empty."""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """The sample's outcomes. A process of its own: the suites patch coremltools."""
    log = tmp_path_factory.mktemp("apple") / "sample.jsonl"
    done = subprocess.run(
        [sys.executable, str(TOOL), *SAMPLE, "--json", str(log)],
        capture_output=True, text=True, check=False, cwd=log.parent,
    )  # fmt: skip
    assert log.exists(), done.stdout[-2000:] + done.stderr[-2000:]
    return read_log(log)


def test_nothing_fails_but_what_is_known(outcomes: dict[str, Outcome]) -> None:
    known = read_known()
    new = [o for o in outcomes.values() if o.outcome == "failed" and not explanation(o, known)]
    assert not new, "\n".join(f"{o.case}: {o.message}" for o in new)


def test_the_sample_ran_on_the_device(outcomes: dict[str, Outcome]) -> None:
    ran = [o for o in outcomes.values() if o.calls and o.outcome == "passed"]
    count = collections.Counter({k: len(v) for k, v in grouped(ran, "frontend").items()})
    assert all(count[name] >= least for name, least in AT_LEAST.items()), count


def test_known_failures_are_few(outcomes: dict[str, Outcome]) -> None:
    """The list may not grow into an excuse: 99 % of what reaches the device passes."""
    reached = [o for o in outcomes.values() if o.calls and o.outcome in ("passed", "failed")]
    passed = sum(o.outcome == "passed" for o in reached)
    assert passed >= 0.99 * len(reached), f"{passed} of {len(reached)}"


def test_a_log_that_was_cut_off_is_read(tmp_path: Path) -> None:
    whole = Outcome("a::b[x]", "passed", "", (("add", 15),), 1, 0.0, 0.1)
    later = Outcome("a::b[x]", "failed", "no", (), 1, 0.5, 0.1)
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join([write_line(whole), write_line(later), '{"case": "a::']))
    assert read_log(log) == {"a::b[x]": later}


MISSED = "Not equal to tolerance rtol=1e-05, atol=0.0001"


@pytest.mark.parametrize(("error", "known"), [(4e-4, True), (0.2, False)])
def test_rounding_explains_small_differences_only(error: float, known: bool) -> None:
    case = (
        "converters/mil/mil/ops/tests/iOS17/test_normalization.py::TestNormalizationL2Norm::test_x["
        "precision='fp32', x_param_dtype=(<class 'numpy.float16'>, <class 'numpy.float32'>)]"
    )
    outcome = Outcome(case, "failed", MISSED, (), 1, error, 0.1)
    assert (explanation(outcome, read_known()) is not None) is known


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose virtual environment lies inside it, below all that pytest would read.

    Each of its files alone would keep the cases from the device or stop the run.
    """
    top = tmp_path_factory.mktemp("clone")
    addopts = 'addopts = "-n 2 --dist loadfile -p no_such_plugin"'
    (top / "pyproject.toml").write_text(f"[tool.pytest.ini_options]\n{addopts}\n")
    (top / "conftest.py").write_text("raise RuntimeError('read from above')\n")
    site = top / ".venv" / "lib" / "site-packages"
    site.mkdir(parents=True)
    (site / "coremltools").symlink_to(Path(coremltools.__file__).parent)
    return top


def run_in(clone: Path, log: Path, names: str) -> subprocess.CompletedProcess[str]:
    """One case of each test function of iOS14's activations whose name holds `names`."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(clone / ".venv" / "lib" / "site-packages"),
        "PYTEST_ADDOPTS": "-n 2",
        "PYTEST_PLUGINS": "no_such_plugin",
    }
    fewest = ["--ignore-glob=/*/iOS1[5-8]", "--ignore-glob=/*/tests/*/test_[b-z]*", "-k", names]
    return subprocess.run(
        [sys.executable, str(TOOL), "mil", "--per-function=1", f"--json={log}", "--", *fewest],
        capture_output=True, text=True, check=False, cwd=clone, env=environment,
    )  # fmt: skip


def test_no_configuration_above_keeps_the_cases_from_the_device(clone: Path, tmp_path: Path):
    done = run_in(clone, tmp_path / "log.jsonl", "to_backend_smoke")
    assert done.returncode == 0, done.stdout + done.stderr
    outcomes = read_log(tmp_path / "log.jsonl").values()
    passed = [o for o in outcomes if o.outcome == "passed"]
    assert len(passed) >= 10
    assert all(o.calls for o in passed), done.stdout


def test_a_run_in_which_no_case_asks_the_device_fails(clone: Path, tmp_path: Path):
    """Cases that evaluate constants only: all pass, and nothing was compared by the device."""
    done = run_in(clone, tmp_path / "log.jsonl", "builder_eval")
    outcomes = read_log(tmp_path / "log.jsonl").values()
    assert len(outcomes) >= 5
    assert {o.outcome for o in outcomes} == {"passed"}
    assert done.returncode == 2
    assert "error: no case asked the device" in done.stdout
