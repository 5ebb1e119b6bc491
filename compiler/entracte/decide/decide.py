"""Choose chunks, program and schedule together: the smallest predicted time that fits.

A deterministic search. It starts from whole stages, refines the stage that does not fit until
it does, and then tries every finer level of one stage at a time as long as the simulated
makespan shrinks by more than one per cent. Pieces of a level have equal weight bytes, as near as
cuts allow; where loading does not matter, chunks stay as large as they are (docs/planner.md).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from entracte.clock.predict import predict
from entracte.cost import predicted_facts
from entracte.decide.partition import Measured, cut_stage
from entracte.decide.shared import measure
from entracte.errors import DoesNotFit
from entracte.ir import (
    Chunk,
    ChunkFacts,
    MeasuredPipeline,
    Partition,
    Policy,
    Program,
    Schedule,
    StageGraph,
    Target,
)
from entracte.program.assemble import build_program
from entracte.program.workload import Workload
from entracte.schedule.bounds import lower_bound
from entracte.schedule.by_gates import quick_by_gates
from entracte.schedule.choose import (
    BASELINES,
    for_all_speeds,
    schedule_as_planned,
)
from entracte.schedule.look import paced_s

_PIECES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_WORTH = 0.99
"""A finer partition must be this much faster: every chunk is a file and a call."""


_ROUNDS = 8


@dataclass(frozen=True)
class Decision:
    """The chunks that were chosen, the program made of them, its schedule and predicted seconds."""

    partition: Partition
    workload: Workload
    schedule: Schedule
    makespan_s: float

    @property
    def program(self) -> Program:
        """The program of the workload."""
        return self.workload.program

    @property
    def facts(self) -> tuple[ChunkFacts, ...]:
        """In the order of the partition's chunks."""
        return tuple(self.workload.facts.values())


@dataclass(frozen=True)
class _Problem:
    source: MeasuredPipeline
    target: Target
    policy: Policy
    chunk_bytes: int | None
    measured: Mapping[str, Measured]
    corrections: Mapping[str, float]
    cuts: dict[tuple[str, int], tuple[Chunk, ...]] = field(default_factory=dict)
    """Remembered by graph and level; the target's memory does not change them."""


def decide(
    source: MeasuredPipeline,
    target: Target,
    policy: Policy,
    chunk_bytes: int | None = None,
    *,
    corrections: Mapping[str, float] | None = None,
) -> Decision:
    """`corrections` scales a stage graph's activations by what conversion was seen to add.

    Raises `DoesNotFit` with the place, the need, the budget and what would help."""
    limit = min(target.chunk_limit_bytes, chunk_bytes or target.chunk_limit_bytes)
    sharing = measure(source, limit)
    while True:
        problem = _Problem(source, target, policy, chunk_bytes, sharing.measured, corrections or {})
        try:
            return _decided(problem)
        except DoesNotFit as error:
            beside = sharing.beside(error.chunk)
            if not beside:
                raise
            # Cut for themselves they may be cut more finely.
            sharing = measure(source, limit, sharing.apart | beside)


def _decided(problem: "_Problem") -> Decision:
    policy, chunk_bytes = problem.policy, problem.chunk_bytes
    coarsest = dict.fromkeys(problem.measured, 0)
    try:
        levels, decision = _first_fit(problem, coarsest)
    except DoesNotFit as error:
        remedy = _remedy(problem, coarsest, error)
        raise DoesNotFit(f"{error}; try {remedy}", error.chunk, error.need_bytes) from None
    best = decision if chunk_bytes is not None else _refine(problem, levels, decision)
    best = _scheduled(problem, best)
    if policy.keep == "searched" and chunk_bytes is None and not _near_bound(best):
        best = _against_rivals(problem, levels, best)
    # Once: it changes nothing where times are as planned.
    return replace(best, schedule=for_all_speeds(best.workload, best.schedule))


def _against_rivals(p: _Problem, levels: dict[str, int], best: Decision) -> Decision:
    """With the chunks of the best baseline, where ours is faster with them."""
    rival = min((_rival(p, levels, b) for b in BASELINES), key=lambda d: d.makespan_s)
    if rival.makespan_s >= best.makespan_s:
        return best
    return min(best, _scheduled(p, rival), key=lambda d: d.makespan_s)


def _rival(p: _Problem, levels: dict[str, int], baseline: Policy) -> Decision:
    """What a baseline would choose. A first look at chunks tries few kept sets, so it may have
    better chunks; with those of the best of them, ours is never slower than a baseline."""
    other = replace(p, policy=baseline)
    first = _evaluate(other, _partition(p, levels))
    return _scheduled(other, _refine(other, levels, first))


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
    return next(_finer_levels(p, levels, graph), None)


def _refine(p: _Problem, levels: dict[str, int], best: Decision) -> Decision:
    """Finer chunks for the stage that gains most, until no stage gains.

    A stage is tried at all its finer levels at once: the next one alone is often no better,
    because it neither leaves room for a second chunk nor ends a stall (three chunks of a third
    of the budget are no faster than two of a half, six are). Each round tries at most
    `len(_PIECES)` levels of each stage that waits for loads; there are at most `_ROUNDS`.
    """
    for _ in range(_ROUNDS):
        if _near_bound(best):
            break
        found = best
        for graph in _waiting(p, best):
            for level in _finer_levels(p, levels, graph):
                trial = _tried(p, levels | {graph: level})
                if trial is not None and trial.makespan_s < found.makespan_s * _WORTH:
                    found, chosen = trial, levels | {graph: level}
        if found is best:
            break
        best, levels = found, chosen
    return best


def _tried(p: _Problem, levels: Mapping[str, int]) -> Decision | None:
    try:
        return _evaluate(p, _partition(p, levels))
    except DoesNotFit:
        return None


def _finer_levels(p: _Problem, levels: Mapping[str, int], graph: str) -> Iterator[int]:
    """Those with more chunks than the one before, until cuts are no finer than before."""
    now = len(_cut(p, graph, levels[graph]))
    for level in range(levels[graph] + 1, len(_PIECES)):
        count = len(_cut(p, graph, level))
        if count > now:
            yield level
            now = count


def _waiting(p: _Problem, decision: Decision) -> list[str]:
    """Graphs whose loads take a share of the time worth the trials; chunks that load again in
    every iteration count as often. First looks are by gates."""
    loading = dict.fromkeys(p.measured, 0.0)
    graphs = {c.id: c.graph for c in decision.partition.chunks}
    facts = decision.workload.facts
    for load in decision.schedule.loads:
        each = load.iterations == "each"
        times = decision.program.segments[load.segment].count - 1 if each else 1
        loading[graphs[load.chunk]] += times * facts[load.chunk].load_s
    least = (1 - _WORTH) * decision.makespan_s
    return [graph for graph, seconds in loading.items() if seconds > least]


def _near_bound(decision: Decision) -> bool:
    bound, _ = lower_bound(decision.workload)
    return decision.makespan_s * _WORTH <= bound


def _cut(p: _Problem, graph: str, level: int) -> tuple[Chunk, ...]:
    if (graph, level) not in p.cuts:
        p.cuts[graph, level] = _cut_anew(p, graph, level)
    return p.cuts[graph, level]


def _cut_anew(p: _Problem, graph: str, level: int) -> tuple[Chunk, ...]:
    measured = p.measured[graph]
    total = measured.position_weights[-1]
    pieces = _PIECES[level]
    # A tenth of slack: cuts are not everywhere, and a strict equal share would add a chunk.
    limit = p.target.chunk_limit_bytes if pieces == 1 else int(1.1 * total / pieces) + 1
    if p.chunk_bytes is not None:
        limit = min(limit, p.chunk_bytes)
    calls = max(_calls(p, g.graph) for g in (measured, *(m for m, _ in measured.others)))
    return cut_stage(measured, limit, p.target, calls)


def _calls(p: _Problem, graph: StageGraph) -> int:
    loop = p.source.pipeline.loop_of(graph.stage)
    return loop.count if loop is not None and graph.part == "body" else 1


def _partition(p: _Problem, levels: Mapping[str, int]) -> Partition:
    return Partition(tuple(c for graph in p.measured for c in _cut(p, graph, levels[graph])))


def _evaluate(p: _Problem, partition: Partition) -> Decision:
    """At a first look: quickly scheduled, and timed on loops that are cut short."""
    program = build_program(p.source, partition)
    workload = Workload.on(p.target, program, (_facts(p, c) for c in partition.chunks))
    schedule = quick_by_gates(workload, p.policy)
    return Decision(partition, workload, schedule, paced_s(workload, schedule))


def _scheduled(p: _Problem, chosen: Decision) -> Decision:
    """The chosen partition with the policy's whole search."""
    schedule = schedule_as_planned(chosen.workload, p.policy)
    seconds = predict(chosen.workload, schedule).makespan_s
    return Decision(chosen.partition, chosen.workload, schedule, seconds)


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
    stage = p.source.pipeline.stage(p.measured[graph].graph.stage)
    if stage.map is not None and len(stage.map.slices) == 1 and stage.map.slices[0].size > 1:
        smaller = _smaller(stage.map.slices[0].size)
        return f"`pipeline.stages.{stage.name}.map.size={smaller}` or {memory}"
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
