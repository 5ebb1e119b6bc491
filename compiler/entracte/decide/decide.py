"""Choose chunks, program and schedule together: the smallest predicted time that fits.

A deterministic search. It starts from whole stages, refines the stage that does not fit until
it does, and then tries every finer level of one stage at a time as long as the simulated
makespan shrinks by more than one per cent. Pieces of a level have equal weight bytes, as near as
cuts allow; where loading does not matter, chunks stay as large as they are (docs/planner.md).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from entracte.cost import predicted_facts
from entracte.decide.blocks import equal_blocks, with_shares
from entracte.decide.grouping import (
    choosable,
    groupings,
    map_remedies,
    together,
    whole_grouping,
)
from entracte.decide.modules import with_modules
from entracte.decide.partition import Measured, cut_stage
from entracte.decide.shared import Known, measure
from entracte.decide.units import unit_of
from entracte.declare.scheme import UNCOMPRESSED
from entracte.errors import DoesNotFit
from entracte.garbage import uncollected
from entracte.ir import (
    Chunk,
    ChunkFacts,
    Load,
    MeasuredPipeline,
    Partition,
    Policy,
    Program,
    Schedule,
    Stage,
    StageGraph,
    Target,
)
from entracte.program.assemble import build_program
from entracte.program.groups import Grouping
from entracte.program.steps import times
from entracte.program.workload import Workload
from entracte.schedule.bounds import lower_bound
from entracte.schedule.by_gates import quick_by_gates
from entracte.schedule.choose import (
    BASELINES,
    for_all_speeds,
    schedule_as_planned,
)
from entracte.schedule.given import Given
from entracte.schedule.look import cost_of, paced_s

if TYPE_CHECKING:
    from entracte.declare.read import Job

_PIECES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 2**40)
"""Of equal weight bytes. The last one, a piece at every cut, is for what does not fit otherwise:
where activations are large weights may be few, and all of them in one of 64."""
_WORTH = 0.99
"""A finer partition must be this much faster: every chunk is a file and a call."""


_ROUNDS = 8


@dataclass(frozen=True)
class Decision:
    """The chunks that were chosen, the program made of them, its schedule and predicted seconds."""

    partition: Partition
    grouping: Grouping
    """Of the maps outside of loops: how many chunks do slice after slice together."""
    workload: Workload
    schedule: Schedule
    makespan_s: float
    given: Given | None = field(default=None, repr=False, compare=False)
    """What was worked out for the workload already."""

    @property
    def program(self) -> Program:
        """The program of the workload."""
        return self.workload.program

    @property
    def facts(self) -> tuple[ChunkFacts, ...]:
        """In the order of the partition's chunks."""
        return tuple(self.workload.facts.values())


@dataclass(frozen=True)
class _Choice:
    """How finely each graph is cut, and which maps do all chunks for one slice before the next."""

    levels: Mapping[str, int]
    slice_major: frozenset[str] = frozenset()

    def at(self, graph: str, level: int) -> "_Choice":
        """With another level."""
        return replace(self, levels={**self.levels, graph: level})


@dataclass(frozen=True)
class _Made:
    """Chunks, and what is the same for every policy on them."""

    partition: Partition
    grouping: Grouping
    workload: Workload
    given: Given

    def within(self, budget_bytes: int) -> "_Made":
        """The same under another budget."""
        if self.workload.budget_bytes == budget_bytes:
            return self
        workload = replace(self.workload, budget_bytes=budget_bytes)
        return replace(self, workload=workload, given=self.given.within(budget_bytes))


@dataclass(frozen=True)
class _Problem:
    source: MeasuredPipeline
    target: Target
    policy: Policy
    chunk_bytes: int | None
    measured: Mapping[str, Measured]
    corrections: Mapping[str, float]
    shares_graphs: bool = False
    cuts: dict[tuple[str, int], tuple[Chunk, ...]] = field(default_factory=dict)
    """Remembered by graph and level; the target's memory does not change them."""
    facts: dict[int, ChunkFacts] = field(default_factory=dict)
    """Likewise, by the identity of chunks that `cuts` keeps."""
    made: dict[object, _Made] = field(default_factory=dict)
    """Remembered by choice: baselines look at the same chunks, and so do larger memories."""
    known: Known | None = None


def decide_job(
    job: "Job",
    source: MeasuredPipeline,
    target: Target | None = None,
    *,
    corrections: Mapping[str, float] | None = None,
    known: Known | None = None,
) -> Decision:
    """`decide` with all that a job says; `target`: another device than its own."""
    return decide(
        source,
        target or job.target,
        job.policy,
        job.chunk_bytes,
        corrections=corrections,
        shares_graphs=job.shares_graphs,
        known=known,
    )


def decide(  # noqa: PLR0913 - what a decision follows from, and what is known already
    source: MeasuredPipeline,
    target: Target,
    policy: Policy,
    chunk_bytes: int | None = None,
    *,
    corrections: Mapping[str, float] | None = None,
    shares_graphs: bool = False,
    known: Known | None = None,
) -> Decision:
    """`corrections` scales a stage graph's activations by what conversion was seen to add. With
    `shares_graphs` equal blocks of a stage without compression share one graph. `known` is what
    decisions for other targets looked at, of this very source.

    Raises `DoesNotFit` with the place, the need, the budget and what would help."""
    first = _Problem(
        source, target, policy, chunk_bytes, {}, corrections or {}, shares_graphs=shares_graphs,
        known=known,
    )  # fmt: skip
    with uncollected():
        return _decided(first)


def _decided(first: _Problem) -> Decision:
    policy, chunk_bytes = first.policy, first.chunk_bytes
    problem, choice, decision = _fitting(first)
    best = decision if chunk_bytes is not None else _refine(problem, choice, decision)
    best = _scheduled(problem, _regrouped(problem, choice, best))
    if policy.keep == "searched" and chunk_bytes is None and not _near_bound(best):
        best = _against_rivals(problem, choice, best)
    # Once: they change nothing where times are as planned.
    return replace(
        best,
        partition=with_modules(best.partition, problem.measured),
        schedule=for_all_speeds(best.workload, best.schedule, best.given),
    )


def _fitting(p: _Problem) -> tuple[_Problem, _Choice, Decision]:
    """The first choice that fits. Graphs that share packages and do not fit are cut apart: alone
    they may be cut more finely."""
    limit = min(p.target.chunk_limit_bytes, p.chunk_bytes or p.target.chunk_limit_bytes)
    apart: frozenset[str] = frozenset()
    while True:
        sharing = measure(p.source, limit, apart, p.known)
        blocks = {n: _in_blocks(p, m) for n, m in sharing.measured.items()}
        problem = replace(p, measured=blocks, cuts={}, facts={}, made={})
        coarsest = _Choice(dict.fromkeys(problem.measured, 0))
        try:
            return problem, *_first_fit(problem, coarsest)
        except DoesNotFit as error:
            beside = sharing.beside(error.chunk)
            if not beside:
                enough = _enough_bytes(problem, coarsest, error)
                text = f"{error}; try {_remedy(problem, error, enough)}"
                raise DoesNotFit(text, error.chunk, error.need_bytes, enough) from None
            apart |= beside


def _against_rivals(p: _Problem, choice: _Choice, best: Decision) -> Decision:
    """With the chunks of the best baseline, where ours is faster with them."""
    rival = min((_rival(p, choice, b) for b in BASELINES), key=lambda d: d.makespan_s)
    # With the same chunks the search would find again what it found: it may have taken the online
    # rule though gates were a little faster (`choose._SLACK`).
    if rival.makespan_s >= best.makespan_s or rival.workload is best.workload:
        return best
    return min(best, _scheduled(p, rival), key=lambda d: d.makespan_s)


def _rival(p: _Problem, choice: _Choice, baseline: Policy) -> Decision:
    """What a baseline would choose. A first look at chunks tries few kept sets, so it may have
    better chunks; with those of the best of them, ours is never slower than a baseline."""
    other = replace(p, policy=baseline)
    first = _looked_at(other, choice)
    return _scheduled(other, _regrouped(other, choice, _refine(other, choice, first)))


def _first_fit(p: _Problem, choice: _Choice) -> tuple[_Choice, Decision]:
    """Refine whichever stage does not fit until all do; else the least need is reported. A map is
    first tried slice by slice, which leaves room for what lies between its chunks."""
    least: dict[str, DoesNotFit] = {}
    while True:
        partition = _partition(p, choice)
        try:
            return choice, _looked_at(p, choice)
        except DoesNotFit as error:
            graph = _graph_of(error, partition)
            if graph not in least or error.need_bytes < least[graph].need_bytes:
                least[graph] = error
            other = _slice_major(p, choice, partition, graph) or _finer(p, choice, graph)
            if other is None:
                raise least[graph] from None
            choice = other


def _slice_major(p: _Problem, choice: _Choice, partition: Partition, graph: str) -> _Choice | None:
    """With the graph's map slice by slice, where it is not, and that is another order."""
    for stage in _choosable(p, graph):
        if stage.name not in choice.slice_major and together(stage, partition) != (1,):
            return replace(choice, slice_major=choice.slice_major | {stage.name})
    return None


def _choosable(p: _Problem, graph: str) -> list[Stage]:
    """The mapped stages whose chunks a graph's are: its own, and those with its weights."""
    names = {m.graph.name for m in (p.measured[graph], *(o for o, _ in p.measured[graph].others))}
    return [s for s in choosable(p.source.pipeline) if s.name in names]


def _finer(p: _Problem, choice: _Choice, graph: str) -> _Choice | None:
    level = _next_level(p, choice.levels, graph)
    if level is None:
        return None
    again = {s.name for s in _choosable(p, graph)}
    return replace(choice.at(graph, level), slice_major=choice.slice_major - again)


def _next_level(p: _Problem, levels: Mapping[str, int], graph: str) -> int | None:
    """The next level that really has more chunks than this one."""
    return next(_finer_levels(p, levels, graph), None)


def _refine(p: _Problem, choice: _Choice, best: Decision) -> Decision:
    """Finer chunks for the stage that gains most, until no stage gains.

    A stage is tried at all its finer levels at once: the next one alone is often no better,
    because it neither leaves room for a second chunk nor ends a stall (three chunks of a third
    of the budget are no faster than two of a half, six are). Each round tries at most
    `len(_PIECES)` levels of each stage that waits for loads; there are at most `_ROUNDS`.
    Where loads never run beside calls and only what is alone in its loop stays, finer chunks are
    as many bytes in more loads.
    """
    if p.policy.lookahead == 0:
        return best
    for _ in range(_ROUNDS):
        if _near_bound(best):
            break
        found = best
        for graph in _waiting(p, best):
            for level in _finer_levels(p, choice.levels, graph, len(_PIECES) - 1):
                trial = _tried(p, choice.at(graph, level))
                if trial is not None and trial.makespan_s < found.makespan_s * _WORTH:
                    found, chosen = trial, choice.at(graph, level)
        if found is best:
            break
        best, choice = found, chosen
    return best


def _tried(p: _Problem, choice: _Choice) -> Decision | None:
    try:
        return _looked_at(p, choice)
    except DoesNotFit:
        return None


def _regrouped(p: _Problem, choice: _Choice, best: Decision) -> Decision:
    """Other groups of chunks, where the order of a map is a question: something is handed on from
    slice to slice, or what lies between the chunks did not fit for all slices."""
    for stage in choosable(p.source.pipeline):
        assert stage.map is not None
        if stage.map.carry or stage.name in choice.slice_major:
            for sizes in groupings(stage, best.partition):
                trial = _tried_grouped(p, best, {**best.grouping, stage.name: sizes})
                if trial is not None and _is_better(trial, best):
                    best = trial
    return best


def _is_better(one: Decision, other: Decision) -> bool:
    """Faster, or as fast with fewer bytes read."""
    if one.makespan_s < other.makespan_s * _WORTH:
        return True
    return one.makespan_s <= other.makespan_s and _read_bytes(one) < _read_bytes(other)


def _read_bytes(decision: Decision) -> int:
    facts = decision.workload.facts
    loads = decision.schedule.loads
    return sum(_often(decision, load) * facts[load.chunk].weight_bytes for load in loads)


def _often(decision: Decision, load: Load) -> int:
    return times(load, decision.program.segments[load.segment])


def _tried_grouped(p: _Problem, best: Decision, grouping: Grouping) -> Decision | None:
    if grouping == best.grouping:
        return None
    try:
        return _timed(p, _grouped(p, best.partition, grouping))
    except DoesNotFit:
        return None


def _finer_levels(
    p: _Problem, levels: Mapping[str, int], graph: str, stop: int = len(_PIECES)
) -> Iterator[int]:
    """Those below `stop` with more chunks than the one before, until cuts are no finer."""
    now = len(_cut(p, graph, levels[graph]))
    for level in range(levels[graph] + 1, stop):
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
        loading[graphs[load.chunk]] += _often(decision, load) * facts[load.chunk].load_s
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
    stage = p.source.pipeline.stage(measured.graph.stage)
    chunks = tuple(
        replace(c, compute_unit=unit_of(stage, measured.graph, c, p.target))
        for c in cut_stage(measured, limit, p.target, calls)
    )
    return with_shares(measured, chunks) if _may_share(p, measured) else chunks


def _in_blocks(p: _Problem, measured: Measured) -> Measured:
    """Cut at equal blocks in any case, where these may share a graph."""
    return replace(measured, blocks=equal_blocks(measured)) if _may_share(p, measured) else measured


def _may_share(p: _Problem, measured: Measured) -> bool:
    stage = p.source.pipeline.stage(measured.graph.stage)
    return p.shares_graphs and not measured.graph.variants and stage.compression == UNCOMPRESSED


def _calls(p: _Problem, graph: StageGraph) -> int:
    loop = p.source.pipeline.loop_of(graph.stage)
    return loop.count if loop is not None and graph.part == "body" else 1


def _partition(p: _Problem, choice: _Choice) -> Partition:
    levels = choice.levels
    return Partition(tuple(c for graph in p.measured for c in _cut(p, graph, levels[graph])))


def _looked_at(p: _Problem, choice: _Choice) -> Decision:
    def make() -> _Made:
        partition = _partition(p, choice)
        named = [s for s in choosable(p.source.pipeline) if s.name in choice.slice_major]
        return _made(p, partition, {s.name: together(s, partition) for s in named})

    key = (tuple(choice.levels.items()), choice.slice_major)
    return _timed(p, _remembered(p, key, make))


def _grouped(p: _Problem, partition: Partition, grouping: Grouping) -> _Made:
    """Chunks that were looked at already, in other groups."""
    # What is remembered keeps the partition, so that no other gets its identity.
    key = (id(partition), tuple(grouping.items()))
    return _remembered(p, key, lambda: _made(p, partition, grouping))


def _remembered(p: _Problem, key: object, make: Callable[[], _Made]) -> _Made:
    if key not in p.made:
        p.made[key] = make()
    return p.made[key].within(p.target.budget_bytes)


def _made(p: _Problem, partition: Partition, grouping: Grouping) -> _Made:
    program = build_program(p.source, partition, grouping)
    grouping = whole_grouping(p.source.pipeline, partition, grouping)
    workload = Workload.on(p.target, program, (_facts(p, c) for c in partition.chunks))
    return _Made(partition, grouping, workload, Given(workload))


def _timed(p: _Problem, made: _Made) -> Decision:
    """At a first look: quickly scheduled, and timed on loops that are cut short."""
    schedule = quick_by_gates(made.workload, p.policy, made.given)
    seconds = paced_s(made.workload, schedule, made.given)
    return Decision(made.partition, made.grouping, made.workload, schedule, seconds, made.given)


def _scheduled(p: _Problem, chosen: Decision) -> Decision:
    """The chosen partition with the policy's whole search."""
    schedule = schedule_as_planned(chosen.workload, p.policy, chosen.given)
    seconds, _ = cost_of(chosen.workload, schedule, chosen.given)
    return replace(chosen, schedule=schedule, makespan_s=seconds)


def _facts(p: _Problem, chunk: Chunk) -> ChunkFacts:
    if id(chunk) not in p.facts:
        p.facts[id(chunk)] = _facts_anew(p, chunk)
    return p.facts[id(chunk)]


def _facts_anew(p: _Problem, chunk: Chunk) -> ChunkFacts:
    facts = predicted_facts(chunk, p.target)
    factor = p.corrections.get(chunk.graph, 1.0)
    return replace(facts, activation_bytes=int(facts.activation_bytes * factor))


def _graph_of(error: DoesNotFit, partition: Partition) -> str:
    return partition.chunk(error.chunk).graph


def _remedy(p: _Problem, error: DoesNotFit, enough_bytes: int) -> str:
    """Overrides that would help: smaller map slices or another order of them, and the memory that
    is enough."""
    memory = f"`target.memory={enough_bytes // 2**20}MiB`"
    graph = error.chunk.rsplit(".", 1)[0]
    stage = p.source.pipeline.stage(p.measured[graph].graph.stage)
    return " or ".join([*map_remedies(p.source.pipeline, stage), memory])


def _enough_bytes(p: _Problem, coarsest: _Choice, error: DoesNotFit) -> int:
    """Whole MiB of `target.memory` with which everything fits: other stages may need more."""
    target, need = p.target, error.need_bytes
    while True:
        wanted = need / (1 - target.settle_fraction) + target.base_footprint_bytes
        memory = (int(wanted) // 2**20 + 1) * 2**20
        try:
            larger = replace(p, target=replace(target, memory_bytes=memory))
            _first_fit(larger, coarsest)
        except DoesNotFit as again:
            need = max(again.need_bytes, need + 2**20)
            continue
        return memory
