"""What is in memory when: over time, chunk by chunk, and at the proven peak with every name.

Made from a plan and the events of a run of it, predicted (`compiler.timeline`) or observed
(`Run.events`). Tensors between two calls are those that the first of them leaves.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from compiler.check_life import ITERATIONS
from compiler.ir import Call, Event, Plan, Program
from compiler.slots import Placement, expand, live_tensors, unroll


@dataclass(frozen=True, slots=True)
class Sample:
    """What memory holds from `at_s` until the next sample."""

    at_s: float
    resident_bytes: int
    """Weights of loaded chunks, called or not."""
    loading_bytes: int
    activation_bytes: int
    tensor_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.resident_bytes + self.loading_bytes + self.activation_bytes + self.tensor_bytes


@dataclass(frozen=True, slots=True)
class Span:
    """A stay in memory: from the start of a load to the free of the chunk's last page."""

    chunk: str
    start_s: float
    end_s: float


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

    @property
    def total_bytes(self) -> int:
        parts = (*self.resident, *self.ahead, *self.tensors)
        return self.weight_bytes + self.activation_bytes + sum(p.size_bytes for p in parts)


# ---------------------------------------------------------------- the proven peak


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
    budget (`compiler/check_online.py`)."""
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
    others = there - {slot.chunk}
    rest = total - slot.need_bytes - own
    name = next(iter(others)) if len(others) == 1 else f"any of {len(others)} chunks"
    return Peak(
        segment=slot.segment,
        iteration=slot.iteration,
        step=slot.step,
        chunk=slot.chunk,
        weight_bytes=own,
        activation_bytes=facts[slot.chunk].activation_bytes if slot.chunk is not None else 0,
        resident=(),
        ahead=(Held(name, rest),) if rest else (),
        tensors=_tensors_at(plan.program, slot.segment, slot.step),
    )


def _tensors_at(program: Program, segment: int, step: int) -> tuple[Held, ...]:
    """Largest first."""
    alive = live_tensors(program)[segment, step]
    held = [Held(t.name, t.size_bytes) for t in program.tensors if t.name in alive]
    return tuple(sorted(held, key=lambda h: (-h.size_bytes, h.name)))


# ---------------------------------------------------------------- over time


@dataclass(frozen=True, slots=True)
class _Change:
    """At a moment: bytes added to a part of the memory, or set where `absolute`."""

    at_s: float
    part: str
    size_bytes: int
    absolute: bool = False


def usage(
    plan: Plan, events: Sequence[Event], activations: Mapping[str, int] | None = None
) -> tuple[Sample, ...]:
    """Memory over time: one sample for each moment at which something changes.

    `activations`: bytes of chunks' calls where they were observed; else what the plan claims.
    """
    claimed = {f.id: f.activation_bytes for f in plan.facts}
    now = {"resident": 0, "loading": 0, "activation": 0, "tensor": 0}
    samples: list[Sample] = []
    for change in _changes(plan, events, claimed | dict(activations or {})):
        before = 0 if change.absolute else now[change.part]
        now[change.part] = before + change.size_bytes
        sample = Sample(
            change.at_s, now["resident"], now["loading"], now["activation"], now["tensor"]
        )
        if samples and samples[-1].at_s == change.at_s:
            samples[-1] = sample
        else:
            samples.append(sample)
    return tuple(samples)


def _changes(plan: Plan, events: Sequence[Event], activations: Mapping[str, int]) -> list[_Change]:
    """By time; at one moment calls end, then memory is given back, then loads and calls begin."""
    calls, frees, loads, starts = [], [], [], []
    held = _Tensors(plan.program)
    for e in sorted(events, key=lambda e: (e.start_s, e.end_s)):
        if e.queue == "free":
            frees.append(_Change(e.start_s, "resident", -e.size_bytes))
        elif e.queue == "load":
            loads.append(_Change(e.start_s, "loading", e.size_bytes))
            loads.append(_Change(e.end_s, "loading", -e.size_bytes))
            loads.append(_Change(e.end_s, "resident", e.size_bytes))
        else:
            during, after = held.of(e)
            if e.start_s < e.end_s:
                starts.append(_Change(e.start_s, "activation", activations[e.label], True))
                starts.append(_Change(e.start_s, "tensor", during, True))
            calls.append(_Change(e.end_s, "activation", 0, True))
            calls.append(_Change(e.end_s, "tensor", after, True))
    return sorted(chain(calls, frees, loads, starts), key=lambda c: c.at_s)


class _Tensors:
    """Bytes of tensors during and after each call, found from the order of its events."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.live = live_tensors(program)
        self.size = {t.name: t.size_bytes for t in program.tensors}
        self.seen: dict[tuple[int, int, str], int] = {}
        self.steps = {
            s: {c: [k for k, x in enumerate(g.steps) if isinstance(x, Call) and x.chunk == c]
                for c in {x.chunk for x in g.steps if isinstance(x, Call)}}
            for s, g in enumerate(program.segments)
        }  # fmt: skip

    def of(self, event: Event) -> tuple[int, int]:
        """Of a call's event; events come by time."""
        key = (event.segment, event.iteration, event.label)
        nth = self.seen.get(key, 0)
        self.seen[key] = nth + 1
        own = self.steps[event.segment].get(event.label, [0])
        step = own[min(nth, len(own) - 1)]
        during = self.live[event.segment, step]
        segment = self.program.segments[event.segment]
        gone = set(segment.steps[step].frees)
        if step + 1 == len(segment.steps):
            gone |= {after for _, _, after in segment.state} | {segment.until or ""}
            gone |= set(segment.frees) if event.iteration + 1 == segment.count else set()
        return sum(self.size[x] for x in during), sum(self.size[x] for x in during - gone)


def spans(events: Sequence[Event]) -> tuple[Span, ...]:
    """Every stay of every chunk, by its start. Pages of a chunk make one stay."""
    copies: dict[str, int] = {}
    begun: dict[str, float] = {}
    made: list[Span] = []
    order = {"free": 0, "load": 1}
    changes = [e for e in events if e.queue in order]
    for e in sorted(changes, key=lambda e: (e.start_s, order[e.queue])):
        before = copies.get(e.label, 0)
        copies[e.label] = before + (1 if e.queue == "load" else -1)
        if before == 0:
            begun[e.label] = e.start_s
        if copies[e.label] == 0:
            made.append(Span(e.label, begun.pop(e.label), e.end_s))
    last = max((e.end_s for e in events), default=0.0)
    made += [Span(chunk, start, last) for chunk, start in begun.items()]
    return tuple(sorted(made, key=lambda s: (s.start_s, s.chunk)))
