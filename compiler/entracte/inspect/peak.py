"""The most that a plan's run can have in memory, for any timing, with every name.

It adds up to the checker's claim (`Forecast.peak_bytes`). What a run under given times has in
memory is `entracte.inspect.residency`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from entracte.check.life import ITERATIONS
from entracte.ir import Call, Plan, Program
from entracte.program.steps import Placement, expand, live_tensors, unroll


@dataclass(frozen=True, slots=True)
class Held:
    """Something in memory: a chunk or a tensor."""

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The step that can need most memory over all timings, and what that consists of."""

    segment: int
    iteration: int
    """As the checker counts, which looks at the first five iterations of a loop."""
    step: int
    chunk: str | None
    """What runs; None in a host step."""
    weight_bytes: int
    """Of the chunk that runs."""
    activation_bytes: int
    resident: tuple[Held, ...]
    """Chunks that were called before and stay."""
    ahead: tuple[Held, ...]
    """Chunks that may be loading, or loaded, for later steps."""
    tensors: tuple[Held, ...]
    room_bytes: int = 0
    """Of the online rule: what is left of the budget, which it may fill with any of `candidates`;
    together they are larger. 0 where all of them fit: then they are `ahead`."""
    candidates: tuple[Held, ...] = ()

    @property
    def total_bytes(self) -> int:
        parts = (*self.resident, *self.ahead, *self.tensors)
        own = self.weight_bytes + self.activation_bytes
        return own + sum(p.size_bytes for p in parts) + self.room_bytes


def peak_of(plan: Plan) -> Peak:
    """The first step with the largest sum, as the checker adds it up (ARCHITECTURE.md)."""
    if plan.schedule.rule == "online":
        return _online_peak(plan)
    segments = tuple(replace(s, count=min(s.count, ITERATIONS)) for s in plan.program.segments)
    program = replace(plan.program, segments=segments)
    facts = {f.id: f for f in plan.facts}
    slots = expand(program, facts)
    copies = list(unroll(program, plan.schedule))
    totals = [s.need_bytes for s in slots]
    for copy in copies:
        for n in range(copy.gate + 1, copy.free + 1):
            totals[n] += facts[copy.chunk].weight_bytes
    n = totals.index(max(totals))
    slot = slots[n]
    there = [c for c in copies if c.gate < n <= c.free]

    def held(chosen: Iterable[Placement]) -> tuple[Held, ...]:
        return tuple(Held(c.chunk, facts[c.chunk].weight_bytes) for c in chosen)

    return Peak(
        segment=slot.segment,
        iteration=slot.iteration,
        step=slot.step,
        chunk=slot.chunk,
        weight_bytes=facts[slot.chunk].weight_bytes if slot.chunk is not None else 0,
        activation_bytes=facts[slot.chunk].activation_bytes if slot.chunk is not None else 0,
        resident=held(c for c in there if c.use <= n and c.chunk != slot.chunk),
        ahead=held(c for c in there if c.use > n),
        tensors=_tensors_at(program, slot.segment, slot.step),
    )


def _online_peak(plan: Plan) -> Peak:
    """What else is there beside the step's own needs is for the rule to decide: any chunks that
    this step or a later one calls, and those of loops before it that may end early, up to the
    budget (`entracte/check/online.py`)."""
    facts = {f.id: f for f in plan.facts}
    segments = plan.program.segments
    slots = expand(plan.program, facts, ITERATIONS)
    early = [
        {x.chunk for x in g.steps if isinstance(x, Call)} if g.until else set() for g in segments
    ]
    later: set[str] = set()
    best: tuple[int, int, frozenset[str]] = (-1, 0, frozenset())
    for n in reversed(range(len(slots))):
        slot = slots[n]
        later |= {slot.chunk} - {None}  # type: ignore[arg-type]
        there = frozenset(later.union(*early[: slot.segment]))
        total = slot.need_bytes + sum(facts[c].weight_bytes for c in there)
        total = min(plan.schedule.budget_bytes, total)
        if total >= best[0]:
            best = (total, n, there)
    total, n, there = best
    slot = slots[n]
    own = facts[slot.chunk].weight_bytes if slot.chunk is not None else 0
    others = _largest_first(Held(c, facts[c].weight_bytes) for c in there - {slot.chunk})
    rest = total - slot.need_bytes - own
    all_fit = rest == sum(h.size_bytes for h in others)
    return Peak(
        segment=slot.segment,
        iteration=slot.iteration,
        step=slot.step,
        chunk=slot.chunk,
        weight_bytes=own,
        activation_bytes=facts[slot.chunk].activation_bytes if slot.chunk is not None else 0,
        resident=(),
        ahead=others if all_fit else (),
        tensors=_tensors_at(plan.program, slot.segment, slot.step),
        room_bytes=0 if all_fit else rest,
        candidates=() if all_fit else others,
    )


def _tensors_at(program: Program, segment: int, step: int) -> tuple[Held, ...]:
    alive = live_tensors(program)[segment, step]
    return _largest_first(Held(t.name, t.size_bytes) for t in program.tensors if t.name in alive)


def _largest_first(held: Iterable[Held]) -> tuple[Held, ...]:
    return tuple(sorted(held, key=lambda h: (-h.size_bytes, h.name)))
