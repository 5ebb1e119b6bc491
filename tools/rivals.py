"""What others do about weights that do not fit, each rule as a schedule for our own clock.

Every rule gives a `Ruled`: a workload and a schedule by gates, so that the simulation, the budget
and the proof of the peak (`entracte/check/proof.py`) are the same for all. Where a rule leaves
something open (how many blocks stay) it gets what is fastest by prediction, which its authors'
users would have to find by trying. What a rule does in a runtime beside loading (pinned memory,
copies in VRAM) is left out.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from entracte.clock.predict import predict
from entracte.errors import DoesNotFit
from entracte.ir import Gate, Load, Moment, Policy, Schedule
from entracte.program.workload import Workload
from entracte.schedule.by_gates import schedule_by_gates
from entracte.schedule.choose import BASELINES, make_schedule
from entracte.schedule.place import Conflict
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


def two_slots(workload: Workload) -> Ruled:
    """Two blocks in memory: the next one is read while one computes, nothing stays.

    Source: antirez/h3.c, README, `--ssd-streaming`. The first block of the next forward is read
    beside the last one of this.
    """
    return Ruled(workload, schedule_by_gates(workload, ONE_AHEAD))


def group_offload(workload: Workload) -> Ruled:
    """As two slots, but the first block of each forward is loaded when it is called.

    Source: diffusers, `hooks/group_offloading.py`, block level with a stream: a group's hook loads
    the next group, and the last group has none (read in 0.42.1: shared reference scheduling.md,
    section 2).
    """
    schedule = two_slots(workload).schedule
    lengths = [len(g.steps) for g in workload.program.segments]
    loads = tuple(_at_its_forward(x, lengths[x.segment]) for x in schedule.loads)
    return Ruled(workload, replace(schedule, loads=loads))


def _at_its_forward(load: Load, length: int) -> Load:
    """The first load of an iteration waits for the end of the one before."""
    if load.iterations != "each" or load.step != 0:
        return load
    return replace(load, gate=Gate(load.segment, length - 1, Moment.PREVIOUS))


def least_recently_used(workload: Workload) -> Ruled:
    """Blocks are loaded when they are called; for room, the one whose last call is longest ago
    goes.

    Source: the textbook rule (Sleator and Tarjan 1985), nearly what a mapped file of weights gets
    from the system's page cache and what caches of experts do. A copy that is dropped before its
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

    Source: sglang, `multimodal_gen/.../layerwise_offload.py`, `dit_layerwise_resident_layers`,
    policy `leading` (the default), prefetch size 1. N is the fastest.
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
    "two slots": two_slots,
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
        schedule = Schedule(
            policy=policy, budget_bytes=workload.budget_bytes, loads=found.loads, resident=stay
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
