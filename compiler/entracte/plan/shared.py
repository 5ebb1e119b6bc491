"""Chunks that share a graph agree: they compute the same, and their packages are one graph and as
many files of arrays."""

import re

from entracte.errors import PlanError
from entracte.ir import Arrays, Chunk, Package, Plan, Port
from entracte.store.arrays import header_of, in_order

_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_shared(plan: Plan) -> None:
    """Raises `PlanError` naming what contradicts."""
    chunks = {c.id: c for c in plan.chunks}
    packages = {p.chunk: p for p in plan.packages}
    for chunk in plan.chunks:
        if chunk.shares:
            _check_chunk(chunk, chunks.get(chunk.shares))
    for package in plan.packages:
        chunk = chunks[package.chunk]
        if (package.arrays is not None) != bool(chunk.shares):
            has = "has arrays" if package.arrays is not None else "has no arrays"
            raise PlanError(
                f"plan: package {package.path} {has}, and chunk {chunk.id} shares "
                f"{chunk.shares or 'no graph'}"
            )
        if package.arrays is not None:
            _check_package(package, package.arrays, packages[chunk.shares])


def _check_chunk(chunk: Chunk, first: Chunk | None) -> None:
    where = f"plan: chunk {chunk.id} shares {chunk.shares!r}"
    if first is None or first.shares != first.id or first.graph != chunk.graph:
        raise PlanError(f"{where}, which is no first chunk of its stage that others are like")
    if chunk.variants:
        raise PlanError(f"{where}, and has functions beside main; a shared graph has none")
    for what in ("inputs", "outputs"):
        if _shapes(getattr(chunk, what)) != _shapes(getattr(first, what)):
            raise PlanError(f"{where}, but their {what} are not of the same shapes and types")
    for what in ("weight_bytes", "flops", "activation_bytes"):
        one, other = getattr(chunk, what), getattr(first, what)
        if one != other:
            raise PlanError(f"{where}, but their {what} are {one} and {other}")


def _check_package(package: Package, arrays: Arrays, first: Package) -> None:
    where = f"plan: arrays {arrays.path}"
    for what in ("path", "digest", "file_bytes", "activation_bytes", "compression"):
        one, other = getattr(package, what), getattr(first, what)
        if one != other:
            raise PlanError(f"{where}: the graph's {what} is {one!r}, of {first.chunk} {other!r}")
    if package.compression != "none":
        raise PlanError(f"{where}: inputs of a graph are not compressed ({package.compression})")
    if first.arrays is None or arrays.ports != first.arrays.ports:
        raise PlanError(f"{where}: they are others than those of {first.chunk}")
    names = [p.name for p in arrays.ports]
    if sorted(names) != sorted(f"w{i}" for i in range(len(names))):
        raise PlanError(f"{where}: their names are not w0, w1, ..., each once")
    if in_order(arrays.ports) != arrays.ports:
        raise PlanError(f"{where}: those of wider types do not come first")
    if not _SHA256.fullmatch(arrays.digest):
        raise PlanError(f"{where}: they have no SHA-256 but {arrays.digest!r}")
    held_bytes = sum(p.size_bytes for p in arrays.ports)
    if held_bytes != package.weight_bytes:
        raise PlanError(f"{where}: {held_bytes} bytes, the package says {package.weight_bytes}")
    wanted = len(header_of(arrays.ports)) + held_bytes
    if arrays.file_bytes != wanted:
        raise PlanError(f"{where}: a file of {arrays.file_bytes} bytes, they make {wanted}")


def _shapes(ports: tuple[Port, ...]) -> list[tuple[tuple[int, ...], str]]:
    return [(p.shape, str(p.dtype)) for p in ports]
