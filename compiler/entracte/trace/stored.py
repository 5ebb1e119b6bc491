"""Stages by configuration: traced, or read from the cache of earlier traces."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from entracte.codec import encode
from entracte.disk.write import write_bytes
from entracte.errors import ConfigError
from entracte.ir import Loop, Port, Stage
from entracte.store.cache import Cache, digest
from entracte.store.origin import graph_digest, maker_digest
from entracte.trace.made import made_by, make
from entracte.trace.places import Wired, compressed
from entracte.trace.traced import Traced, TraceRecord

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch.export import ExportedProgram

    from entracte.frontend.backend import Backend
    from entracte.graphs import Constants, Graph

_TABLES = "tables.safetensors"
_Shapes = tuple[tuple[str, tuple[int, ...]], ...]
_Stem = tuple[str, ...]
"""Of a checkpoint; none where there is no checkpoint."""


class Shelf:
    """Graphs of one compile: each is built at most once, and only if it is needed."""

    def __init__(self, backend: "Backend", cache: Cache | None) -> None:
        self._backend, self._cache = backend, cache
        self._built: dict[str, Graph | Constants] = {}
        self._traced: dict[str, Traced] = {}
        self._digests: dict[str, str] = {}
        self._with_tests: dict[str, Graph] = {}
        self._programs: dict[tuple[str, str], ExportedProgram] = {}

    def traced(
        self,
        stage: Stage,
        ports: Mapping[str, Port],
        loop: Loop | None,
        pinned: Collection[str] = (),
    ) -> Traced:
        """The stage, measured. Raises `ConfigError` naming it."""
        key = self._key(stage, ports, loop, pinned)
        own = digest(key, stage.compression)
        if own not in self._traced:
            wired = Wired(stage, ports, loop, self._backend, frozenset(pinned))
            self._traced[own] = self._traced_as(key, own, wired)
        return self._traced[own]

    def _traced_as(self, key: str, own: str, wired: Wired) -> Traced:
        """From the cache, or traced now.

        Kept under `key`, which says nothing of compression; under its `own` key where that moves
        operations from one part to another.
        """
        stage, place, found = wired.stage, key, None
        for place in (key, own) if self._cache else ():
            kept = self._record(place)
            found = kept and compressed(kept, wired)
            if kept is None or found is not None:
                break
        if found is not None:
            return Traced(
                stage,
                found,
                self._backend,
                lambda name: self._export(stage, name),
                lambda: self._state(stage),
            )
        from entracte.trace.measure import trace_stage

        graph, given = (
            self._with_test(stage),
            (wired.ports, wired.loop, wired.backend, wired.pinned),
        )
        # Rounds of a loop differ in types and in what is pinned, of which no export knows.
        traced = trace_stage(stage, graph, *given, lambda name: self._export(stage, name))
        if self._cache:
            self._cache.keep("traces", place, traced.record)
        return traced

    def _record(self, key: str) -> TraceRecord | None:
        return self._cache.record("traces", key, TraceRecord) if self._cache else None

    def _key(
        self, stage: Stage, ports: Mapping[str, Port], loop: Loop | None, pinned: Collection[str]
    ) -> str:
        """Of a trace. Where weights are read changes nothing of it, and where it runs neither; what
        compression changes is counted again when it is read."""
        named = encode(_traced(stage, weights="", compression=""))
        declared = (named, encode(tuple(ports.values())), encode(loop), sorted(pinned))
        code = _code(stage, self._backend.is_convertible)
        return digest(*declared, self._backend.identity, code, self._made(stage))

    def checkpoint(self, stage: Stage) -> str | None:
        """The checkpoint that a stage's graph names: known before it is traced."""
        key = _graph_key(stage, weights="")
        is_kept = self._cache is not None and graphs_are_code(stage)
        found = self._cache.record("stems", key, _Stem) if self._cache and is_kept else None
        if found is None:
            stem = self._graph(stage).checkpoint
            found = () if stem is None else (stem,)
            if self._cache and is_kept:
                self._cache.keep("stems", key, found)
        return found[0] if found else None

    def _made(self, stage: Stage) -> str:
        """What a graph is beside its code: it may read files, or hold numbers of its own."""
        if graphs_are_code(stage):
            return ""
        from entracte.trace.numbers import digest_of_graph

        # As the factory made it: tracing calls modules, and these may note what they saw.
        if stage.name not in self._digests:
            self._digests[stage.name] = digest_of_graph(self._graph(stage))
        return self._digests[stage.name]

    def _state(self, stage: Stage) -> "Mapping[str, torch.Tensor]":
        from entracte.trace.numbers import module_state

        return module_state(self._graph(stage).module)

    def input_shapes(self, stage: Stage) -> dict[str, tuple[int, ...]]:
        """Shapes of the inputs that a stage's graph declares."""
        if not graphs_are_code(stage):
            return {i.name: i.shape for i in self._with_test(stage).inputs}
        key = _graph_key(stage)
        if stage.reuse is not None and stage.reuse.change:
            # What a test reads is found where the graph is exported.
            key = digest(key, self._backend.identity, _code(stage, self._backend.is_convertible))
        found = self._cache.record("inputs", key, _Shapes) if self._cache else None
        if found is None:
            found = tuple((i.name, i.shape) for i in self._with_test(stage).inputs)
            if self._cache:
                self._cache.keep("inputs", key, found)
        return dict(found)

    def constants(self, stage: Stage) -> "Mapping[str, np.ndarray]":
        """The tables of a constant stage."""
        from safetensors.numpy import load_file, save

        if self._cache is None or not graphs_are_code(stage):
            return self._tables(stage)
        key = _graph_key(stage)
        if self._cache.folder("constants", key) is None:
            with self._cache.making("constants", key) as entry:
                write_bytes(entry / _TABLES, save(dict(self._tables(stage))))
        kept = self._cache.folder("constants", key)
        # What was just kept is gone again: never mind.
        return self._tables(stage) if kept is None else load_file(kept / _TABLES)

    def _tables(self, stage: Stage) -> "Mapping[str, np.ndarray]":
        import numpy as np

        import entracte.graphs as graphs

        built = self._build(stage)
        if not isinstance(built, graphs.Constants):
            raise ConfigError(
                f"pipeline.stages.{stage.name}: {stage.op} is a graph, not constants; write "
                f"`graph: {stage.op}`"
            )
        # safetensors writes the memory of a view as it lies there.
        return {name: np.array(array, order="C") for name, array in built.arrays.items()}

    def _export(self, stage: Stage, function: str) -> "ExportedProgram":
        from entracte.trace.exported import export_stage

        key = stage.name, function
        if key not in self._programs:
            given = stage, self._graph(stage), function, self._backend
            self._programs[key] = export_stage(*given)
        return self._programs[key]

    def _with_test(self, stage: Stage) -> "Graph":
        """A stage's graph with what its first-block test reads and makes, if it has one."""
        from entracte.trace.names import MAIN
        from entracte.trace.tested import tested

        graph = self._graph(stage)
        if stage.reuse is None or not stage.reuse.change:
            return graph
        if stage.name not in self._with_tests:
            self._with_tests[stage.name] = tested(stage, graph, self._export(stage, MAIN))
        return self._with_tests[stage.name]

    def _graph(self, stage: Stage) -> "Graph":
        import entracte.graphs as graphs

        built = self._build(stage)
        if not isinstance(built, graphs.Graph):
            raise ConfigError(
                f"pipeline.stages.{stage.name}: {stage.op} gives constants; "
                f"write `constant: {stage.op}`"
            )
        return built

    def _build(self, stage: Stage) -> "Graph | Constants":
        if stage.name not in self._built:
            self._built[stage.name] = make(stage)
        return self._built[stage.name]


def graphs_are_code(stage: Stage) -> bool:
    """Whether code and parameters say all of what a stage's graph is."""
    import entracte.graphs as graphs

    return graphs.is_code(stage.op)


def _traced(stage: Stage, **without: Any) -> Stage:
    """A stage without what changes nothing of its graph: where it runs, when its blocks or slices
    rest, and what a key names."""
    reuse = None if stage.reuse is None else replace(stage.reuse, at=())
    given = None if stage.map is None else replace(stage.map, at=())
    return replace(stage, compute_unit="", reuse=reuse, map=given, **without)


def _graph_key(stage: Stage, **without: Any) -> str:
    """Of what follows from a stage's graph alone, whatever it is called and reads."""
    return digest(stage.op, encode(_traced(stage, name="", inputs=(), **without)), _code(stage))


def _code(stage: Stage, *parts: object) -> list[str]:
    """The sources and libraries that a result depends on; `parts`: functions handed in."""
    import entracte.graphs as graphs

    makers = sorted({__name__, *(part.__module__ for part in parts)})
    with made_by(stage):
        return [
            maker_digest(*makers),
            graph_digest(graphs.package_of(stage.op)),
            graphs.place_of(stage.op),
        ]
