"""For all tests: markers, the golden text of a test, and Hydra's schema registered once."""

import fcntl
import gc
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from entracte.store.cache import VARIABLE
from tests.needs import can_choose, need_of, rank_of

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
GOLDEN = Path(__file__).parent / "golden"
MODULES = pytest.StashKey[int]()
"""How many modules there were when they were last left out of garbage collection."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite the golden files from the results"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Files in which `-m` chooses nothing: importing them may be what the machine cannot do."""
    is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    if not config.option.markexpr or not (is_test or collection_path.is_dir()):
        return None
    return None if can_choose(config.option.markexpr, collection_path) else True


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests with what their files need; long files first; slow tests only if `-m` says so."""
    items.sort(key=lambda item: rank_of(item.path))
    for item in items:
        try:
            item.add_marker(need_of(item.path, item.name))
        except LookupError as error:
            raise pytest.UsageError(str(error)) from error
    if "slow" in config.option.markexpr:
        return
    config.hook.pytest_deselected(items=[i for i in items if i.get_closest_marker("slow")])
    items[:] = [i for i in items if not i.get_closest_marker("slow")]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave what the imported modules hold out of garbage collection.

    Every conversion collects twice, and would look through all of torch and coremltools each time:
    half of its processor time.
    """
    if len(sys.modules) != item.session.stash.get(MODULES, 0):
        gc.collect()
        gc.freeze()
        item.session.stash[MODULES] = len(sys.modules)


class Golden:
    """Compares a text with tests/golden/<test file>/<test name>.txt."""

    def __init__(self, path: Path, update: bool) -> None:
        self._path, self._update = path, update

    def check(self, text: str) -> None:
        if self._update:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(text)
            return
        if not self._path.exists():
            pytest.fail(f"no golden file {self._path}; make it with --update-golden")
        assert text == self._path.read_text(), f"differs from {self._path} (--update-golden)"


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    name = request.node.name.replace("/", "_")
    path = GOLDEN / Path(request.node.fspath).stem / f"{name}.txt"
    return Golden(path, request.config.getoption("--update-golden"))


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests share a cache of their own and leave the user's alone; subprocesses inherit it.

    The processes of one run (pytest-xdist) have folders side by side: they share the cache too.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(_shared(tmp_path_factory) / "entracte-cache"))
        yield


def _shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all processes of this run."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session", autouse=True)
def _schema() -> None:
    from entracte.declare.settings import register

    register()


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo with room for everything."""
    return _compiled(tmp_path_factory, "whole")


@pytest.fixture(scope="session")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo in 24 MiB, every stage cut small."""
    overrides = ("target.memory=24MiB", "partition.chunk_bytes=700KiB")
    return _compiled(tmp_path_factory, "split", *overrides)


@pytest.fixture(scope="session")
def one_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo whose equal blocks run one graph; two of them fit, and are loaded in every step."""
    overrides = ("partition=shared", "target.memory=25MiB", "verify=off")
    return _compiled(tmp_path_factory, "one-graph", *overrides)


def _compiled(factory: pytest.TempPathFactory, name: str, *overrides: str) -> Path:
    """The demo, compiled once for all tests of all processes.

    Each process has a copy: tests write records of runs into it.
    """
    from entracte.compile.job import compile_job
    from tests.demo import job

    made = _shared(factory) / f"entracte-{name}"
    with made.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            compile_job(job(made, *overrides))
    return shutil.copytree(made, factory.mktemp(name) / "build")


@pytest.fixture
def log() -> Iterator[list[str]]:
    """What Entracte says in its log."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("entracte")
    # Hydra disables those that it finds, and libraries raise the level of all.
    logger.disabled, before = False, logger.level
    logger.setLevel(logging.WARNING)
    logger.addHandler(handler)
    yield said
    logger.removeHandler(handler)
    logger.setLevel(before)


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """Debian's Chromium. Where it is missing tests are skipped, but not where CI=true."""
    from playwright.sync_api import sync_playwright

    if not CHROMIUM.exists():
        told = f"{CHROMIUM} is missing: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(told)
        pytest.skip(told)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield chromium
        chromium.close()
