"""run.json: what a run is said to have done."""

import json
import shutil
from collections.abc import Sequence

from tests.fuzz import places
from tests.fuzz.case import Case, Door
from tests.fuzz.mutate import as_text, broken, mutated


def doors(case: Case) -> Sequence[Door]:
    """A record of the sound build, changed; beside its plan, or given by name."""
    rng = case.rng
    beside = rng.random() < 0.5
    build = case.base / "build"
    if beside:
        build = case.folder / "build"
        build.mkdir()
        shutil.copyfile(case.base / "build" / "plan.json", build / "plan.json")
    file = build / "run.json" if beside else case.folder / "mine.json"
    raw = (case.base / "run.json").read_bytes()
    what = rng.random()
    if what < 0.1:
        file.write_bytes(broken(raw, rng, case.notes))
    elif what < 0.14:
        places.replace(file, rng, case.base.parent / "sentinel", case.notes)
    else:
        made = as_text(mutated(json.loads(raw), rng, case.notes))
        file.write_bytes(made.encode("utf-8", "surrogatepass"))
    place = str(build)
    given = () if beside else ("--run", str(file))
    out = case.folder / "out"
    commands = (
        ("show", place), ("show", place, "--json"), ("trace", place, "-o", f"{out}.json"),
        ("report", place, "-o", f"{out}.html"),
    )  # fmt: skip
    return [Door(("plan", *rng.choice(commands), *given))]
