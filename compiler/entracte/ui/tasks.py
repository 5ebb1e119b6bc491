"""What a user asks for -> the task: the words of the command, and where it writes."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from entracte.disk.folder import make_folder
from entracte.disk.write import write_bytes
from entracte.errors import ConfigError, RunError
from entracte.ir import Input, Plan
from entracte.run.inputs import given_inputs
from entracte.run.media import check_file, decode
from entracte.run.outputs import usual_name
from entracte.ui.jobs import FITS, Task
from entracte.ui.places import BUILDS, GIVEN, PLANS, PREVIEWS, RUNS, Root
from entracte.ui.words import line

UPLOADED = ("image", "audio", "video", "tensor")
"""Kinds of inputs that are files."""
MOST_BYTES = 64 * 2**20
"""Of a file that is given."""
RECORD = "run.json"
FACTORS = "preview.json"
"""Of a build: where it has these, a run shows what its loop has so far."""
_CHOICE = re.compile(r"(?P<group>target|pipeline)=(?P<name>[\w.-]+)", re.ASCII)


def usual_build_name(words: Sequence[str], pipeline: str) -> str:
    """`PIPELINE-TARGET`, of the words of `compile`."""
    named = {m["group"]: m["name"] for w in words if (m := _CHOICE.fullmatch(w))}
    return f"{named.get('pipeline', pipeline)}-{named.get('target', '')}".strip("-")


def compile_task(root: Root, words: Sequence[str], name: str, *, dry_run: bool) -> Task:
    """A dry run or a build. Raises `ConfigError` for a name that is none."""
    place = root.fresh(PLANS if dry_run else BUILDS, name)
    typed = ("compile", *words, *(("dry_run=true",) if dry_run else ()), f"out={place}")
    return Task("plan" if dry_run else "build", typed, line(typed), place)


def fits_task(words: Sequence[str], pipeline: str) -> Task:
    """On which devices it fits: all of them, so the target's own word is left out; `pipeline`: what
    is meant where the words name none."""
    others = [w for w in words if not w.startswith("target=")]
    if not any(w.startswith("pipeline=") for w in others):
        others.append(f"pipeline={pipeline}")
    typed = ("plan", "fits", *others)
    return Task(FITS, (*typed, "--json"), line(typed), "")


def run_task(root: Root, build: str, plan: Plan, given: Mapping[str, str], device: str) -> Task:
    """A run of a build. Raises `RunError` or `ConfigError` for what cannot be given, before
    anything is started.

    Args:
        build: its name in the root.
        given: input -> what was typed, or the name in the root of a file; empty for the default.
        device: as of `plan run --device`.
    """
    if not plan.built:
        raise ConfigError(f"{build}: is a dry run, and has no packages; compile it first")
    typed = {k: v for k, v in given.items() if v != ""}
    files = {i.name for i in plan.program.inputs if i.kind in UPLOADED}
    paths = {k: str(root.existing(v)) if k in files else v for k, v in typed.items()}
    given_inputs(plan, paths)
    place = root.fresh(RUNS, Path(build).name)
    make_folder(root.folder / place)
    words = ["plan", "run", build, f"--device={device}"]
    words += [f"--input={name}={value}" for name, value in typed.items()]
    words += [f"--out={text}" for text in _outs(plan, place)]
    words.append(f"--record={place}/{RECORD}")
    if (root.folder / build / FACTORS).is_file():
        make_folder(root.folder / place / PREVIEWS)
        words.append(f"--preview={place}/{PREVIEWS}/newest.gif")
    return Task("run", tuple(words), line(words), place, build)


def _outs(plan: Plan, place: str) -> list[str]:
    """A file for each output, also for texts."""
    outputs = plan.program.outputs
    alone = len(outputs) == 1
    names = [f"{o.name}.txt" if o.kind == "text" else usual_name(o, alone=alone) for o in outputs]
    if alone:
        return [f"{place}/{names[0]}"]
    return [f"{o.name}={place}/{n}" for o, n in zip(outputs, names, strict=True)]


def takes_files(plan: Plan) -> tuple[Input, ...]:
    """Inputs that a file is given of."""
    return tuple(i for i in plan.program.inputs if i.kind in UPLOADED)


def accept(root: Root, plan: Plan, name: str, file: Path) -> str:
    """Take a file that was uploaded for an input: its size, ending and content are checked as
    `plan run --input` does, then it is copied under the digest of its bytes. Its name in the root.

    Raises `RunError`.
    """
    known = {i.name: i for i in takes_files(plan)}
    if name not in known:
        raise RunError(f"input {name[:60]!r}: the plan takes no file of that name")
    size = file.stat().st_size
    if size > MOST_BYTES:
        raise RunError(f"input {name!r}: has {size} bytes; at most {MOST_BYTES} are taken here: "
                       "copy larger ones into the folder and use the terminal")  # fmt: skip
    check_file(name, known[name], file)
    decode(name, known[name], file)
    data = file.read_bytes()
    root.make(GIVEN)
    place = f"{GIVEN}/{hashlib.sha256(data).hexdigest()[:16]}{file.suffix.lower()}"
    write_bytes(root.folder / place, data)
    return place
