"""Partition -> Bundle: every chunk becomes a package, each in a process of its own.

What the cache holds is linked. Of the rest, chunks that are the same program with other weights
are converted once, as a template, and stamped (`entracte.lower.stamp`); the others are converted.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from entracte.emit import compare, make, shared
from entracte.emit.compare import Court, Known
from entracte.emit.make import CHUNK, Order
from entracte.errors import ConfigError, EntracteError
from entracte.ir import Bundle, Chunk, Compared, Package
from entracte.store.cache import Cache, DigestMemo, digest, link_file, link_tree, size_bytes
from entracte.store.form import form_of
from entracte.store.origin import maker_digest
from entracte.store.seal import sealed

if TYPE_CHECKING:
    from entracte.lower.worker import Task
    from entracte.trace.traced import Traced
    from entracte.trace.weights import WeightSource

_LOG = logging.getLogger("entracte")
PACKAGES = "packages"
_MAKERS = (
    "entracte.emit.make",
    "entracte.emit.shared",
    "entracte.trace.shared",
    "entracte.trace.stored",
)
"""Which code a package is from. A `Traced` exports its programs by a function of the last, one with
functions of several stages, and what gives their weights, by functions of the one before."""
_SOURCE = "one pass of the source"
"""What runs before the first package is compared."""
_TWINS_FROM = 3
"""A template costs two conversions: worth it for three chunks and more."""
_MEMORY_BYTES = 3 << 30
"""What workers may be expected to take together."""
_FIXED_BYTES = 400 << 20
_BYTES_PER_ELEMENT = 6
"""A conversion holds its weights once in fp32 and once in fp16 (conversion.md, section 3)."""


@dataclass(frozen=True)
class ByteProgress:
    """Told of the work as it is known and as it is done, in bytes of weights."""

    begin: Callable[[int], None] = lambda _: None
    advance: Callable[[str, int], None] = lambda *_: None
    start: Callable[[str], None] = lambda _: None
    """Told of each task as its process begins."""


@dataclass(frozen=True)
class Workshop:
    """Where packages are made: the build folder, the cache, and who is told of what is done."""

    folder: Path
    cache: Cache
    workers: int
    progress: ByteProgress
    logs: Path
    """Folder of what conversions print."""
    comparing: ByteProgress = field(default_factory=ByteProgress)
    """The same of the comparison, which counts packages."""
    verify: bool = False
    """Whether packages are compared with their source, and repaired."""

    def log(self, order: Order) -> Path:
        """Of what a conversion printed."""
        return self.logs / f"{order.chunk.id}.log"

    def run(self, tasks: "Iterator[Task]", progress: ByteProgress | None = None) -> None:
        """Each in a process of its own, a few at a time."""
        from entracte.lower.worker import run_tasks

        told = progress or self.progress
        for task, _ in run_tasks(
            tasks, self.workers, _MEMORY_BYTES, begun=lambda task: told.start(task.name)
        ):
            told.advance(task.name, task.work_bytes)


def emit(
    traced: "Mapping[str, Traced]",
    chunks: Sequence[Chunk],
    source: "WeightSource",
    *,
    deployment: str,
    shop: Workshop,
) -> Bundle:
    """Packages of all chunks in `shop.folder/packages`, with the repairs that earlier comparisons
    found necessary. Raises `LowerError` naming the chunk."""
    for stage in traced.values():
        source.check(stage)
    orders = _orders(traced, chunks, source, deployment, shop)
    if shop.verify:
        orders = Court.of(orders, shop.cache).repaired(orders)
    missing = [o for o in orders if not _is_made(_settled(o, shop.cache), shop.cache)]
    # Nobody wants to hear after an hour that a disk was too small.
    shop.cache.check_room(_bytes_of(missing), shop.folder, _bytes_of(orders))
    _make(missing, shop)
    settled = [_settled(o, shop.cache) for o in orders]
    _tell_refused(orders, shop.cache)
    packages = tuple(_link(o, shop.cache, shop.folder) for o in settled)
    return Bundle(packages, entries=tuple(o.key for o in settled))


def _bytes_of(orders: Sequence[Order]) -> int:
    """About what their packages take on a disk, each once."""
    return sum({o.key: o.chunk.weight_bytes for o in orders}.values())


def _settled(order: Order, cache: Cache) -> Order:
    """With its own weights, where it was found that its graph cannot take them as inputs."""
    if not order.chunk.shares or not _refusal(order, cache):
        return order
    return replace(order, chunk=replace(order.chunk, shares=""), key=order.own_key)


def _refusal(order: Order, cache: Cache) -> str:
    """Why chunks like this one cannot share a graph; empty: they can, or it was not tried."""
    template = cache.folder(make.TEMPLATES, order.twin_key)
    if template is not None and make.read_layout(template) is None:
        return shared.NO_LAYOUT
    graph = cache.folder(shared.GRAPHS, order.twin_key)
    return "" if graph is None else shared.refusal_in(graph)


def _tell_refused(orders: Sequence[Order], cache: Cache) -> None:
    """Once for all chunks that are alike."""
    alike: dict[str, list[Order]] = {}
    for order in orders:
        if order.chunk.shares and _refusal(order, cache):
            alike.setdefault(order.twin_key, []).append(order)
    for same in alike.values():
        _LOG.warning(
            "%s and %d more that are like it keep their weights in packages of their own: %s",
            same[0].chunk.id, len(same) - 1, _refusal(same[0], cache),
        )  # fmt: skip


def compare_all(
    traced: "Mapping[str, Traced]",
    chunks: Sequence[Chunk],
    source: "WeightSource",
    *,
    deployment: str,
    shop: Workshop,
    known: Known,
) -> tuple[tuple[Compared, ...], bool]:
    """Run what was emitted beside its torch source.

    Returns what was found of each chunk, and whether something must be emitted again, repaired.
    Raises `LowerError` naming the chunk and the layer for what cannot be repaired.
    """
    orders = _orders(traced, chunks, source, deployment, shop)
    court = Court.of(orders, shop.cache)
    before = [o.key for o in court.repaired(orders)]
    waiting = court.open
    if waiting:
        if lost := [t.order for t in waiting if not _is_made(t.order, shop.cache)]:
            _make(lost, shop)
        shop.comparing.begin(len(waiting))
        shop.comparing.start(_SOURCE)

        def recorded(chunks: Sequence[str]) -> Path | None:
            found = known(chunks)
            shop.comparing.advance(_SOURCE, 0)
            return found

        shop.run(compare.tasks(waiting, shop.cache, recorded, shop.logs), shop.comparing)
    after = [o.key for o in court.repaired(orders)]
    return court.compared(orders), before != after


def _orders(
    traced: "Mapping[str, Traced]",
    chunks: Sequence[Chunk],
    source: "WeightSource",
    deployment: str,
    shop: Workshop,
) -> list[Order]:
    from entracte.trace.shared import JoinedWeights

    memo = DigestMemo(shop.cache, maker_digest("entracte.trace.weights"))
    return [_order(traced, c, JoinedWeights(source), deployment, memo) for c in chunks]


def _order(
    traced: "Mapping[str, Traced]",
    chunk: Chunk,
    source: "WeightSource",
    deployment: str,
    memo: DigestMemo,
) -> Order:
    from entracte.trace.shared import joined

    stage = joined(traced, chunk)
    form = form_of(stage.part(chunk.graph), chunk)
    declared = [stage.stage.precision, stage.stage.compression, deployment]
    how = [*declared, *stage.backend.identity, maker_digest(*_MAKERS)]
    sides = [side for f in _functions(chunk) for side in chunk.ports_of(f)]
    ports = [[p.name for p in side] for side in sides]
    values = source.identity(stage, form.slots, memo)
    own = digest(form.digest, form.slots, values, ports, how)
    return Order(
        traced=stage,
        chunk=chunk,
        form=form,
        source=source,
        deployment=deployment,
        key=digest(own, shared.GRAPHS) if chunk.shares else own,
        own_key=own,
        twin_key=digest(form.twin_key, source.identity(stage, form.shared, memo), how),
    )


def _functions(chunk: Chunk) -> tuple[str, ...]:
    """Those with ports of their own."""
    return ("main", *(v.name for v in chunk.others))


def _make(missing: Sequence[Order], shop: Workshop) -> None:
    """First what must be converted, templates included, then what can be stamped."""
    twins: dict[str, list[Order]] = {}
    for order in missing:
        twins.setdefault(order.twin_key, []).append(order)
    templates = [
        orders[0]
        for key, orders in twins.items()
        if (len(orders) >= _TWINS_FROM or any(o.chunk.shares for o in orders))
        and shop.cache.folder(make.TEMPLATES, key) is None
    ]
    marked = len(make.SEEDS) * sum(_work_bytes(o) for o in templates)
    shop.progress.begin(sum(_work_bytes(o) for o in missing) + marked)
    _make_templates(templates, shop)
    stampable = _stampable(twins, shop.cache)
    _make_graphs(missing, stampable, shop)
    settled = [_settled(o, shop.cache) for o in missing]
    missing = [o for o in settled if o.chunk.shares or not _is_made(o, shop.cache)]
    rest = [o for o in missing if o.twin_key not in stampable]
    shop.run(_conversions(rest, "", make.convert_order, shop))
    stamped = [o for o in missing if o.twin_key in stampable]
    shop.run(_stamps(stamped, stampable, shop))


def _make_templates(orders: Sequence[Order], shop: Workshop) -> None:
    """Each from two conversions with markers, which are then compared."""
    for seed in make.SEEDS:
        marked = [o for o in orders if not make.is_marked(o, shop.cache, seed)]
        shop.run(_conversions(marked, "template", make.convert_marked, shop, seed))
    shop.run(_comparisons(orders, shop))


def _make_graphs(orders: Sequence[Order], templates: Mapping[str, Path], shop: Workshop) -> None:
    """One for all chunks that are alike and share it."""
    from entracte.lower.worker import Task

    first: dict[str, Order] = {}
    for order in (o for o in orders if o.chunk.shares):
        known = shop.cache.folder(shared.GRAPHS, order.twin_key) is not None
        if order.twin_key in templates and not known:
            first.setdefault(order.twin_key, order)
    shop.run(
        Task(
            f"{o.chunk.id} graph",
            shared.make_graph,
            (o, shop.cache, templates[key]),
            shop.log(o),
        )
        for key, o in first.items()
    )


def _stampable(twin_keys: Iterable[str], cache: Cache) -> dict[str, Path]:
    """Twin key -> its template, of those that have one."""
    entries = {key: cache.folder(make.TEMPLATES, key) for key in twin_keys}
    return {k: e for k, e in entries.items() if e is not None and make.read_layout(e) is not None}


def _work_bytes(order: Order) -> int:
    """What making a chunk counts for, for the progress: its weights."""
    return max(1, order.chunk.weight_bytes)


def _conversions(
    orders: Sequence[Order],
    what: str,
    call: Callable[..., object],
    shop: Workshop,
    *arguments: object,
) -> "Iterator[Task]":
    """`call(order, cache, *arguments)` of each."""
    from entracte.lower.worker import Task

    for order in orders:
        shop.progress.start(f"{order.chunk.id} {what}".strip())
        for function in order.functions:
            order.traced.program_of(function)  # here, once: the processes inherit it
        elements = sum(prod(order.traced.shapes[n]) for n in order.form.slots)
        yield Task(
            name=f"{order.chunk.id} {what}".strip(),
            call=call,
            arguments=(order, shop.cache, *arguments),
            log=shop.log(order),
            memory_bytes=_FIXED_BYTES + _BYTES_PER_ELEMENT * elements,
            work_bytes=_work_bytes(order),
        )


def _comparisons(orders: Sequence[Order], shop: Workshop) -> "Iterator[Task]":
    from entracte.lower.worker import Task

    for order in orders:
        yield Task(
            name=f"{order.chunk.id} template",
            call=make.make_template,
            arguments=(order, shop.cache),
            log=shop.log(order),
            keeps_memory=True,
        )


def _stamps(
    orders: Sequence[Order], templates: Mapping[str, Path], shop: Workshop
) -> "Iterator[Task]":
    from entracte.lower.child import KEPT_BYTES
    from entracte.lower.worker import Task

    for order in orders:
        largest = max(prod(order.traced.shapes[n]) for n in order.form.slots)
        yield Task(
            name=order.chunk.id,
            call=shared.make_arrays if order.chunk.shares else make.stamp_order,
            arguments=(order, shop.cache, templates[order.twin_key]),
            log=shop.log(order),
            memory_bytes=_FIXED_BYTES + _BYTES_PER_ELEMENT * largest + KEPT_BYTES,
            work_bytes=_work_bytes(order),
            keeps_memory=True,
        )


def _is_made(order: Order, cache: Cache) -> bool:
    """Whether the cache holds the package, and what was noted of it is about these very bytes."""
    entry = cache.folder(make.PACKAGES, order.key)
    if entry is None:
        return False
    try:
        facts = make.facts_of(entry)
        whole = size_bytes(entry / CHUNK) == facts.file_bytes
        whole = whole and facts.digest == _sealed_digest(entry)
        whole = whole and (facts.arrays is not None) == bool(order.chunk.shares)
    except (OSError, ValueError, EntracteError):
        whole = False
    if not whole:
        cache.drop(make.PACKAGES, order.key)
    return whole


def _sealed_digest(entry: Path) -> str:
    """The package's digest, from those of its files, which were just compared with the files."""
    from entracte.lower.identity import MODEL_FILE, WEIGHT_FILE, combined_digest

    known = sealed(entry)
    model, weights = (known.get(f"{CHUNK}/{file}") for file in (MODEL_FILE, WEIGHT_FILE))
    return combined_digest(model or "", weights)


def _link(order: Order, cache: Cache, folder: Path) -> Package:
    entry = cache.folder(make.PACKAGES, order.key)
    if entry is None:
        raise ConfigError(
            f"cache: the package of {order.chunk.id} was just made and is damaged or gone; is the "
            "disk full or broken, or another process removing entries? try `cache=FOLDER`"
        )
    facts, id = make.facts_of(entry), order.chunk.id
    arrays = facts.arrays
    if arrays is not None:
        arrays = replace(arrays, path=f"{PACKAGES}/{id}.safetensors")
    path = f"{PACKAGES}/{order.chunk.shares or id}.mlpackage"
    package = replace(facts, chunk=id, path=path, arrays=arrays)
    place(entry, package, folder)
    return package


def place(entry: Path, package: Package, folder: Path) -> None:
    """Link a package from its entry of the cache into a build folder; of chunks that share a graph
    the graph once."""
    if not (folder / package.path).exists():
        link_tree(entry / CHUNK, folder / package.path)
    if package.arrays is not None:
        link_file(entry / shared.ARRAYS, folder / package.arrays.path)


def holds(entry: Path, package: Package) -> bool:
    """Whether an entry of the cache, whose files are as they were sealed, is that package."""
    arrays = package.arrays.digest if package.arrays is not None else None
    same = sealed(entry).get(shared.ARRAYS) == arrays
    return same and _sealed_digest(entry) == package.digest
