"""Partition -> Bundle: every chunk becomes a package, each in a process of its own.

What the cache holds is linked. Of the rest, chunks that are the same program with other weights
are converted once, as a template, and stamped (`entracte.lower.stamp`); the others are converted.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from entracte.emit import make
from entracte.emit.make import CHUNK, Order
from entracte.errors import EntracteError
from entracte.ir import Bundle, Chunk, Package
from entracte.store.cache import Cache, digest, link_tree, size_bytes
from entracte.store.form import form_of
from entracte.store.origin import compiler_digest

if TYPE_CHECKING:
    from entracte.lower.worker import Job
    from entracte.trace.traced import Traced
    from entracte.trace.weights import DigestMemo, WeightSource

PACKAGES = "packages"
LOGS = "logs"
_TWINS_FROM = 3
"""A template costs two conversions: worth it for three chunks and more."""
_MEMORY_BYTES = 3 << 30
"""What workers may be expected to take together."""
_FIXED_BYTES = 400 << 20
_BYTES_PER_ELEMENT = 6
"""A conversion holds its weights once in fp32 and once in fp16 (conversion.md, section 3)."""


@dataclass(frozen=True)
class Progress:
    """Told of the work as it is known and as it is done, in bytes of weights."""

    begin: Callable[[int], None] = lambda _: None
    advance: Callable[[str, int], None] = lambda *_: None


def emit(
    traced: "Mapping[str, Traced]",
    chunks: Sequence[Chunk],
    source: "WeightSource",
    *,
    deployment: str,
    folder: Path,
    cache: Cache,
    memo: "DigestMemo",
    workers: int,
    progress: Progress | None = None,
) -> Bundle:
    """Packages of all chunks in `folder/packages`. Raises `LowerError` naming the chunk."""
    for stage in traced.values():
        source.check(stage)
    orders = [_order(traced, c, source, deployment, memo) for c in chunks]
    missing = [o for o in orders if not _is_made(o, cache)]
    _make(missing, cache, folder / LOGS, workers, progress or Progress())
    return Bundle(tuple(_link(o, cache, folder) for o in orders))


def _order(
    traced: "Mapping[str, Traced]",
    chunk: Chunk,
    source: "WeightSource",
    deployment: str,
    memo: "DigestMemo",
) -> Order:
    stage = next(t for t in traced.values() if any(p.name == chunk.graph for p in t.parts))
    form = form_of(stage.part(chunk.graph), chunk)
    how = [stage.stage.precision, stage.stage.compression, deployment, _tools()]
    ports = [[p.name for p in chunk.inputs], [p.name for p in chunk.outputs]]
    values = source.identity(stage, form.slots, memo)
    return Order(
        traced=stage,
        chunk=chunk,
        form=form,
        source=source,
        deployment=deployment,
        key=digest(form.digest, form.slots, values, ports, how),
        twin_key=digest(form.twin_key, source.identity(stage, form.shared, memo), how),
    )


def _tools() -> list[str]:
    """What converts: another version may convert differently."""
    return [version("coremltools"), version("torch"), compiler_digest()]


def _make(missing: list[Order], cache: Cache, logs: Path, workers: int, progress: Progress) -> None:
    """First what must be converted, templates included, then what can be stamped."""
    twins: dict[str, list[Order]] = {}
    for order in missing:
        twins.setdefault(order.twin_key, []).append(order)
    templates = [
        orders[0]
        for key, orders in twins.items()
        if len(orders) >= _TWINS_FROM and cache.folder(make.TEMPLATES, key) is None
    ]
    weight = {o.chunk.id: max(1, o.chunk.weight_bytes) for o in missing}
    progress.begin(sum(weight.values()) + 2 * sum(weight[o.chunk.id] for o in templates))

    def run(jobs: "Iterator[Job]", times: int = 1) -> None:
        from entracte.lower.worker import run_jobs

        for job, _ in run_jobs(jobs, workers=workers, memory_bytes=_MEMORY_BYTES):
            chunk = job.name.split(" ")[0]
            progress.advance(job.name, times * weight[chunk])

    for seed in make.SEEDS:
        marked = [o for o in templates if not make.is_marked(o, cache, seed)]
        run(_jobs(marked, "template", make.convert_marked, logs, cache, seed))
    run(_comparisons(templates, cache, logs), 0)
    stampable = {
        key: entry
        for key in twins
        if (entry := cache.folder(make.TEMPLATES, key)) and make.read_layout(entry) is not None
    }
    rest = [o for o in missing if o.twin_key not in stampable]
    run(_jobs(rest, "", make.convert_order, logs, cache))
    stamped = [o for o in missing if o.twin_key in stampable]
    run(_stamps(stamped, stampable, cache, logs))


def _jobs(
    orders: Sequence[Order],
    what: str,
    call: Callable[..., object],
    logs: Path,
    *arguments: object,
) -> "Iterator[Job]":
    """Conversions: `call(order, *arguments)`."""
    from entracte.lower.worker import Job

    for order in orders:
        for function in order.functions:
            order.traced.program_of(function)  # here, once: the processes inherit it
        elements = sum(prod(order.traced.shapes[n]) for n in order.form.slots)
        yield Job(
            name=f"{order.chunk.id} {what}".strip(),
            call=call,
            arguments=(order, *arguments),
            log=logs / f"{order.chunk.id}.log",
            memory_bytes=_FIXED_BYTES + _BYTES_PER_ELEMENT * elements,
        )


def _comparisons(orders: Sequence[Order], cache: Cache, logs: Path) -> "Iterator[Job]":
    from entracte.lower.worker import Job

    for order in orders:
        log = logs / f"{order.chunk.id}.log"
        yield Job(f"{order.chunk.id} template", make.make_template, (order, cache), log)


def _stamps(
    orders: Sequence[Order], templates: Mapping[str, Path], cache: Cache, logs: Path
) -> "Iterator[Job]":
    from entracte.lower.worker import Job

    for order in orders:
        largest = max(prod(order.traced.shapes[n]) for n in order.form.slots)
        yield Job(
            name=order.chunk.id,
            call=make.stamp_order,
            arguments=(order, cache, templates[order.twin_key]),
            log=logs / f"{order.chunk.id}.log",
            memory_bytes=_FIXED_BYTES + _BYTES_PER_ELEMENT * largest,
        )


def _is_made(order: Order, cache: Cache) -> bool:
    """Whether the cache holds the package, with as many bytes as when it was kept."""
    entry = cache.folder(make.PACKAGES, order.key)
    if entry is None:
        return False
    try:
        whole = size_bytes(entry / CHUNK) == make.facts_of(entry).file_bytes
    except (OSError, ValueError, EntracteError):
        whole = False
    if not whole:
        cache.drop(make.PACKAGES, order.key)
    return whole


def _link(order: Order, cache: Cache, folder: Path) -> Package:
    entry = cache.folder(make.PACKAGES, order.key)
    assert entry is not None, order.chunk.id
    path = f"{PACKAGES}/{order.chunk.id}.mlpackage"
    link_tree(entry / CHUNK, folder / path)
    return replace(make.facts_of(entry), chunk=order.chunk.id, path=path)
