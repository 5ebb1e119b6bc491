"""The commands: `compile`, `plan`, and both as `entracte`; versions, help, faults, exit status."""

import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAMES = {
    "compile": ["entracte.cli.compile"],
    "plan": ["entracte.cli.plan"],
    "entracte compile": ["entracte", "compile"],
    "entracte plan": ["entracte", "plan"],
    "entracte": ["entracte"],
}


def run(name: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *NAMES[name], *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)


def test_a_tool_that_is_asked_for_help_writes_nothing():
    """One that took its words by number made a folder of the name `--help`."""
    numbered = [
        path.name for path in sorted((ROOT / "tools").rglob("*.py"))
        if re.search(r"sys\.argv\[\d+\]", path.read_text())
    ]  # fmt: skip
    assert numbered == []
    command = [sys.executable, "-m", "tools.page_links", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0 and "site" in done.stdout


def test_every_script_is_there():
    assert set(PROJECT["scripts"]) == {"entracte", "compile", "plan"}
    for place in PROJECT["scripts"].values():
        module, _, function = place.partition(":")
        assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize("name", NAMES)
def test_each_says_its_version(name, tmp_path):
    done = run(name, "--version", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"entracte {PROJECT['version']}\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "compile",
            (
                "target: host, ipad_m4",
                "compression: int4_block32",
                "  sampler.steps  whole",
                "  --quiet ",
                "  --verbose ",
                "  --progress FORM ",
            ),
        ),
        ("plan", ("show", "verify", "--version", "-h, --help")),
        ("entracte compile", ("target: host, ipad_m4",)),
        ("entracte plan", ("Usage: entracte plan", "show", "verify")),
        ("entracte", ("entracte COMMAND", "  compile  ", "  plan     ", "--version", "-h, --help")),
    ],
)
def test_each_has_help_by_both_names(name, words, tmp_path):
    short, long = run(name, "-h", cwd=tmp_path), run(name, "--help", cwd=tmp_path)
    assert (short.returncode, short.stderr) == (0, "")
    assert short.stdout == long.stdout
    assert not [w for w in words if w not in short.stdout]


def test_a_subcommand_has_the_short_help_too():
    done = run("entracte plan", "show", "-h")
    assert done.returncode == 0 and "Usage: entracte plan show" in done.stdout


def test_without_a_word_it_shows_the_help():
    done = run("entracte")
    assert done.returncode == 0 and done.stdout == run("entracte", "-h").stdout


def test_another_word_is_refused():
    done = run("entracte", "complie", "+target=host")
    assert done.returncode == 2
    assert done.stderr == "error: 'complie' is no command; give compile, plan or ui (entracte -h)\n"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("compile", []),
        ("compile", ["+target=host", "sampler.steps=0", "dry_run=true"]),
        ("compile", ["+target=nowhere"]),
        ("plan", ["show", "nowhere"]),
        ("plan", ["run", "nowhere", "--out", "clip.avi"]),
        ("plan", ["compare", "nowhere", "elsewhere"]),
    ],
)
def test_both_spellings_fail_alike(name, arguments, tmp_path):
    one = run(name, *arguments, cwd=tmp_path)
    other = run(f"entracte {name}", *arguments, cwd=tmp_path)
    assert one.returncode == (2 if "compare" in arguments else 1)
    assert (one.returncode, one.stderr, one.stdout) == (
        other.returncode, other.stderr, other.stdout,
    )  # fmt: skip
    assert "Traceback" not in one.stderr + one.stdout
    assert not list(tmp_path.iterdir())
