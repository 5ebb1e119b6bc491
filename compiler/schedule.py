"""Program x facts x policy -> Schedule: when each chunk is loaded and freed.

Every load has a *gate*: the step whose end lets it start. A copy is in memory while step t
runs iff gate < t <= last use, so the peak is bounded for **any** durations once

    for all t:  need_t + sum of w_k over {k : gate_k < t <= free_k}  <=  budget

holds (shared reference scheduling.md, section 1: gates lose nothing). Predicted times choose
among safe schedules and nothing else.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from compiler.errors import DoesNotFit
from compiler.ir import (
    Call,
    ChunkFacts,
    Gate,
    Load,
    Moment,
    Policy,
    Program,
    Schedule,
    Segment,
)
from compiler.program import reads, writes
from compiler.units import format_bytes

START = -1
_UNROLL = 4
"""Iterations looked at: the first, two alike in the middle, the last."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One step of one iteration of the expanded program."""

    segment: int
    iteration: int
    step: int
    chunk: str | None
    need_bytes: int
    """Activations of the call and every tensor alive while it runs."""


@dataclass(frozen=True, slots=True)
class _Placed:
    chunk: str
    use: int
    free: int
    gate: int


def held_bytes(program: Program) -> dict[tuple[int, int], int]:
    """Bytes of all tensors alive during (segment, step), the same in every iteration."""
    size = {t.name: t.size_bytes for t in program.tensors}
    alive = {i.name for i in program.inputs} | {c.name for c in program.constants}
    alive &= set(size)
    held: dict[tuple[int, int], int] = {}
    for s, segment in enumerate(program.segments):
        alive |= {name for name, _, _ in segment.state}
        for k, step in enumerate(segment.steps):
            alive |= (reads(step) | writes(step)) & set(size)
            held[s, k] = sum(size[x] for x in alive)
            alive -= set(step.frees)
        # A state keeps its last value; the tensor it came from is renamed, not copied.
        alive -= {after for _, _, after in segment.state} | set(segment.frees)
    return held


def expand(
    program: Program, facts: Mapping[str, ChunkFacts], iterations: int | None = None
) -> list[Slot]:
    """The steps in order; at most `iterations` of each loop (all of them when None)."""
    held = held_bytes(program)
    slots = []
    for s, segment in enumerate(program.segments):
        count = segment.count if iterations is None else min(segment.count, iterations)
        for i in range(count):
            for k, step in enumerate(segment.steps):
                chunk = step.chunk if isinstance(step, Call) else None
                activation = facts[chunk].activation_bytes if chunk is not None else 0
                slots.append(Slot(s, i, k, chunk, held[s, k] + activation))
    return slots


def make_schedule(
    program: Program, facts: Mapping[str, ChunkFacts], policy: Policy, budget_bytes: int
) -> Schedule:
    """The best of a few safe schedules of this policy by simulated time.

    Raises `DoesNotFit` naming the chunk when even the leanest one exceeds the budget.
    """
    best = _attempt(program, facts, policy, budget_bytes, {})
    if isinstance(best, _Conflict):
        raise _does_not_fit(best, facts, budget_bytes)
    if not policy.retain:
        return best
    chosen: dict[int, frozenset[str]] = {}
    for s, segment in enumerate(program.segments):
        if segment.is_loop:
            best, chosen = _retain(program, facts, policy, budget_bytes, best, chosen, s)
    return best


def _retain(
    program: Program,
    facts: Mapping[str, ChunkFacts],
    policy: Policy,
    budget: int,
    best: Schedule,
    chosen: dict[int, frozenset[str]],
    segment: int,
) -> tuple[Schedule, dict[int, frozenset[str]]]:
    """Try to keep the chunks of a loop: all of them, else evenly spread subsets."""
    # Imported here: the simulator reads schedules, so it stands to the right of this module.
    from compiler.simulate import simulate

    def cost(schedule: Schedule) -> tuple[float, int]:
        result = simulate(program, facts, schedule)
        return round(result.makespan_s, 9), result.loaded_bytes

    chunks = _chunks_of(program.segments[segment])
    best_cost, best_chosen = cost(best), chosen
    for keep in range(len(chunks), 0, -1):
        trial = chosen | {segment: frozenset(spread(chunks, keep))}
        attempt = _attempt(program, facts, policy, budget, trial)
        if isinstance(attempt, _Conflict):
            continue
        trial_cost = cost(attempt)
        if trial_cost < best_cost:
            best, best_cost, best_chosen = attempt, trial_cost, trial
        if keep == len(chunks):
            break
    return best, best_chosen


def spread(chunks: list[str], keep: int) -> list[str]:
    """`keep` of the chunks at even distances: a prefix would leave one long run to stream."""
    total = len(chunks)
    return [c for i, c in enumerate(chunks) if (i + 1) * keep // total > i * keep // total]


def _chunks_of(segment: Segment) -> list[str]:
    return list(dict.fromkeys(s.chunk for s in segment.steps if isinstance(s, Call)))


# ---------------------------------------------------------------- placing loads


@dataclass(frozen=True, slots=True)
class _Conflict:
    slot: Slot
    present_bytes: int


def _attempt(
    program: Program,
    facts: Mapping[str, ChunkFacts],
    policy: Policy,
    budget: int,
    retained: Mapping[int, frozenset[str]],
) -> Schedule | _Conflict:
    slots = expand(program, facts, _UNROLL)
    placed: list[_Placed] = []
    used = [slot.need_bytes for slot in slots]
    for use, slot in enumerate(slots):
        load = _place(slots, facts, policy, retained, placed, used, budget, use, slot)
        if isinstance(load, _Conflict):
            return load
        if load is None:
            continue
        placed.append(load)
        for t in range(load.gate + 1, load.free + 1):
            used[t] += facts[load.chunk].weight_bytes
    loads = _compress(program, slots, placed)
    resident = tuple(sorted(set().union(*retained.values()))) if retained else ()
    return Schedule(policy=policy, budget_bytes=budget, loads=loads, resident=resident)


def _place(
    slots: list[Slot],
    facts: Mapping[str, ChunkFacts],
    policy: Policy,
    retained: Mapping[int, frozenset[str]],
    placed: list[_Placed],
    used: list[int],
    budget: int,
    use: int,
    slot: Slot,
) -> _Placed | _Conflict | None:
    """The load for one use, at the earliest gate the policy, order and memory allow."""
    if slot.chunk is None:
        return None
    keep = slot.chunk in retained.get(slot.segment, frozenset())
    if keep and slot.iteration > 0:
        return None
    free = _last_use(slots, use) if keep else use
    weight = facts[slot.chunk].weight_bytes
    for t in range(use, free + 1):
        if used[t] + weight > budget:
            return _Conflict(slots[t], used[t] - slots[t].need_bytes + weight)
    gate = use - 1
    floor = _floor(slots, placed, policy, use)
    while gate > floor and used[gate] + weight <= budget:
        gate -= 1
    return _Placed(slot.chunk, use, free, gate)


def _floor(slots: list[Slot], placed: list[_Placed], policy: Policy, use: int) -> int:
    """The earliest gate: by the lookahead, the order of loads, and what a plan can say.

    A plan can name the load's own iteration, the one before it, and the last iteration of
    the segment before; anything earlier is moved later, which is always safe.
    """
    floor = START
    if policy.lookahead == 0:
        return use - 1
    if len(placed) >= policy.lookahead:
        floor = placed[-policy.lookahead].use - 1
    if placed:
        floor = max(floor, placed[-1].gate)
    # A chunk is never in memory twice.
    before = [p.free for p in placed if p.chunk == slots[use].chunk]
    floor = max(floor, *before) if before else floor
    first = next(
        t
        for t, s in enumerate(slots)
        if s.segment == slots[use].segment and s.iteration == max(0, slots[use].iteration - 1)
    )
    if slots[use].iteration > 0 or slots[use].segment == 0:
        return max(floor, first if slots[use].iteration > 0 else START)
    previous = slots[first - 1]
    opening = first - 1 - previous.step
    return max(floor, opening)


def _last_use(slots: list[Slot], use: int) -> int:
    same = [t for t, s in enumerate(slots) if (s.segment, s.chunk) == _key(slots[use])]
    return max(same)


def _key(slot: Slot) -> tuple[int, str | None]:
    return slot.segment, slot.chunk


def _compress(program: Program, slots: list[Slot], placed: list[_Placed]) -> tuple[Load, ...]:
    """Loads of iteration 0 as `first`; those of later iterations, alike, as `each`."""
    first: list[Load] = []
    each: dict[tuple[int, int], Load] = {}
    for load in placed:
        slot = slots[load.use]
        made = _load(program, slots, load)
        if slot.iteration == 0:
            first.append(made)
            continue
        key = (slot.segment, slot.step)
        old = each.get(key)
        each[key] = made if old is None else _later(old, made)
    ordered = []
    for s in range(len(program.segments)):
        ordered += [x for x in first if x.segment == s]
        ordered += [x for (seg, _), x in sorted(each.items()) if seg == s]
    return tuple(ordered)


def _later(a: Load, b: Load) -> Load:
    """The one with the later gate: it holds its copy for a shorter time, so it is safe."""
    assert a.gate is not None and b.gate is not None
    rank = {Moment.PREVIOUS: 0, Moment.SAME: 1}
    return max(a, b, key=lambda x: (rank[x.gate.moment], x.gate.step))  # type: ignore[union-attr]


def _load(program: Program, slots: list[Slot], load: _Placed) -> Load:
    use, free = slots[load.use], slots[load.free]
    return Load(
        chunk=load.chunk,
        segment=use.segment,
        iterations="first" if use.iteration == 0 else "each",
        step=use.step,
        gate=_gate(slots, load, use),
        free_step=free.step,
        free_moment=Moment.SAME if free.iteration == use.iteration else Moment.LAST,
    )


def _gate(slots: list[Slot], load: _Placed, use: Slot) -> Gate | None:
    if load.gate == START:
        return None
    gate = slots[load.gate]
    if gate.segment != use.segment:
        return Gate(gate.segment, gate.step, Moment.LAST)
    moment = Moment.SAME if gate.iteration == use.iteration else Moment.PREVIOUS
    return Gate(gate.segment, gate.step, moment)


def _does_not_fit(conflict: _Conflict, facts: Mapping[str, ChunkFacts], budget: int) -> DoesNotFit:
    slot = conflict.slot
    assert slot.chunk is not None
    f = facts[slot.chunk]
    total = slot.need_bytes + conflict.present_bytes
    stage = slot.chunk.split(".")[0]
    return DoesNotFit(
        f"does not fit: stage `{stage}`, chunk {slot.chunk}, needs {format_bytes(total)} at its "
        f"peak (weights {format_bytes(f.weight_bytes)}, activations "
        f"{format_bytes(f.activation_bytes)}, live tensors "
        f"{format_bytes(slot.need_bytes - f.activation_bytes)}), budget "
        f"{format_bytes(budget)}",
        chunk=slot.chunk,
        need_bytes=total,
    )


# ---------------------------------------------------------------- meaning of a schedule


@dataclass(frozen=True, slots=True)
class Placement:
    """One load of the unrolled program, in absolute step numbers (-1 is the start)."""

    chunk: str
    gate: int
    use: int
    free: int


def bases(program: Program) -> list[int]:
    """The absolute number of each segment's first step."""
    result, total = [], 0
    for segment in program.segments:
        result.append(total)
        total += segment.count * len(segment.steps)
    return result


def unroll(program: Program, schedule: Schedule) -> Iterator[Placement]:
    """The loads in the order the loader makes them, for all iterations."""
    base = bases(program)
    for s, segment in enumerate(program.segments):
        first = [x for x in schedule.loads if x.segment == s and x.iterations == "first"]
        each = [x for x in schedule.loads if x.segment == s and x.iterations == "each"]
        for i in range(segment.count):
            for load in first if i == 0 else each:
                yield _absolute(program, base, load, i)


def _absolute(program: Program, base: list[int], load: Load, iteration: int) -> Placement:
    segment = program.segments[load.segment]
    length = len(segment.steps)

    def at(i: int, step: int) -> int:
        return base[load.segment] + i * length + step

    gate = START
    if load.gate is not None and load.gate.moment is Moment.LAST:
        before = program.segments[load.gate.segment]
        last = (before.count - 1) * len(before.steps)
        gate = base[load.gate.segment] + last + load.gate.step
    elif load.gate is not None:
        back = 1 if load.gate.moment is Moment.PREVIOUS else 0
        gate = at(iteration - back, load.gate.step)
    last_iteration = segment.count - 1 if load.free_moment is Moment.LAST else iteration
    return Placement(load.chunk, gate, at(iteration, load.step), at(last_iteration, load.free_step))
