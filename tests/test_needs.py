"""Markers by what a test needs: `-m light` works where there is no torch."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.needs import FIRST, HERE, can_choose, need_of

FORBIDDEN = ("torch", "coremltools", "transformers", "diffusers")
SCREENS = ("planner/test_show.py", "inspection/test_compare.py", "report/test_model.py")


@pytest.fixture(scope="module")
def without(tmp_path_factory) -> dict[str, str]:
    """An environment in which the heavy packages cannot be imported, by subprocesses neither."""
    folder = tmp_path_factory.mktemp("without")
    for name in FORBIDDEN:
        (folder / f"{name}.py").write_text(f"raise ImportError('{name} is not here')\n")
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path}


def pytest_of(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command, env=environment, cwd=HERE.parent, capture_output=True, text=True, check=False
    )


def test_light_tests_are_collected_and_run_without_torch(without):
    """All are collected; those of what people look at are run, but for what takes its time."""
    names = " or ".join(Path(name).name for name in SCREENS)
    chosen = f"({names}) and not largest_plans"
    done = pytest_of(without, "-m", "light", "-v", "-v", "-k", chosen)
    assert done.returncode == 0, done.stdout[-3000:]
    for name in SCREENS:
        assert re.search(rf"^tests/{name}::\S+.* PASSED", done.stdout, re.MULTILINE), name
    collected = re.search(r"collected (\d+) items", done.stdout)
    assert collected is not None and int(collected[1]) > 1000


def test_others_are_not_even_imported(without):
    """The same environment refuses a file that needs torch, as soon as it is chosen."""
    done = pytest_of(without, "-m", "torch", "--collect-only", "tests/test_graphs_leap.py")
    assert done.returncode != 0
    assert "torch is not here" in done.stdout


@pytest.mark.parametrize(
    ("expression", "file", "chosen"),
    [
        ("light", "planner/test_show.py", True),
        ("light", "test_trace.py", False),
        ("light or torch", "test_trace.py", True),
        ("not light", "planner/test_show.py", False),
        ("light and slow", "planner/test_safety.py", True),
        ("convert and slow", "planner/test_safety.py", False),
        ("slow", "lower/test_convert.py", True),
        ("not slow", "lower/test_convert.py", True),
        ("light", "lower", False),
        ("light", "planner", True),
        ("convert", "planner", True),
        ("light", "", True),
        ("torch", "inspection/test_sweep.py", True),
    ],
)
def test_what_an_expression_can_choose(expression, file, chosen):
    assert can_choose(expression, HERE / file) is chosen


def test_a_file_outside_the_table_is_refused():
    with pytest.raises(LookupError, match=r"test_new\.py: no row in tests/needs\.py says"):
        need_of(HERE / "test_new.py", "test_x")


def test_every_test_file_has_its_row():
    for path in Path(HERE).rglob("test_*.py"):
        need_of(path, "test_x")


def test_some_tests_of_a_file_need_more():
    path = HERE / "inspection" / "test_sweep.py"
    assert need_of(path, "test_pareto_by_hand") == "light"
    assert need_of(path, "test_a_sweep_of_dry_runs_from_end_to_end") == "torch"


def test_the_files_that_come_first_are_there():
    assert [name for name in FIRST if not (HERE / name).is_file()] == []
