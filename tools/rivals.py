"""What others do about weights that do not fit, each rule as a schedule for our own clock.

Every rule gives a `Ruled`: a workload and a schedule by gates, so that the simulation, the budget
and the proof of the peak (`entracte/check/proof.py`) are the same for all. Where a rule leaves
something open (how many blocks stay) it gets what is fastest by prediction, which its authors'
users would have to find by trying. What a rule does in a runtime beside loading (pinned memory,
copies in VRAM) is left out.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from entracte.check.proof import check
from entracte.clock.predict import predict
from entracte.errors import DoesNotFit, PlanError
from entracte.ir import Gate, Load, Moment, Policy, Schedule
from entracte.program.workload import Workload
from entracte.schedule.by_gates import schedule_by_gates
from entracte.schedule.choose import BASELINES, make_schedule
from entracte.schedule.given import Conflict
from entracte.schedule.search import Searcher
from tests.planner.programs import OPTIMAL, Part, make_program

ON_DEMAND = Policy("on demand", 0, False)
ONE_AHEAD = Policy("one ahead", 1, False)


@dataclass(frozen=True)
class Ruled:
    """A rule's schedule and what it is for: one rule changes the chunks."""

    workload: Workload
    schedule: Schedule


def whole_components(workload: Workload) -> Ruled:
    """A component is loaded when it is called and dropped when another one is.

    Source: diffusers, `enable_model_cpu_offload` (`model_cpu_offload_seq`, one component on the
    device at a time); Apple's coreai-models for Wan and ml-stable-diffusion's `reduceMemory`
    (load, predict, unload): shared reference rivals.md, section 3. Raises `DoesNotFit` where a
    component is larger than the budget.
    """
    facts, segments = workload.facts, workload.program.segments
    own = [[facts[s.chunk] for s in g.steps] for g in segments]
    parts = tuple(
        Part(g.count, (sum(f.weight_bytes for f in made),))
        for g, made in zip(segments, own, strict=True)
    )
    program, _, made = make_program(parts)
    merged = {
        f.id: replace(
            f,
            activation_bytes=max(x.activation_bytes for x in old),
            load_s=sum(x.load_s for x in old),
            cold_s=sum(x.cold_s for x in old),
            exec_s=sum(x.exec_s for x in old),
        )
        for f, old in zip(made, own, strict=True)
    }
    whole = replace(workload, program=program, facts=merged)
    return Ruled(whole, schedule_by_gates(whole, ON_DEMAND))


def two_buffers(workload: Workload) -> Ruled:
    """Two blocks in memory: the next one is read while one computes, nothing stays.

    Source: antirez/h3.c, README, `--ssd-streaming` ("keeps two DiT blocks in memory and reads the
    next block from SSD while the GPU runs the current one"; "The first active block is prefetched
    again during the final block").
    """
    return Ruled(workload, schedule_by_gates(workload, ONE_AHEAD))


def group_offload(workload: Workload) -> Ruled:
    """As two buffers, but each block of the first forward and the first block of the others are
    loaded when they are called.

    Source: diffusers 0.42.1, `hooks/group_offloading.py`, block level with a stream. The order of
    the blocks is learnt in the first forward, whose loads block; then a group's hook loads the
    next group, the model's own the first, and the last group has none to load.
    """
    schedule = two_buffers(workload).schedule
    called = schedule_by_gates(workload, ON_DEMAND).loads
    gates = {(x.segment, x.step): x.gate for x in called if x.iterations == "first"}
    lengths = [len(g.steps) for g in workload.program.segments]
    loads = tuple(_learnt(x, lengths[x.segment], gates) for x in schedule.loads)
    return Ruled(workload, replace(schedule, loads=loads))


def _learnt(load: Load, length: int, gates: Mapping[tuple[int, int], Gate | None]) -> Load:
    """All loads of the first iteration wait as those on demand do, later the first load of each."""
    if load.iterations == "first":
        return replace(load, gate=gates[load.segment, load.step])
    if load.step == 0:
        return replace(load, gate=Gate(load.segment, length - 1, Moment.PREVIOUS))
    return load


def least_recently_used(workload: Workload) -> Ruled:
    """Blocks are loaded when they are called; for room, the one whose last call is longest ago
    goes.

    Source: the textbook rule (Sleator and Tarjan 1985), nearly what a mapped file of weights gets
    from the system's page cache and what caches of experts do. Where not all blocks of a loop fit
    it finds none of them, and is what accelerate's `disk_offload` and diffusers'
    `enable_sequential_cpu_offload` do: load, call, drop. A copy that is dropped before its
    next call is counted as dropped after its last one: the loads and times are the same, the peak
    lower.
    """
    kept = {}
    for loop in Searcher(workload, ON_DEMAND).loops:
        hits = lru_hits(loop.weights, min(loop.room))
        kept[loop.segment] = [loop.chunks[i] for i in hits]
    return _fastest(workload, ON_DEMAND, (kept,))


def lru_hits(weights: Sequence[int], room: int) -> list[int]:
    """Which of these blocks, called in turn, round by round, are found in a cache of `room` bytes
    once rounds are alike."""
    cache: OrderedDict[int, int] = OrderedDict()
    hits: list[int] = []
    for _ in range(3):
        hits = []
        for i, weight in enumerate(weights):
            if i in cache:
                hits.append(i)
                cache.move_to_end(i)
                continue
            while cache and sum(cache.values()) + weight > room:
                cache.popitem(last=False)
            cache[i] = weight
    return hits


def leading_resident(workload: Workload) -> Ruled:
    """The first N blocks stay, the next of the others is loaded ahead of its call, round and round.

    Source: sglang, `multimodal_gen/runtime/managers/memory_managers/layerwise_offload.py`,
    `compute_streamed_layers` and `_next_streamed`; `dit_layerwise_resident_layers`, policy
    `leading` (the default), prefetch size 1. N is the fastest. sglang waits for all N before its
    first call; here each is loaded as it is called, which is better. Every component has the rule.
    """
    return _resident(workload, lambda _, n: range(n))


def strided_resident(workload: Workload) -> Ruled:
    """The same with the streamed blocks spread evenly.

    Source: the same file, policy `strided`: of n blocks, s are streamed, those of the numbers
    round(i n / s).
    """

    def kept(total: int, n: int) -> Iterable[int]:
        streamed = (
            {round(i * total / (total - n)) for i in range(total - n)} if n < total else set()
        )
        return (i for i in range(total) if i not in streamed)

    return _resident(workload, kept)


def _resident(workload: Workload, kept: Callable[[int, int], Iterable[int]]) -> Ruled:
    """`kept(total, n)`: which blocks of `total` stay where n do."""
    loops = Searcher(workload, ONE_AHEAD).loops

    def sets() -> Iterator[dict[int, list[str]]]:
        for n in range(max(len(x.chunks) for x in loops) + 1):
            yield {
                x.segment: [x.chunks[i] for i in kept(len(x.chunks), min(n, len(x.chunks)))]
                for x in loops
            }

    return _fastest(workload, ONE_AHEAD, sets())


def published_prefix(workload: Workload) -> Ruled:
    """A prefix of the blocks stays, the next block is loaded while one computes, but not in the
    first step nor from one step to the next.

    Source: On-device Sora, arXiv:2502.04363v2, as `entracte/schedule/ci_dl.py` has it.
    """
    policy = next(p for p in BASELINES if p.name == "ci_dl")
    return Ruled(workload, make_schedule(workload, policy))


def ours(workload: Workload) -> Ruled:
    """`policy=optimal`, the default."""
    return Ruled(workload, make_schedule(workload, OPTIMAL))


RULES = {
    "whole components": whole_components,
    "two buffers": two_buffers,
    "group offload": group_offload,
    "LRU": least_recently_used,
    "first N stay": leading_resident,
    "N spread stay": strided_resident,
    "CI-DL": published_prefix,
    "ours": ours,
}


def _fastest(workload: Workload, policy: Policy, sets: Iterable[dict[int, list[str]]]) -> Ruled:
    """Of the sets of kept blocks that fit, of equal ones what reads least. Raises `DoesNotFit`, as
    the planner does, if none does."""
    best: tuple[tuple[float, int], Schedule] | None = None
    searcher = Searcher(workload, policy)
    for kept in sets:
        found = searcher.attempt(kept)
        if isinstance(found, Conflict):
            continue
        stay = tuple(sorted({c for chunks in kept.values() for c in chunks}))
        schedule = _around(
            workload,
            Schedule(
                policy=policy, budget_bytes=workload.budget_bytes, loads=found.loads, resident=stay
            ),
        )
        made = predict(workload, schedule)
        cost = made.makespan_s, made.loaded_bytes
        if best is None or cost < best[0]:
            best = cost, schedule
    if best is None:
        raise DoesNotFit(
            f"{policy.name}: no set of kept blocks fits {workload.budget_bytes} bytes: "
            "a larger budget",
            chunk="",
            need_bytes=0,
        )
    return Ruled(workload, best[1])


def _around(workload: Workload, schedule: Schedule) -> Schedule:
    """From one iteration to the next: the first load of an iteration starts as the last streamed
    block of the one before is called, where memory allows.

    The planner's search gives all later iterations the gates of the second one, before which those
    that stay are loaded too: for one load ahead that is later than the rule means.
    """
    if schedule.policy.lookahead == 0:
        return schedule
    each: dict[int, list[Load]] = {}
    for load in schedule.loads:
        if load.iterations == "each":
            each.setdefault(load.segment, []).append(load)
    for first, *_, last in (own for own in each.values() if len(own) > 1):
        for step in range(last.step - 1, _step(first.gate, last.step)):
            gate = Gate(first.segment, step, Moment.PREVIOUS)
            loads = tuple(replace(x, gate=gate) if x is first else x for x in schedule.loads)
            earlier = replace(schedule, loads=loads)
            if _safe(workload, earlier):
                schedule = earlier
                break
    return schedule


def _step(gate: Gate | None, otherwise: int) -> int:
    """The step that a gate of the iteration before names."""
    return gate.step if gate is not None and gate.moment is Moment.PREVIOUS else otherwise


def _safe(workload: Workload, schedule: Schedule) -> bool:
    facts = tuple(workload.facts.values())
    try:
        check(workload.program, facts, schedule, budget_bytes=workload.budget_bytes)
    except PlanError:
        return False
    return True
