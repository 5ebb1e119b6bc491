"""Program x facts x policy -> Schedule: when each chunk is loaded and freed.

Every load has a *gate*: the step whose end lets it start. A copy is in memory while step t
runs iff gate < t <= last use, so the peak is bounded for **any** durations once

    for all t:  need_t + sum of w_k over {k : gate_k < t <= free_k}  <=  budget

holds (shared reference scheduling.md, section 1: gates lose nothing). Predicted times choose
among safe schedules and nothing else.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from compiler.ci_dl import earliest_gate, kept_blocks
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
from compiler.slots import START, Slot, expand
from compiler.slots import Placement as Placement
from compiler.slots import unroll as unroll
from compiler.units import format_bytes

_UNROLL = 4
"""Iterations looked at: the first, two alike in the middle, the last."""


@dataclass(frozen=True, slots=True)
class _Placed:
    chunk: str
    use: int
    free: int
    gate: int


def make_schedule(
    program: Program, facts: Mapping[str, ChunkFacts], policy: Policy, budget_bytes: int
) -> Schedule:
    """The best of a few safe schedules of this policy by simulated time.

    Raises `DoesNotFit` naming the chunk when even the leanest one exceeds the budget.
    """
    if policy.rule == "ci_dl":
        return _published(program, facts, policy, budget_bytes)
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


def _published(
    program: Program, facts: Mapping[str, ChunkFacts], policy: Policy, budget: int
) -> Schedule:
    """CI-DL's kept blocks, fewer where they would break the budget: its margin is a guess."""
    slots = expand(program, facts, 1)
    kept = kept_blocks(program, facts, policy, budget, slots) if policy.retain else {}
    while True:
        attempt = _attempt(program, facts, policy, budget, kept)
        if isinstance(attempt, Schedule):
            return attempt
        segment = attempt.slot.segment
        if not kept.get(segment):
            raise _does_not_fit(attempt, facts, budget)
        kept[segment] = kept[segment][:-1]


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
    retained: Mapping[int, Collection[str]],
) -> Schedule | _Conflict:
    placer = _Placer(program, facts, policy, budget, retained)
    for use in range(len(placer.slots)):
        conflict = placer.place(use)
        if conflict is not None:
            return conflict
    loads = _compress(program, placer.slots, placer.placed)
    resident = tuple(sorted({c for kept in retained.values() for c in kept}))
    return Schedule(policy=policy, budget_bytes=budget, loads=loads, resident=resident)


class _Placer:
    """Places the loads one after the other; working state of one attempt."""

    def __init__(
        self,
        program: Program,
        facts: Mapping[str, ChunkFacts],
        policy: Policy,
        budget: int,
        retained: Mapping[int, Collection[str]],
    ) -> None:
        self.program, self.facts, self.policy = program, facts, policy
        self.budget, self.retained = budget, retained
        self.slots = expand(program, facts, _UNROLL)
        self.used = [slot.need_bytes for slot in self.slots]
        self.placed: list[_Placed] = []

    def place(self, use: int) -> _Conflict | None:
        """The load for one use, at the earliest gate the policy, order and memory allow."""
        slot, slots = self.slots[use], self.slots
        if slot.chunk is None:
            return None
        keep = slot.chunk in self.retained.get(slot.segment, ())
        if keep and slot.iteration > 0:
            return None
        free = _last_use(slots, use) if keep else use
        weight = self.facts[slot.chunk].weight_bytes
        for t in range(use, free + 1):
            if self.used[t] + weight > self.budget:
                return _Conflict(slots[t], self.used[t] - slots[t].need_bytes + weight)
        gate, floor = use - 1, self.floor(use)
        while gate > floor and self.used[gate] + weight <= self.budget:
            gate -= 1
        self.placed.append(_Placed(slot.chunk, use, free, gate))
        for t in range(gate + 1, free + 1):
            self.used[t] += weight
        return None

    def floor(self, use: int) -> int:
        """The earliest gate: by the policy, the order of loads, and what a plan can say."""
        if self.policy.lookahead == 0:
            return use - 1
        floor = START
        if len(self.placed) >= self.policy.lookahead:
            floor = self.placed[-self.policy.lookahead].use - 1
        if self.placed:
            floor = max(floor, self.placed[-1].gate)
        # A chunk is never in memory twice.
        before = [p.free for p in self.placed if p.chunk == self.slots[use].chunk]
        floor = max([floor, *before])
        if self.policy.rule == "ci_dl":
            floor = max(floor, earliest_gate(self.program, self.slots, use))
        return max(floor, self.earliest_name(use))

    def earliest_name(self, use: int) -> int:
        """A plan can name the load's own iteration, the one before it, and the last iteration
        of the segment before, but only its end where that may come early; anything earlier is
        moved later, which is always safe."""
        slots, slot = self.slots, self.slots[use]
        first = next(
            t
            for t, s in enumerate(slots)
            if s.segment == slot.segment and s.iteration == max(0, slot.iteration - 1)
        )
        if slot.iteration > 0:
            return first
        if slot.segment == 0:
            return START
        last = slots[first - 1]
        if self.program.segments[last.segment].until is not None:
            return first - 1
        return first - 1 - last.step


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
