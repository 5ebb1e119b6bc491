"""Choose chunks, program and schedule together: the smallest predicted time that fits.

A deterministic search. It starts from whole stages, refines the stage that does not fit until
it does, and then tries finer chunks of one stage at a time as long as the simulated makespan
shrinks by more than one per cent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from compiler.cost import predicted_facts
from compiler.errors import DoesNotFit
from compiler.ir import (
    Chunk,
    ChunkFacts,
    Partition,
    Pipeline,
    Policy,
    Port,
    Program,
    Schedule,
    StageGraph,
    Target,
)
from compiler.partition import Measured, cut_stage
from compiler.program import build_program
from compiler.schedule import make_schedule
from compiler.simulate import lower_bound, simulate

_PIECES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_WORTH = 0.99
"""A finer partition must be this much faster: every chunk is a file and a call."""


@dataclass(frozen=True)
class Decision:
    partition: Partition
    program: Program
    facts: tuple[ChunkFacts, ...]
    schedule: Schedule
    makespan_s: float


@dataclass(frozen=True)
class _Problem:
    pipeline: Pipeline
    graphs: Mapping[str, tuple[StageGraph, ...]]
    ports: Mapping[str, Port]
    target: Target
    policy: Policy
    chunk_bytes: int | None
    measured: Mapping[str, Measured]
    corrections: Mapping[str, float]


def decide(
    pipeline: Pipeline,
    graphs: Mapping[str, tuple[StageGraph, ...]],
    ports: Mapping[str, Port],
    target: Target,
    policy: Policy,
    chunk_bytes: int | None = None,
    *,
    corrections: Mapping[str, float] | None = None,
) -> Decision:
    """`corrections` scales a stage graph's activations by what conversion was seen to add.

    Raises `DoesNotFit` with the place, the need, the budget and what would help."""
    measured = {g.name: Measured(g) for parts in graphs.values() for g in parts}
    problem = _Problem(
        pipeline, graphs, ports, target, policy, chunk_bytes, measured, corrections or {}
    )
    coarsest = dict.fromkeys(measured, 0)
    try:
        levels, decision = _first_fit(problem, coarsest)
    except DoesNotFit as error:
        remedy = _remedy(problem, coarsest, error)
        raise DoesNotFit(f"{error}; try {remedy}", error.chunk, error.need_bytes) from None
    if chunk_bytes is None:
        decision = _refine(problem, levels, decision)
    return _scheduled(problem, decision)


def _first_fit(p: _Problem, levels: dict[str, int]) -> tuple[dict[str, int], Decision]:
    """Refine whichever stage does not fit until all do; else the least need is reported."""
    least: dict[str, DoesNotFit] = {}
    while True:
        partition = _partition(p, levels)
        try:
            return levels, _evaluate(p, partition)
        except DoesNotFit as error:
            graph = _graph_of(error, partition)
            if graph not in least or error.need_bytes < least[graph].need_bytes:
                least[graph] = error
            finer = _next_level(p, levels, graph)
            if finer is None:
                raise least[graph] from None
            levels = levels | {graph: finer}


def _next_level(p: _Problem, levels: dict[str, int], graph: str) -> int | None:
    """The next level that really has more chunks than this one."""
    now = len(_cut(p, graph, levels[graph]))
    for level in range(levels[graph] + 1, len(_PIECES)):
        if len(_cut(p, graph, level)) > now:
            return level
    return None


def _refine(p: _Problem, levels: dict[str, int], best: Decision) -> Decision:
    improved = True
    while improved and not _near_bound(best):
        improved = False
        for graph in p.measured:
            finer = _next_level(p, levels, graph)
            if finer is None:
                continue
            trial = levels | {graph: finer}
            try:
                decision = _evaluate(p, _partition(p, trial))
            except DoesNotFit:
                continue
            if decision.makespan_s < best.makespan_s * _WORTH:
                levels, best, improved = trial, decision, True
    return best


def _near_bound(decision: Decision) -> bool:
    bound, _ = lower_bound(decision.program, {f.id: f for f in decision.facts})
    return decision.makespan_s * _WORTH <= bound


def _cut(p: _Problem, graph: str, level: int) -> tuple:
    measured = p.measured[graph]
    total = measured.position_weights[-1]
    pieces = _PIECES[level]
    # A tenth of slack: cuts are not everywhere, and a strict equal share would add a chunk.
    limit = p.target.chunk_limit_bytes if pieces == 1 else int(1.1 * total / pieces) + 1
    if p.chunk_bytes is not None:
        limit = min(limit, p.chunk_bytes)
    return cut_stage(measured, limit, p.target, _calls(p, measured.graph))


def _calls(p: _Problem, graph: StageGraph) -> int:
    loop = p.pipeline.loop_of(graph.stage)
    return loop.count if loop is not None and graph.part == "body" else 1


def _partition(p: _Problem, levels: Mapping[str, int]) -> Partition:
    return Partition(tuple(c for graph in p.measured for c in _cut(p, graph, levels[graph])))


def _evaluate(p: _Problem, partition: Partition) -> Decision:
    program = build_program(p.pipeline, p.graphs, partition, p.ports)
    facts = tuple(_facts(p, c) for c in partition.chunks)
    by_id = {f.id: f for f in facts}
    schedule = make_schedule(program, by_id, p.policy, p.target.budget_bytes, quick=True)
    makespan = simulate(program, by_id, schedule, contention=p.target.contention).makespan_s
    return Decision(partition, program, facts, schedule, makespan)


def _scheduled(p: _Problem, chosen: Decision) -> Decision:
    """The chosen partition with the policy's whole search."""
    by_id = {f.id: f for f in chosen.facts}
    gamma = p.target.contention
    schedule = make_schedule(
        chosen.program, by_id, p.policy, p.target.budget_bytes, contention=gamma
    )
    makespan = simulate(chosen.program, by_id, schedule, contention=gamma).makespan_s
    return replace(chosen, schedule=schedule, makespan_s=makespan)


def _facts(p: _Problem, chunk: Chunk) -> ChunkFacts:
    facts = predicted_facts(chunk, p.target)
    factor = p.corrections.get(chunk.graph, 1.0)
    return replace(facts, activation_bytes=int(facts.activation_bytes * factor))


def _graph_of(error: DoesNotFit, partition: Partition) -> str:
    return partition.chunk(error.chunk).graph


def _remedy(p: _Problem, coarsest: dict[str, int], error: DoesNotFit) -> str:
    """Overrides that would help: smaller map slices, and the memory that is enough."""
    memory = f"`target.memory={_enough_bytes(p, coarsest, error) // 2**20}MiB`"
    graph = error.chunk.rsplit(".", 1)[0]
    stage = p.pipeline.stage(p.measured[graph].graph.stage)
    if stage.map is not None and stage.map.size > 1:
        return f"`pipeline.stages.{stage.name}.map.size={_smaller(stage.map.size)}` or {memory}"
    return memory


def _enough_bytes(p: _Problem, coarsest: dict[str, int], error: DoesNotFit) -> int:
    """Whole MiB of `target.memory` with which everything fits: other stages may need more."""
    target, need = p.target, error.need_bytes
    while True:
        wanted = need / (1 - target.settle_fraction) + target.base_footprint_bytes
        memory = (int(wanted) // 2**20 + 1) * 2**20
        try:
            _first_fit(replace(p, target=replace(target, memory_bytes=memory)), coarsest)
        except DoesNotFit as again:
            need = max(again.need_bytes, need + 2**20)
            continue
        return memory


def _smaller(size: int) -> int:
    return next(d for d in range(size - 1, 0, -1) if size % d == 0)
