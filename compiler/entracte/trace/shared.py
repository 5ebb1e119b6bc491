"""Stages with the weights of another (`weights_of`): one name for each weight, and chunks whose
functions are of several stages.

A weight is the same in two stages if the checkpoint has it under the same key; a table that the
module holds, if its value is. Beside the other stage it goes by the name it has there; what only
this stage has is named apart.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from entracte.errors import ConfigError
from entracte.ir import Chunk, Op, StageGraph
from entracte.trace.given import scale_of
from entracte.trace.names import MAIN
from entracte.trace.traced import FunctionRecord, Traced, TraceRecord

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

    from entracte.store.cache import DigestMemo
    from entracte.trace.weights import WeightSource

__all__ = ["Joined", "JoinedWeights", "joined", "linked", "named_beside", "names_beside"]


# ---------------------------------------------------------------- names


def names_beside(leader: TraceRecord, stage: str, record: TraceRecord) -> dict[str, str]:
    """Weight of a stage -> its name beside those of the stage whose weights it has."""
    its_tables, tables = _tables(leader), _tables(record)
    by_value = {value: name for name, value in reversed(its_tables.items())}
    left = {name: keys for name, keys in _keys(leader).items() if name not in its_tables}
    names = {}
    for name, keys in _keys(record).items():
        same = None if name in tables else _same(leader, left, record, name, keys)
        names[name] = same or f"{name}@{stage}"
        left.pop(names[name], None)
    for name in (name for f in record.functions for name, _ in f.held):
        names[name] = by_value.get(tables.get(name, ""), f"{name}@{stage}")
    return names


def _keys(record: TraceRecord) -> dict[str, tuple[str, ...]]:
    """Weight -> its key, and those of names that it is tied to."""
    ties = dict(record.ties)
    return {name: (key, *ties.get(name, ())) for name, key in record.key_of}


def _same(
    leader: TraceRecord,
    left: Mapping[str, tuple[str, ...]],
    record: TraceRecord,
    name: str,
    keys: tuple[str, ...],
) -> str | None:
    """The weight of the leader that a weight is: that of its own key before those of ties."""
    for wanted in keys:
        for other in sorted(
            (n for n in left if wanted in left[n]), key=lambda n: left[n][0] != wanted
        ):
            if _number(leader, other) == _number(record, name):
                return other
    return None


def _number(record: TraceRecord, name: str) -> object:
    """What must be equal besides the key: the factor on what is read, and of a buffer what the
    module holds, which counts where no checkpoint has it."""
    own = dict(record.own).get(name) if name in record.buffers else None
    return scale_of(record.scales, name), own


def _tables(record: TraceRecord) -> dict[str, str]:
    """Weights that the module holds, of those that are used -> their value's digest."""
    graphs = [g for part in record.parts for g in (part, *part.variants)]
    return {w.name: w.digest for g in graphs for w in g.weights if w.digest}


def named_beside(graph: StageGraph, names: Mapping[str, str]) -> StageGraph:
    """A stage graph with the names of its weights beside another stage's."""
    return replace(
        graph,
        ops=tuple(_renamed(op, names) for op in graph.ops),
        weights=tuple(replace(w, name=names[w.name]) for w in graph.weights),
        variants=tuple(named_beside(v, names) for v in graph.variants),
    )


def _renamed(op: Op, names: Mapping[str, str]) -> Op:
    if not op.weights:
        return op
    return replace(
        op,
        weights=tuple(names[w] for w in op.weights),
        folded=tuple(names[w] for w in op.folded),
    )


# ---------------------------------------------------------------- checks


def linked(stages: Mapping[str, Traced]) -> dict[str, Traced]:
    """The stages, of which those with the same weights know each other's keys.

    Raises `ConfigError` where a stage and the one whose weights it has do not suit each other.
    """
    found = dict(stages)
    for name, traced in stages.items():
        leader = found.get(traced.stage.weights_of)
        if leader is None:
            continue
        _check(leader, traced)
        known = {*leader.record.known_keys, *traced.record.known_keys}
        for one in (name, leader.stage.name):
            record = replace(found[one].record, known_keys=tuple(sorted(known)))
            found[one] = replace(found[one], record=record, export=found[one].program_of)
    return found


def _check(leader: Traced, traced: Traced) -> None:
    where = f"pipeline.stages.{traced.stage.name}.weights_of"
    ours, theirs = traced.record.checkpoint, leader.record.checkpoint
    if ours != theirs:
        raise ConfigError(
            f"{where}: graph {traced.stage.op} reads the checkpoint {ours!r}, graph "
            f"{leader.stage.op} of {leader.stage.name} {theirs!r}; name the same in both"
        )
    names = names_beside(leader.record, traced.stage.name, traced.record)
    shared = {n: o for n, o in names.items() if o in leader.shapes and n in traced.key_of}
    if not any(n not in traced.held for n in shared):
        keys = sorted(set(traced.key_of.values()))[:3]
        has = sorted(set(leader.key_of.values()))[:3]
        raise ConfigError(
            f"{where}: no weight of {traced.stage.name} is one of {leader.stage.name}; the keys of "
            f"one are {', '.join(keys)}, ..., of the other {', '.join(has)}, ...; map them alike "
            "(`key_map` of the graphs)"
        )
    for name, other in shared.items():
        if traced.shapes[name] != leader.shapes[other]:
            raise ConfigError(
                f"{where}: {traced.key_of[name]} has shape {traced.shapes[name]} in "
                f"{traced.stage.name} and {leader.shapes[other]} in {leader.stage.name}; they "
                "cannot be the same weights"
            )


# ---------------------------------------------------------------- chunks of several stages


@dataclass(frozen=True)
class Joined(Traced):
    """A stage with functions of other stages: those that one chunk has."""

    origin: Mapping[str, tuple[Traced, str]] = field(default_factory=dict)
    """Weight -> the stage that gives it, and its name there."""


def joined(stages: Mapping[str, Traced], chunk: Chunk) -> Traced:
    """The stage of a chunk, with the functions that the chunk has of other stages.

    Raises `LookupError` for a graph that no stage has.
    """
    own = _stage_of(stages, chunk.graph)
    if not chunk.others:
        return own
    made = {v.name: _function(own, _stage_of(stages, v.graph), v.graph) for v in chunk.others}
    parts = tuple(
        replace(p, variants=(*p.variants, *(m.graph for m in made.values())))
        if p.name == chunk.graph
        else p
        for p in own.parts
    )
    origin = {name: (own, name) for name in own.shapes}
    for m in made.values():
        origin = {new: (m.traced, old) for new, old in m.names.items()} | origin
    record = replace(
        own.record,
        parts=parts,
        functions=(*own.record.functions, *(m.record for m in made.values())),
        shapes=tuple((name, t.shapes[old]) for name, (t, old) in origin.items()),
    )

    def export(function: str) -> "ExportedProgram":
        return made[function].traced.program if function in made else own.program_of(function)

    return Joined(own.stage, record, own.backend, export, origin=origin)


def _stage_of(stages: Mapping[str, Traced], graph: str) -> Traced:
    for traced in stages.values():
        if any(part.name == graph for part in traced.parts):
            return traced
    raise LookupError(graph)


@dataclass(frozen=True)
class _Function:
    """Another stage's graph, as a function beside `leader`'s."""

    traced: Traced
    graph: StageGraph
    record: FunctionRecord
    names: Mapping[str, str]
    """Weight -> its name in its own stage."""


def _function(leader: Traced, traced: Traced, graph: str) -> _Function:
    names = names_beside(leader.record, traced.stage.name, traced.record)
    old = {new: name for name, new in names.items()}
    main = traced.functions[MAIN]
    inside = main.inside
    record = replace(
        main,
        name=traced.stage.name,
        held=(),
        renamed=tuple((new, inside.get(name, name)) for new, name in old.items()),
    )
    return _Function(traced, named_beside(traced.part(graph), names), record, old)


class JoinedWeights:
    """A source of weights that also gives those of joined stages."""

    def __init__(self, source: "WeightSource") -> None:
        self._source = source

    def is_real(self, traced: Traced) -> bool:
        """See `WeightSource`."""
        return self._source.is_real(traced)

    def check(self, traced: Traced) -> None:
        """See `WeightSource`."""
        self._source.check(traced)

    def tensors(
        self, traced: Traced, names: Collection[str] | None = None
    ) -> "Mapping[str, torch.Tensor]":
        """See `WeightSource`; of a joined stage names must be given."""
        found: dict[str, torch.Tensor] = {}
        for stage, own in _by_stage(traced, names):
            given = self._source.tensors(stage, None if own is None else list(own.values()))
            found |= given if own is None else {new: given[old] for new, old in own.items()}
        return found

    def identity(self, traced: Traced, names: Collection[str], memo: "DigestMemo") -> list[str]:
        """See `WeightSource`."""
        found: list[str] = []
        for stage, own in _by_stage(traced, names):
            found += self._source.identity(stage, list((own or {}).values()), memo)
        return found


def _by_stage(
    traced: Traced, names: Collection[str] | None
) -> list[tuple[Traced, dict[str, str] | None]]:
    """Stages, with those of the names that are theirs -> names there; None: all."""
    if not isinstance(traced, Joined):
        return [(traced, None if names is None else {n: n for n in names})]
    assert names is not None
    groups: dict[str, tuple[Traced, dict[str, str]]] = {}
    for name in names:
        stage, old = traced.origin[name]
        groups.setdefault(stage.stage.name, (stage, {}))[1][name] = old
    return list(groups.values())
