"""Blocks in the pages that show what commands print are what they print.

Those of dry runs and of the demo's build in 24 MiB are made again here. Not made again are what a
run observed (times of one machine), and the advice and figures for full sizes (minutes of tracing).
"""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from entracte.cli.show import show_plan
from entracte.compile.job import compile_pipeline
from entracte.ir import Plan

ROOT = Path(__file__).parent.parent
DEMO = "Tiny text-to-video: T5, STDiT3, Open-Sora VAE; 16 frames of 64x64"
IN_24_MIB = ["+target=iphone15pro", "target.memory=24MiB"]


def blocks(page: str) -> list[str]:
    """The fenced blocks of a page."""
    text = (ROOT / "docs" / page).read_text()
    return re.findall(r"^```[^\n]*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def block(page: str, start: str) -> str:
    """The one block of a page that begins with these words."""
    found = [b for b in blocks(page) if b.startswith(start)]
    assert len(found) == 1, f"{page}: {len(found)} blocks begin with {start!r}"
    return found[0]


def plain(text: str) -> str:
    """Without what pages leave out: spaces at the ends of lines, lines that are empty."""
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())


def shown(plan: Plan, width: int) -> str:
    out = io.StringIO()
    show_plan(Console(file=out, width=width, highlight=False), plan)
    return plain(out.getvalue())


def of_the_build(text: str) -> str:
    """What `plan show` says of the build alone, before the recorded run."""
    return plain(text.split("Planned/observed")[0])


def test_two_pages_show_one_build():
    one, other = (of_the_build(block(page, DEMO)) for page in ("inspect.md", "demo.md"))
    assert one == other
    numbers = block("conversions.md", "numbers")
    assert " ".join(numbers.split()) in " ".join(one.split())


def test_dry_runs_in_the_pages_are_those_of_the_advice():
    """Predicted time and bytes read, from the golden table that `test_advise.py` makes again."""
    name = "test_advise/test_the_table_of_the_demo_in_a_tight_budget.txt"
    golden = (ROOT / "tests" / "golden" / name).read_text()
    table = block("inspect.md", "compile -m")
    for weights, compression in (("fp16", "none"), ("fp16 palette4", "palette4")):
        advised = re.search(
            rf"^ 64x64 +{weights} +optimal +\d+ +(\S+) +(\S+)", golden, re.MULTILINE
        )
        swept = re.search(
            rf"^ 24MiB +{compression} +iphone15pro .* yes +\S+ +(\S+) +(\S+)", table, re.MULTILINE
        )
        assert advised.groups() == swept.groups()


@pytest.mark.slow
def test_the_sweep_is_what_compile_prints(tmp_path):
    """Its command and its output are one block."""
    text = block("inspect.md", "compile -m")
    command, _, told = text.partition("\n")
    done = subprocess.run(
        [sys.executable, "-m", "entracte.cli.compile", *command.split()[1:]],
        cwd=tmp_path,
        env=os.environ | {"COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert plain(done.stdout[done.stdout.index("Sweep (") :]) == plain(told)


@pytest.mark.slow
def test_the_demo_in_24_mib_is_what_plan_show_prints(tmp_path):
    """Built with its thirty steps; at 80 columns, and the chunks at 140."""
    plan = compile_pipeline(IN_24_MIB, out=tmp_path / "stream").plan
    assert shown(plan, 80) == of_the_build(block("inspect.md", DEMO))
    assert plain(
        block("inspect.md", "Chunks\n\n chunk                weights   activ.       in")
    ) in (shown(plan, 140))
