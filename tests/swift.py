"""The Swift runner, built once for all tests that ask for it; skipped without a toolchain."""

import subprocess
from functools import cache
from pathlib import Path

import pytest

from tools.swift_toolchain import BUILD, Toolchain, find, one_at_a_time

REASON = "no Swift toolchain here: `python -m tools.swift_toolchain make`, or install Swift"


def toolchain() -> Toolchain:
    """The toolchain, or the test is skipped and says so."""
    found = find()
    if found is None:
        pytest.skip(REASON)
    return found


def done(command: list[str], **more) -> subprocess.CompletedProcess[str]:
    """What a command printed; output and errors apart."""
    return subprocess.run(command, capture_output=True, text=True, check=False, **more)


def built() -> Toolchain:
    """The toolchain, when package, command and tests are built; once in a process. What is up to
    date costs a second; of two processes one waits."""
    return _built(toolchain())


@cache
def _built(chain: Toolchain) -> Toolchain:
    with one_at_a_time(BUILD / ".tests-lock"):
        made = done(chain.swift("build", "--build-tests"))
    assert made.returncode == 0, made.stdout[-6000:] + made.stderr[-2000:]
    return chain


def entracte_run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """The command `entracte-run` on files of this clone or below /tmp."""
    chain = built()
    return done(chain.command(chain.products / "entracte-run", *words, place=Path("/tmp")))
