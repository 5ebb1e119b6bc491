"""plan.json: written whole or not at all, and read as what a stranger may have written.

The file holds the plan and the SHA-256 of its bytes as they stand there. Reading checks, in this
order: frame, JSON, version, hash, texts, types, paths, and with the independent checker every
claim the plan makes.
"""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from entracte.check.names import check_names, package_paths
from entracte.check.numbers import check_numbers
from entracte.check.pieces import check_features
from entracte.check.promise import check_promise
from entracte.check.proof import Proof, check
from entracte.clock.drivers import make_driver
from entracte.codec import decode, encode, parse_json
from entracte.declare.values import hidden
from entracte.disk.read import all_inside, inside
from entracte.disk.write import write_bytes
from entracte.errors import PlanError
from entracte.ir import Bundle, Chunk, ChunkFacts, Pipeline, Plan, Program, Schedule, Target
from entracte.plan.agree import check_agreement
from entracte.plan.forecast import forecast
from entracte.plan.host_steps import check_host_steps, exact_bytes
from entracte.plan.limits import check_pages, check_size
from entracte.program.workload import Workload
from entracte.store.origin import VERSION as ENTRACTE
from entracte.store.seal import file_sha256, known_sha256

VERSION = 6
FILE = "plan.json"
CONSTANTS = "constants.safetensors"
MAX_BYTES = 64 * 2**20
MAX_FILE_BYTES = 2**30
"""Of constants or a tokenizer; a table's size follows from its step."""


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
    emitted = bundle or Bundle(())
    proof = check(program, facts, schedule, budget_bytes=target.budget_bytes)
    plan = Plan(
        version=VERSION,
        entracte=ENTRACTE,
        built=bundle is not None,
        pipeline=pipeline.name,
        title=pipeline.title,
        target=target,
        settings=settings,
        program=program,
        chunks=decided.chunks,
        packages=emitted.packages,
        facts=facts,
        schedule=schedule,
        forecast=forecast(Workload.on(target, program, facts), schedule, proof),
        files=files,
        verify=emitted.verify,
        compared=emitted.compared,
    )
    check_plan(plan)
    return plan


def check_plan(plan: Plan) -> Proof:
    """Everything a plan claims about itself, checked. Raises `PlanError`."""
    check_size(plan)
    check_numbers(plan)
    check_names(plan)
    _check_files(plan)
    check_agreement(plan)
    budget = plan.schedule.budget_bytes
    if budget > plan.target.budget_bytes:
        raise PlanError(f"plan: scheduled for {budget} of {plan.target.budget_bytes} bytes")
    proof = check(plan.program, plan.facts, plan.schedule, budget_bytes=budget)
    check_features(plan.program, plan.chunks)
    check_host_steps(plan)
    # It refuses what it cannot carry out.
    make_driver(Workload.of(plan), plan.schedule)
    check_pages(plan)
    if proof.peak_bytes != plan.forecast.peak_bytes:
        raise PlanError(
            f"plan: claims a peak of {plan.forecast.peak_bytes} bytes, the checker proves "
            f"{proof.peak_bytes}"
        )
    check_promise(plan, proof.peak_step)
    return proof


def _check_files(plan: Plan) -> None:
    """Nothing leads out of the build folder, and what holds the constants is one of its files."""
    for path in (*package_paths(plan), *(path for path, _ in plan.files)):
        _check_relative(path)
    if plan.built and plan.program.constants and CONSTANTS not in dict(plan.files):
        raise PlanError(f"plan: has constants, but {CONSTANTS} is no file of it")


def _check_relative(path: str) -> None:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or not path:
        raise PlanError(f"plan: the path {path!r} leads out of the build folder")


def write_plan(plan: Plan, folder: Path) -> Path:
    """Write `plan.json`, whole or not at all. Raises `WriteError`."""
    body = encode(plan)
    check_texts(body, "plan")
    path = folder / FILE
    write_bytes(path, framed(body), durable=True)
    return path


_HEAD = re.compile(rb'\{"sha256":"([0-9a-f]{64})","plan":\n')
_TAIL = b"\n}\n"


def framed(body: object) -> bytes:
    """The whole file of an encoded plan: a first line with the hash, the plan, a last line."""
    text = _text(body)
    return f'{{"sha256":"{_sha256(text)}","plan":\n'.encode() + text + _TAIL


def unframed(data: bytes, path: object) -> tuple[str, bytes]:
    """The hash that a file names, and the bytes that it is of. Raises `PlanError`."""
    head = _HEAD.match(data)
    if head is None or not data.endswith(_TAIL) or len(data) <= head.end() + len(_TAIL):
        raise PlanError(f"{path}: not a whole JSON file in the form of a plan; compile again")
    return head[1].decode(), data[head.end() : -len(_TAIL)]


def plan_sha256(plan: Plan) -> str:
    """The digest of a plan: what `write_plan` writes beside it."""
    return _sha256(_text(encode(plan)))


def _text(body: object) -> bytes:
    return json.dumps(body, indent=1, sort_keys=True, allow_nan=False).encode()


def _sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def read_plan(folder: Path | str) -> Plan:
    """Read and check the plan of a build folder (or the plan file itself). Raises `PlanError`."""
    folder = Path(folder)
    path = folder / FILE if folder.is_dir() else folder
    if not path.is_file() or (folder.is_dir() and inside(folder, FILE) is None):
        raise PlanError(f"{folder}: there is no {FILE} here; give a build folder made by `compile`")
    if path.stat().st_size > MAX_BYTES:
        raise PlanError(f"{path}: larger than {MAX_BYTES} bytes; this is no plan")
    body = _read_body(path)
    check_texts(body, "plan")
    plan: Plan = decode(Plan, body)
    check_plan(plan)
    return plan


def _read_body(path: Path) -> dict[str, object]:
    """The encoded plan, of the bytes that the file's hash is of."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PlanError(f"{path}: cannot be read ({error.strerror})") from None
    _check_old(path, data)
    sha256, text = unframed(data, path)
    try:
        body = parse_json(text)
    except ValueError as error:
        raise PlanError(f"{path}: not a whole JSON file ({error}); compile again") from None
    if not isinstance(body, dict):
        raise PlanError(f"{path}: holds no plan; compile again")
    _check_version(path, body.get("version"))
    if sha256 != hashlib.sha256(text).hexdigest():
        raise PlanError(f"{path}: changed since it was written (wrong SHA-256); compile again")
    return body


def _check_version(path: Path, version: object) -> None:
    if version != VERSION:
        raise PlanError(
            f"{path}: plan version {version}, this Entracte {ENTRACTE} reads "
            f"version {VERSION}; compile again, or use the Entracte that made it"
        )


def _check_old(path: Path, data: bytes) -> None:
    """JSON without the frame is a plan as older versions wrote it, or no plan. Raises
    `PlanError`."""
    try:
        whole = None if _HEAD.match(data) else parse_json(data)
    except ValueError:
        return
    if whole is None:
        return
    body = whole.get("plan") if isinstance(whole, dict) else None
    if not isinstance(body, dict):
        raise PlanError(f"{path}: JSON, but no plan; give a build folder that `compile` made")
    _check_version(path, body.get("version"))


_PROSE = ("settings", "default", "sources")
"""Fields in which lines may break: they are never names."""
_LINES = ("prefix", "suffix")
"""Params of host steps, [name, value], whose texts may have lines."""


def check_texts(value: object, where: str, allowed: str = "") -> None:
    """A name that moves a terminal's cursor or turns text around could show what is not so.

    Raises `PlanError`.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in _PROSE:
                check_texts(item, f"{where}.{key}")
    elif isinstance(value, list):
        lines = "\n\t" if len(value) == 2 and value[0] in _LINES else ""
        for i, item in enumerate(value):
            check_texts(item, f"{where}[{i}]", lines)
    elif isinstance(value, str) and (bad := [c for c in hidden(value) if c not in allowed]):
        raise PlanError(f"{where}: {value!r} holds the control character {bad[0]!r}; rename it")


def check_files(plan: Plan, folder: Path) -> None:
    """The build folder is complete: every file the plan names is there and inside it."""
    if not plan.built:
        raise PlanError(f"{folder}: a dry run, nothing was built; compile without dry_run=true")
    for package in plan.packages:
        _check_inside(folder, package.path, "folder")
        if stray := all_inside(folder, folder / package.path):
            raise PlanError(
                f"{folder}: {stray.relative_to(folder)} leads out of the build folder, or is a "
                "device or a pipe; compile again"
            )
        if package.arrays is not None:
            _check_inside(folder, package.arrays.path, "file")
    if plan.program.constants and CONSTANTS not in dict(plan.files):
        raise PlanError(f"{folder}: the plan names no digest of {CONSTANTS}; compile again")
    exact = exact_bytes(plan)
    for path, digest in plan.files:
        _check_inside(folder, path, "file")
        size_bytes = (folder / path).stat().st_size
        if size_bytes != exact.get(path, size_bytes):
            raise PlanError(
                f"{folder}: {path} has {size_bytes} bytes, the plan says {exact[path]}; compile "
                "again, or copy the build again"
            )
        if path not in exact and size_bytes > MAX_FILE_BYTES:
            raise PlanError(f"{folder}: {path} is larger than {MAX_FILE_BYTES} bytes")
        sha256 = known_sha256 if path in exact else file_sha256
        if sha256((folder / path).resolve()) != digest:
            raise PlanError(f"{folder}: {path} changed since it was written; compile again")


def _check_inside(folder: Path, path: str, kind: str) -> None:
    found = inside(folder, path)
    real = Path(os.path.realpath(folder / path))
    if found is None and not real.exists() and real.is_relative_to(os.path.realpath(folder)):
        raise PlanError(f"{folder}: {path} is missing; compile again")
    if found is None:
        raise PlanError(
            f"{folder}: {path} leads out of the build folder, or is a device or a pipe; compile "
            "again"
        )
    if found.is_dir() != (kind == "folder"):
        raise PlanError(f"{folder}: {path} is no {kind}; compile again")
