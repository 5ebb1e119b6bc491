"""plan.json: written whole or not at all, and read as what a stranger may have written.

The file holds the plan and its own SHA-256. Reading checks, in this order: JSON, version,
hash, texts, types, paths, and with the independent checker every claim the plan makes.
"""

import hashlib
import json
import os
import stat
import unicodedata
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from entracte.check.life import check_features
from entracte.check.proof import Proof, check
from entracte.clock.drivers import make_driver
from entracte.codec import decode, encode, parse_json
from entracte.errors import PlanError
from entracte.ir import Bundle, Call, Chunk, ChunkFacts, Pipeline, Plan, Program, Schedule, Target
from entracte.plan.forecast import forecast
from entracte.program.workload import Workload
from entracte.store.origin import VERSION as ENTRACTE

VERSION = 5
FILE = "plan.json"
CONSTANTS = "constants.safetensors"
MAX_BYTES = 64 * 2**20
MOST_FILE_BYTES = 2**30
"""Of constants or a tokenizer."""


@dataclass(frozen=True, kw_only=True)
class Decided:
    """What a plan tells its runner to do. `facts`: of all `chunks`, measured or predicted."""

    program: Program
    chunks: tuple[Chunk, ...]
    facts: tuple[ChunkFacts, ...]
    schedule: Schedule


def make_plan(
    pipeline: Pipeline,
    target: Target,
    settings: str,
    decided: Decided,
    *,
    bundle: Bundle | None,
    files: tuple[tuple[str, str], ...] = (),
) -> Plan:
    """Put the decided (and, if built, emitted) values together; the checker proves the peak."""
    program, facts, schedule = decided.program, decided.facts, decided.schedule
    proof = check(program, facts, schedule, budget_bytes=target.budget_bytes)
    plan = Plan(
        version=VERSION,
        entracte=ENTRACTE,
        built=bundle is not None,
        pipeline=pipeline.name,
        title=pipeline.title,
        target=target,
        settings=settings,
        fps=pipeline.fps,
        program=program,
        chunks=decided.chunks,
        packages=bundle.packages if bundle is not None else (),
        facts=facts,
        schedule=schedule,
        forecast=forecast(Workload.on(target, program, facts), schedule, proof),
        files=files,
    )
    check_plan(plan)
    return plan


def check_plan(plan: Plan) -> Proof:
    """Everything a plan claims about itself, checked. Raises `PlanError`."""
    _check_target(plan.target)
    budget = plan.schedule.budget_bytes
    if budget > plan.target.budget_bytes:
        raise PlanError(f"plan: scheduled for {budget} of {plan.target.budget_bytes} bytes")
    proof = check(plan.program, plan.facts, plan.schedule, budget_bytes=budget)
    if proof.peak_bytes != plan.forecast.peak_bytes:
        raise PlanError(
            f"plan: claims a peak of {plan.forecast.peak_bytes} bytes, the checker proves "
            f"{proof.peak_bytes}"
        )
    if {c.id for c in plan.chunks} != {f.id for f in plan.facts}:
        raise PlanError("plan: its chunks and the facts about chunks have different names")
    check_features(plan.program, {c.id: (c.inputs, c.outputs) for c in plan.chunks})
    for package in plan.packages:
        _inside(package.path)
    for path, _ in plan.files:
        _inside(path)
    _check_functions(plan)
    # It refuses what it cannot carry out.
    make_driver(Workload.of(plan), plan.schedule)
    if plan.built and {p.chunk for p in plan.packages} != {c.id for c in plan.chunks}:
        raise PlanError("plan: says it is built, but not every chunk has its package")
    if stray := sorted({p.chunk for p in plan.packages} - {c.id for c in plan.chunks}):
        raise PlanError(f"plan: has a package of {stray[0]!r}, which is none of its chunks")
    for package in plan.packages:
        chunk = next(c for c in plan.chunks if c.id == package.chunk)
        if (package.inputs, package.outputs) != (chunk.inputs, chunk.outputs):
            raise PlanError(f"plan: package {package.path} has other ports than its chunk")
    return proof


def _check_target(target: Target) -> None:
    """What its numbers are divided by, or multiplied with, makes sense."""
    if not 0 <= target.settle_fraction < 1:
        raise PlanError(f"plan: target.settle_fraction {target.settle_fraction} is not in [0, 1)")
    if not target.contention >= 1:
        raise PlanError(f"plan: target.contention {target.contention} is below 1")
    for name in ("load_bandwidth", "compute_flops", "memory_bandwidth"):
        if not getattr(target, name) > 0:
            raise PlanError(f"plan: target.{name} {getattr(target, name)} is not above 0")


def _check_functions(plan: Plan) -> None:
    """Every function that a call uses in some iteration is one of its chunk's package."""
    packages = {p.chunk: p.functions for p in plan.packages}
    traced = {c.id: ("main", *(v.name for v in c.variants)) for c in plan.chunks}
    for step in (s for g in plan.program.segments for s in g.steps):
        if not isinstance(step, Call):
            continue
        known = set(traced[step.chunk]) & set(packages.get(step.chunk, traced[step.chunk]))
        stray = sorted({step.function, *(name for name, _ in step.switch)} - known)
        if stray:
            raise PlanError(
                f"plan: calls function {stray[0]!r} of {step.chunk}, which has {sorted(known)}"
            )


def _inside(path: str) -> None:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or not path:
        raise PlanError(f"plan: the path {path!r} leads out of the build folder")


def write_plan(plan: Plan, folder: Path) -> Path:
    """Write `plan.json` aside and rename it into place."""
    body = encode(plan)
    check_texts(body, "plan")
    text = _canonical(body)
    whole = {"sha256": _sha256(text), "plan": body}
    path = folder / FILE
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n")
    os.replace(aside, path)
    return path


def read_plan(folder: Path | str) -> Plan:
    """Read and check the plan of a build folder (or the plan file itself). Raises `PlanError`."""
    folder = Path(folder)
    path = folder / FILE if folder.is_dir() else folder
    if not path.is_file():
        raise PlanError(f"{folder}: there is no {FILE} here; give a build folder made by `compile`")
    if path.stat().st_size > MAX_BYTES:
        raise PlanError(f"{path}: larger than {MAX_BYTES} bytes; this is no plan")
    try:
        whole = parse_json(path.read_bytes())
    except OSError as error:
        raise PlanError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise PlanError(f"{path}: not a whole JSON file ({error}); compile again") from None
    body = whole.get("plan") if isinstance(whole, dict) else None
    if not isinstance(body, dict):
        raise PlanError(f"{path}: holds no plan; compile again")
    if body.get("version") != VERSION:
        raise PlanError(
            f"{path}: plan version {body.get('version')}, this Entracte {ENTRACTE} reads "
            f"version {VERSION}; compile again, or use the Entracte that made it"
        )
    if whole.get("sha256") != _sha256(_canonical(body)):
        raise PlanError(f"{path}: changed since it was written (wrong SHA-256); compile again")
    check_texts(body, "plan")
    plan: Plan = decode(Plan, body)
    check_plan(plan)
    return plan


_INVISIBLE = {"Cc", "Zl", "Zp", "Cs"}
_REORDERING = set("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_PROSE = ("settings", "default", "sources")
"""Fields in which lines may break: they are never names."""


def check_texts(value: object, where: str) -> None:
    """A name that moves a terminal's cursor or turns text around could show what is not so.

    Raises `PlanError`.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in _PROSE:
                check_texts(item, f"{where}.{key}")
    elif isinstance(value, list):
        for i, item in enumerate(value):
            check_texts(item, f"{where}[{i}]")
    elif isinstance(value, str):
        bad = [c for c in value if unicodedata.category(c) in _INVISIBLE or c in _REORDERING]
        if bad:
            raise PlanError(f"{where}: {value!r} holds the control character {bad[0]!r}; rename it")


def check_files(plan: Plan, folder: Path) -> None:
    """The build folder is complete: every file the plan names is there and inside it."""
    if not plan.built:
        raise PlanError(f"{folder}: a dry run, nothing was built; compile without dry_run=true")
    # `Path.resolve` raises on links in a circle.
    root = Path(os.path.realpath(folder))
    for path in [p.path for p in plan.packages] + [p for p, _ in plan.files]:
        place = Path(os.path.realpath(folder / path))
        if root not in place.parents:
            raise PlanError(f"{folder}: {path} leads out of the build folder")
        if not place.exists():
            raise PlanError(f"{folder}: {path} is missing; compile again")
    for path, digest in plan.files:
        if file_sha256(folder / path) != digest:
            raise PlanError(f"{folder}: {path} changed since it was written; compile again")


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal. Raises `PlanError` for one that is none, or
    too large for anything that a host step reads."""
    try:
        # Not to wait for whoever might write into a pipe.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0))
        with os.fdopen(handle, "rb") as file:
            state = os.fstat(handle)
            if not stat.S_ISREG(state.st_mode) or state.st_size > MOST_FILE_BYTES:
                raise PlanError(
                    f"{path}: not a regular file of at most {MOST_FILE_BYTES} bytes; compile again"
                )
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PlanError(f"{path}: cannot be read ({error.strerror})") from None


def _canonical(body: object) -> str:
    return json.dumps(body, sort_keys=True, separators=(",", ":"))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
