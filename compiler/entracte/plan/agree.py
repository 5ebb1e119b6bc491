"""A plan's numbers about one chunk agree, wherever they stand: chunk, package, facts, files.

The proof is about facts. What ties them to the packages is here; what ties the packages to the
files on disk is `entracte.run.packages`.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import PurePosixPath

from entracte.check.names import once, package_paths
from entracte.cost import emitted_facts, predicted_facts
from entracte.declare.scheme import PRECISION_FLOORS_DB, compressions, floor_db
from entracte.errors import PlanError
from entracte.ir import (
    COMPUTE_UNITS,
    Bundle,
    Chunk,
    ChunkFacts,
    Compared,
    FunctionPorts,
    Package,
    Plan,
    Variant,
)
from entracte.plan.shared import check_shared

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NEAR = 1e-9
"""Seconds are sums of quotients: another language may round the last digits in another way."""


def check_agreement(plan: Plan) -> None:
    """Raises `PlanError` naming the first two numbers that contradict each other."""
    _check_paths(plan)
    ids = {c.id for c in plan.chunks}
    if ids != {f.id for f in plan.facts}:
        raise PlanError("plan: its chunks and the facts about chunks have different names")
    for chunk in plan.chunks:
        _check_chunk(chunk)
    _check_others(plan)
    _check_packages(plan)
    check_shared(plan)
    _check_compared(plan)
    _check_facts(plan)


def _check_paths(plan: Plan) -> None:
    """No two things in one place, nor one inside the other, however their paths are spelled."""
    paths = [*package_paths(plan), *(path for path, _ in plan.files)]
    spelled = [PurePosixPath(path) for path in paths]
    once(
        "plan: two paths are, but for large and small letters,",
        (str(p).casefold() for p in spelled),
    )
    known = set(spelled)
    for path in spelled:
        if inner := known & set(path.parents):
            raise PlanError(f"plan: {path} lies inside {inner.pop()}; paths lie side by side")
    for name, digest in plan.files:
        if not _SHA256.fullmatch(digest):
            raise PlanError(f"plan: file {name} has no SHA-256 but {digest!r}")


def _check_chunk(chunk: Chunk) -> None:
    if chunk.compute_unit not in ("", *COMPUTE_UNITS):
        raise PlanError(
            f"plan: chunk {chunk.id}: compute unit {chunk.compute_unit!r} is not one of "
            f"{', '.join(COMPUTE_UNITS)}, nor empty for the target's"
        )
    parts: tuple[Chunk | Variant, ...] = (chunk, *chunk.variants)
    for part in parts:
        _check_work(chunk, part)
    for v in chunk.variants:
        if not v.graph and (v.inputs or v.outputs):
            raise PlanError(
                f"plan: chunk {chunk.id}: function {v.name} is of its own stage, and yet has ports "
                "of its own"
            )
        if v.graph == chunk.graph:
            raise PlanError(
                f"plan: chunk {chunk.id}: function {v.name} is said to be of another graph, which "
                f"is its own, {v.graph}"
            )


def _check_others(plan: Plan) -> None:
    """A function with ports of its own is of another stage, by whose name it goes, and whose graph
    has no chunks of its own."""
    graphs = {c.graph for c in plan.chunks}
    for chunk in plan.chunks:
        for v in chunk.variants:
            if v.graph in graphs or (v.graph and _stage_name(v.graph) != v.name):
                raise PlanError(
                    f"plan: function {v.name} of chunk {chunk.id} is said to be of {v.graph}, "
                    "which has chunks of its own, or is another stage's"
                )


def _check_work(chunk: Chunk, part: Chunk | Variant) -> None:
    """Work by class is all of the work."""
    for field in ("flops", "moved_bytes"):
        whole, parts = getattr(part, field), [getattr(w, field) for w in part.work]
        if part.work and sum(parts) != whole:
            raise PlanError(
                f"plan: chunk {chunk.id} has {field} {whole}, its work by class {sum(parts)}"
            )


def _check_packages(plan: Plan) -> None:
    if not plan.built and plan.packages:
        raise PlanError("plan: says it is a dry run, but names packages")
    chunks = {c.id: c for c in plan.chunks}
    if plan.built and {p.chunk for p in plan.packages} != chunks.keys():
        raise PlanError("plan: says it is built, but not every chunk has its package")
    for package in plan.packages:
        _check_package(package, chunks[package.chunk])
    how: dict[str, Package] = {}
    for package in plan.packages:
        other = how.setdefault(_stage(chunks[package.chunk]), package)
        for field in ("precision", "compression"):
            if getattr(package, field) != getattr(other, field):
                raise PlanError(
                    f"plan: packages {other.path} and {package.path} are of one stage, but their "
                    f"{field} is {getattr(other, field)!r} and {getattr(package, field)!r}"
                )


def _stage(chunk: Chunk) -> str:
    return _stage_name(chunk.graph)


def _stage_name(graph: str) -> str:
    return graph.partition(".")[0]


def _check_package(package: Package, chunk: Chunk) -> None:
    where = f"plan: package {package.path}"
    if (package.inputs, package.outputs) != (chunk.inputs, chunk.outputs):
        raise PlanError(f"{where} has other ports than its chunk")
    theirs = tuple(FunctionPorts(v.name, v.inputs, v.outputs) for v in chunk.others)
    if package.own_ports != theirs:
        raise PlanError(f"{where} has other ports than its chunk in the functions of other stages")
    functions = ("main", *(v.name for v in chunk.variants))
    if package.functions != functions:
        raise PlanError(
            f"{where} has the functions {', '.join(package.functions)}, its chunk "
            f"{', '.join(functions)}"
        )
    if not _SHA256.fullmatch(package.digest):
        raise PlanError(f"{where} has no SHA-256 but {package.digest!r}")
    if package.arrays is None and not 0 <= package.weight_bytes <= package.file_bytes:
        raise PlanError(
            f"{where}: {package.weight_bytes} bytes of weights in {package.file_bytes} bytes of "
            "files"
        )
    _check_how(package, where)


def _check_how(package: Package, where: str) -> None:
    for field, names in (("precision", PRECISION_FLOORS_DB), ("compression", compressions())):
        given = getattr(package, field)
        if given not in names:
            raise PlanError(f"{where}: {field} {given!r} is not one of {', '.join(names)}")


def _check_compared(plan: Plan) -> None:
    """What was compared is all packages or none, and none is below the floor of what it is."""
    if plan.verify not in ("on", "off"):
        raise PlanError(f"plan.verify: {plan.verify!r} is not one of on, off")
    once("plan.compared: two comparisons are of chunk", (c.chunk for c in plan.compared))
    how = {p.chunk: p for p in plan.packages}
    compared = {c.chunk for c in plan.compared}
    if compared != (how.keys() if plan.verify == "on" else set()):
        raise PlanError(
            f"plan.compared: with verify={plan.verify} it has one entry for "
            f"{'each package' if plan.verify == 'on' else 'none'}, not for "
            f"{', '.join(sorted(compared)) or 'none'}"
        )
    for entry in plan.compared:
        if fault := _comparison_fault(entry, how):
            raise PlanError(f"plan.compared: chunk {entry.chunk}: {fault}")


def _comparison_fault(entry: Compared, how: Mapping[str, Package]) -> str | None:
    package = how[entry.chunk]
    floor = floor_db(package.precision, package.compression)
    if entry.of not in how:
        return f"what ran was {entry.of!r}, which is no chunk"
    if entry.floor_db != floor:
        return f"its floor is {entry.floor_db} dB, what it is stored as has {floor} dB"
    if not entry.share <= 1:
        return f"{entry.share} of its operations ran"
    if entry.db is None:
        return None if entry.why else "it did not run, and nothing says why"
    if entry.db < entry.floor_db:
        return f"{entry.db} dB are below its floor of {entry.floor_db} dB: no compile keeps that"
    if entry.inputs not in ("recorded", "drawn"):
        return f"inputs {entry.inputs!r} are none of recorded, drawn"
    return None


def _check_facts(plan: Plan) -> None:
    """Facts are what the packages (of a dry run: the chunks) and the target give, and no other."""
    try:
        wanted = _wanted(plan)
    except ArithmeticError:
        raise PlanError("plan: a speed of its target is 0; no time follows from it") from None
    found = {f.id: f for f in plan.facts}
    for facts in wanted:
        for field, one, other in _differences(found[facts.id], facts):
            source = "its package and the target give" if plan.built else "tracing gives"
            raise PlanError(
                f"plan: the facts of chunk {facts.id} say {field} {one}, {source} {other}"
            )


def _wanted(plan: Plan) -> tuple[ChunkFacts, ...]:
    if plan.built:
        return emitted_facts(plan.chunks, Bundle(plan.packages), plan.target)
    return tuple(predicted_facts(c, plan.target) for c in plan.chunks)


def _differences(found: ChunkFacts, wanted: ChunkFacts) -> Iterator[tuple[str, object, object]]:
    for field in fields(ChunkFacts):
        one, other = getattr(found, field.name), getattr(wanted, field.name)
        if not near(one, other):
            yield field.name, one, other


def near(one: object, other: object) -> bool:
    """Equal, but for the last digits of fractions."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=_NEAR, abs_tol=0.0)
    if isinstance(one, Sequence) and isinstance(other, Sequence) and not isinstance(one, str):
        return len(one) == len(other) and all(map(near, one, other))
    return one == other
