"""Which modules of the model a chunk holds, told by the names of its weights."""

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace

from entracte.decide.partition import Measured
from entracte.ir import Chunk, Partition


def with_modules(partition: Partition, measured: Mapping[str, Measured]) -> Partition:
    """The chunks, each with the names of the modules whose weights it holds."""
    stages: dict[str, list[str]] = defaultdict(list)
    for m in measured.values():
        stages[m.graph.stage] += _used(m, 0, len(m.graph.ops))
    named: dict[str, Chunk] = {}
    for graph, m in measured.items():
        chunks, start = partition.of(graph), _shared(stages[m.graph.stage])
        found = modules_of([[w[start:] for w in _weights(m, c)] for c in chunks])
        named |= {c.id: replace(c, modules=x) for c, x in zip(chunks, found, strict=True)}
    return Partition(tuple(named.get(c.id, c) for c in partition.chunks))


def _shared(names: Sequence[str]) -> int:
    """Characters that all names of a stage begin with: whole parts, before the first number."""
    shared = 0
    for parts in zip(*(name.split(".")[:-1] for name in names), strict=False):
        if len(set(parts)) > 1 or parts[0].isdecimal():
            return shared
        shared += len(parts[0]) + 1
    return shared


def modules_of(weights: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """The modules of each chunk of a graph, in the order of their first use.

    A module is named up to the first number in it (`blocks.4` for `blocks.4.attn.qkv.weight`), or
    by its first two parts where it has no number. Where its weights lie in several chunks it is
    told more closely, one part at a time (`blocks.4.attn`), until it is one chunk's alone. What is
    a part of one that is told is not told again.

    Args:
        weights: of each chunk, the names of the weights that it uses, in the order of their use.
    """
    holders: dict[str, set[int]] = defaultdict(set)
    for k, names in enumerate(weights):
        for prefix in {p for name in names for p in _prefixes(name)}:
            holders[prefix].add(k)
    told = (dict.fromkeys(_told(n, holders) for n in names) for names in weights)
    return tuple(tuple(n for n in names if not _is_in(n, names, holders)) for names in told)


def _is_in(name: str, names: Container[str], holders: Mapping[str, set[int]]) -> bool:
    """Whether a module around it is told, and whole in this chunk."""
    parts = name.split(".")
    around = (".".join(parts[:i]) for i in range(1, len(parts)))
    return any(a in names and len(holders[a]) == 1 for a in around)


def _told(name: str, holders: Mapping[str, set[int]]) -> str:
    """The shortest name whose weights are in one chunk; the longest where there is none."""
    prefixes = _prefixes(name)
    return next((p for p in prefixes if len(holders[p]) == 1), prefixes[-1])


def _prefixes(name: str) -> list[str]:
    """A weight's module, from as far as its first number to all of it. What stands in no module is
    its own."""
    parts = name.partition("@")[0].split(".")
    parts = parts[:-1] or parts
    numbered = (i for i, part in enumerate(parts) if part.isdecimal())
    first = next(numbered, min(1, len(parts) - 1))
    return [".".join(parts[: i + 1]) for i in range(first, len(parts))]


def _weights(m: Measured, chunk: Chunk) -> list[str]:
    """What its operations use, and those of other stages with these weights."""
    spans = [(m, chunk.start, chunk.stop)]
    others = {other.graph.name: other for other, _ in m.others}
    spans += [(others[v.graph], v.start, v.stop) for v in chunk.others]
    return list(dict.fromkeys(w for span in spans for w in _used(*span)))


def _used(m: Measured, start: int, stop: int) -> Iterable[str]:
    return (w for op in m.graph.ops[start:stop] for w in op.weights)
