"""`plan whence`: how a file that `plan run` wrote was made, by what it says itself."""

import json
import re
import shlex
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from entracte.cli.tables import say
from entracte.plan.file import plan_sha256, read_plan
from entracte.run.metadata import Metadata, read_metadata
from entracte.run.origin import plan_digest


def show_whence(console: Console, file: Path, build: Path | None, *, as_json: bool) -> bool:
    """Print what a file says; returns whether it is of the plan of `build`; True without one.

    Raises `RunError` and `PlanError`.
    """
    found = read_metadata(file)
    plan = None if build is None else read_plan(build)
    same = plan is None or found.plan in (plan_digest(plan), plan_sha256(plan))
    if as_json:
        tables = {"inputs": dict(found.inputs), "versions": dict(found.versions)}
        console.print_json(json.dumps({**asdict(found), **tables}))
        return same
    rows = [
        ("made by", found.made_by),
        ("pipeline", found.pipeline),
        *((f"input {name}", _told(value)) for name, value in found.inputs),
        ("plan", found.plan),
        ("device", " ".join(filter(None, (found.device, found.arithmetic)))),
        ("versions", ", ".join(f"{name} {text}" for name, text in found.versions)),
    ]
    rows.append(("again", _again(found, build)))
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        console.print(_plain(f"{name:{width}}  {text}"), markup=False, soft_wrap=True)
    if plan is not None:
        say(
            console, f"It is of {build}'s plan" if same else f"It is of another plan than {build}'s"
        )
    return same


def _told(value: str | int | float) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else f"{value}"


def _again(found: Metadata, build: Path | None) -> str:
    """The command that makes it again; of a file that was given only the digest is known."""
    words = [f"--input {shlex.quote(f'{name}={_word(value)}')}" for name, value in found.inputs]
    words += [f"--policy {found.arithmetic}"] if found.arithmetic in ("round", "fp32") else []
    return " ".join(["plan run", str(build or "BUILD"), *words])


def _word(value: str | int | float) -> str:
    is_digest = isinstance(value, str) and re.fullmatch("sha256:[0-9a-f]{64}", value)
    return "FILE" if is_digest else str(value)


def _plain(text: str) -> str:
    """A stranger's text may hold anything; a terminal's commands are not carried out."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
