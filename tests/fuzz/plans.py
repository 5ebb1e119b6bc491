"""plan.json: its structure changed and its hash made right again, through the commands."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.fuzz import places, safetensor
from tests.fuzz.case import Case, Door
from tests.fuzz.mutate import as_text, broken, mutated

HOST_FILES = ("tokenizer_tokenize.json", "constants.safetensors")


def sealed(body: Any) -> str:
    """A plan's file with its hash made right: what its reader checks before it looks inside."""
    text = json.dumps(body, indent=1, sort_keys=True)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f'{{"sha256":"{digest}","plan":\n{text}\n}}\n'


def doors(case: Case) -> Sequence[Door]:
    """A build folder whose plan, or a file that it names, is a stranger's."""
    toys = sorted((case.base / "toys").iterdir())
    origin = case.base / "build" if case.rng.random() < 0.5 else case.rng.choice(toys)
    build = case.folder / "build"
    shutil.copytree(origin, build)
    body = _changed(case, build)
    return _doors(case, build, body)


def _changed(case: Case, build: Path) -> Any:
    """The plan as it is now; None where it is no longer known."""
    file, rng = build / "plan.json", case.rng
    body = json.loads(file.read_text())["plan"]
    what = rng.random()
    if what < 0.08:
        file.write_bytes(broken(file.read_bytes(), rng, case.notes))
        return None
    if what < 0.11:
        # Its own link may lead anywhere: what is no plan is told by its first bytes at most.
        places.replace(file, rng, case.folder, case.notes)
        return None
    if what < 0.2 and (build / HOST_FILES[0]).is_file():
        _change_file(case, build, body)
    elif what < 0.22:
        case.notes.append("hash left wrong")
        whole = json.loads(file.read_text())
        file.write_text(as_text({**whole, "plan": mutated(body, rng, case.notes)}))
        return None
    else:
        body = mutated(body, rng, case.notes)
    try:
        text = sealed(body)
    except (ValueError, RecursionError):
        text = as_text({"sha256": "0", "plan": None})
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    return body


def _change_file(case: Case, build: Path, body: Any) -> None:
    """A file beside the plan, and its digest in the plan."""
    name = case.rng.choice(HOST_FILES)
    file = build / name
    if case.rng.random() < 0.3:
        places.replace(file, case.rng, case.base.parent / "sentinel", case.notes)
    elif name.endswith(".json"):
        safetensor.change_tokenizer(file, case)
    else:
        safetensor.change(file, case)
    if file.is_file() and file.stat().st_size < 1 << 20:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        body["files"] = [[n, digest if n == name else d] for n, d in body["files"]]


def _doors(case: Case, build: Path, body: Any) -> list[Door]:
    place, out = str(build), case.folder / "out"
    record = case.folder / "observed.json"
    null = Door(
        ("plan", "run", place, "--device", "null", "--record", str(record)),
        lambda _: _overrun(body, record),
    )
    others = (
        (("show", place), 5),
        (("show", place, "--json"), 4),
        (("report", place, "-o", f"{out}.html"), 4),
        (("trace", place, "-o", f"{out}.json"), 3),
        (("graph", place), 2),
        (("compare", place, str(case.base / "build")), 2),
        (("compare", str(case.base / "build"), place, "--json"), 2),
        (("run", place, "--device", "reference", "--out", f"{out}.npy"), 1),
        (("verify", place, "--no-save"), 1),
        (("verify", place, "--distinct"), 1),
    )
    chosen = case.rng.choices([w for w, _ in others], [n for _, n in others])[0]
    other = Door(("plan", *chosen))
    return [null, other] if case.rng.random() < 0.6 else [other]


def _overrun(body: Any, record: Path) -> str | None:
    """What a run that was accepted may not do: take more than the plan claims."""
    if body is None or not record.is_file():
        return None
    observed = json.loads(record.read_text())["peak_bytes"]
    claimed = body["forecast"]["peak_bytes"]
    return f"observed {observed} bytes of {claimed} claimed" if observed > claimed else None
