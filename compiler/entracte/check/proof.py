"""The checker of programs and schedules: it proves safety from the plan alone, always.

It shares no code with the planner and imports only the data model. It proves: every call has
its chunk and its inputs; nothing is used after it is freed; nothing is loaded twice at once or
left loaded; no deadlock between loader and computer; and, for any durations whatever, memory
never exceeds the budget.

The proof of the peak: a copy takes memory from the start of its load, which is after its gate
step ended, to the end of the step that frees it. While step t runs, the copies that *can* be
there are those with gate < t <= free; so the sum over them, plus what the step itself needs,
bounds the memory during t and during the wait before t, whatever the clock does.

A loop that may end early does nothing before its end that the run of all its iterations does
not do, and the end of an iteration opens its gate only if there is a next one. So an early end
finds only copies that were counted while that iteration's last step ran. The runner drops them
all, with the loads that are left, before any gate of a later segment opens; `_check_later_gates`
proves that none can open sooner. So no copy crosses the end, the tensors there are the same
after every iteration (`check.life`), and what follows is proven once for all ends. A load in
flight waits for nothing, so neither does the end.

A call may rest in some iterations (`Call.at`): the proof is of the program in which none does, and
`check.rests` says why that is enough.

A plan whose runner follows the online rule is proven twice: its gates as above, and the rule
(`check.online`); the peak is the larger of the two.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, pairwise

from entracte.check.edges import check_edges
from entracte.check.life import (
    ITERATIONS,
    At,
    check_carried,
    check_tensors,
    check_until,
    name_of,
    tensors_at,
    unrolled,
)
from entracte.check.names import check_program_names, once
from entracte.check.numbers import check_numbers
from entracte.check.online import OnlinePeak, check_driver, online_peak
from entracte.check.outputs import check_outputs
from entracte.check.pieces import check_given, check_pieces
from entracte.check.rests import check_rests
from entracte.errors import PlanError
from entracte.ir import (
    Call,
    ChunkFacts,
    Gate,
    Load,
    Moment,
    Program,
    Schedule,
    Segment,
    Step,
)

MAX_CALLS = 1_000_000
"""No real pipeline calls one chunk so often; a plan that says so would only hang its runner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The step that can need most memory over all timings, and the names of what can be there:
    its chunk, its tensors, and other chunks. Their sizes add up to `total_bytes`."""

    total_bytes: int
    where: str
    segment: int = 0
    iteration: int = 0
    """Of the first `ITERATIONS`, which cover all others."""
    step: int = 0
    chunk: str | None = None
    """What runs; None in a host step."""
    called: tuple[str, ...] = ()
    """Chunks that were called before and stay."""
    ahead: tuple[str, ...] = ()
    """Chunks that may be loading, or loaded, for later steps."""
    tensors: tuple[str, ...] = ()
    room_bytes: int = 0
    """Of the online rule: what is left of the budget, which it may fill with any of `candidates`;
    together they are larger. 0 where all of them fit: then they are `ahead`."""
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Proof:
    """What the checker established."""

    peak: Peak
    steps_checked: int

    @property
    def peak_bytes(self) -> int:
        """Bytes that the program can hold at most, over all timings."""
        return self.peak.total_bytes

    @property
    def peak_step(self) -> str:
        """The step that can need them, by its name in errors."""
        return self.peak.where


@dataclass(frozen=True, slots=True)
class _Copy:
    chunk: str
    gate: int
    use: int
    free: int


def check(
    program: Program, facts: Sequence[ChunkFacts], schedule: Schedule, *, budget_bytes: int
) -> Proof:
    """Prove that the schedule is safe for this program. Raises `PlanError` if it is not."""
    return _checked(program, tuple(facts), schedule, budget_bytes)


@lru_cache(maxsize=2)
def _checked(
    program: Program, facts: tuple[ChunkFacts, ...], schedule: Schedule, budget_bytes: int
) -> Proof:
    """A pure function of values; whoever reads a plan and whoever shows it ask the same."""
    by_id = {f.id: f for f in facts}
    check_numbers(facts, "plan.facts")
    once("plan.facts: the facts of two chunks are called", (f.id for f in facts))
    _check_references(program, by_id, schedule)
    check_numbers(program, "plan.program")
    check_numbers(schedule, "plan.schedule")
    check_driver(by_id, schedule)
    timeline = unrolled(program)
    held = check_tensors(program, timeline)
    copies = _copies(program, schedule, timeline)
    _check_copies(timeline, copies)
    needs = _needs(timeline, held, by_id)
    at, peak = _gates_peak(timeline, needs, copies, by_id, budget_bytes)
    if schedule.driver == "online":
        online = online_peak(program, timeline, needs, by_id, budget_bytes)
        if online.total_bytes >= peak.total_bytes:
            at, peak = online.at, _named(timeline, needs, online, by_id)
    if timeline:
        peak = replace(peak, tensors=tuple(sorted(tensors_at(program, timeline, at))))
    return Proof(peak, len(timeline))


def _check_references(
    program: Program, facts: Mapping[str, ChunkFacts], schedule: Schedule
) -> None:
    check_program_names(program)
    for segment in program.segments:
        _check_segment(segment)
        for step in segment.steps:
            if isinstance(step, Call):
                _check_call(step, facts)
        check_carried(program, segment)
        check_until(program, segment)
    check_given(program)
    check_edges(program)
    check_pieces(program)
    check_outputs(program)
    check_rests(program)
    ending = [s for s, segment in enumerate(program.segments) if segment.until is not None]
    for load in schedule.loads:
        _check_load_reference(program, facts, load)
        _check_later_gates(program, load, ending)


def _check_segment(segment: Segment) -> None:
    if segment.count < 1 or not segment.steps:
        raise PlanError(f"plan: segment {segment.name} is empty")
    if segment.count * max(_repeat(s) for s in segment.steps) > MAX_CALLS:
        raise PlanError(
            f"plan: segment {segment.name} makes more than {MAX_CALLS} calls of a chunk"
        )


def _repeat(step: Step) -> int:
    return step.repeat if isinstance(step, Call) else 1


def _check_call(call: Call, facts: Mapping[str, ChunkFacts]) -> None:
    if call.chunk not in facts or call.repeat < 1:
        raise PlanError(f"plan: a call of {call.chunk!r} which is no chunk of the plan")
    ends = [0, *(n for _, n in call.switch)]
    if any(after <= before for before, after in pairwise(ends)):
        raise PlanError(f"plan: the call of {call.chunk} switches functions at {ends[1:]}")


def _check_later_gates(program: Program, load: Load, ending: Sequence[int]) -> None:
    """Only the last step of a loop that may end early is sure to end, and it ends everything.
    `ending`: the segments that may."""
    for s in ending[: bisect_left(ending, load.segment)]:
        segment = program.segments[s]
        end = Gate(s, len(segment.steps) - 1, Moment.LAST)
        later = load.gate is not None and load.gate.segment > s
        if not later and load.gate != end:
            raise PlanError(
                f"plan: the load of {load.chunk} for a later segment does not wait for the end "
                f"of loop {segment.name}, which may come early"
            )


def _check_load_reference(program: Program, facts: Mapping[str, ChunkFacts], load: Load) -> None:
    where = f"plan: the load of {load.chunk!r}"
    if load.chunk not in facts:
        raise PlanError(f"{where} is of no chunk of the plan")
    if load.iterations not in ("first", "each"):
        raise PlanError(f"{where} happens in {load.iterations!r}, not in `first` or `each`")
    _check_step(program, load.segment, load.step, f"{where} is for")
    _check_step(program, load.segment, load.free_step, f"{where} is freed after")
    if load.free_moment not in (Moment.SAME, Moment.LAST):
        moment = str(load.free_moment)
        raise PlanError(f"{where} is freed in the iteration {moment!r}, not same or last")
    if load.gate is not None:
        _check_gate_reference(program, load, load.gate, f"{where} waits for")


def _check_gate_reference(program: Program, load: Load, gate: Gate, where: str) -> None:
    """A gate is in the load's own iteration or the one before, or ends an earlier segment."""
    _check_step(program, gate.segment, gate.step, where)
    if gate.moment is Moment.LAST:
        if gate.segment >= load.segment:
            raise PlanError(f"{where} the end of segment {gate.segment}, which is no earlier one")
        return
    if gate.segment != load.segment:
        raise PlanError(
            f"{where} the {gate.moment} iteration of segment {gate.segment}, not of its own"
        )
    if gate.moment is Moment.PREVIOUS and load.iterations == "first":
        raise PlanError(f"{where} the iteration before the first")


def _check_step(program: Program, segment: int, step: int, where: str) -> None:
    inside = 0 <= segment < len(program.segments)
    if not (inside and 0 <= step < len(program.segments[segment].steps)):
        raise PlanError(f"{where} step {segment}.{step}, which is not there")


# ---------------------------------------------------------------- copies of chunks


def _copies(program: Program, schedule: Schedule, timeline: list[At]) -> list[_Copy]:
    place = {(a.segment, a.iteration, a.step): n for n, a in enumerate(timeline)}
    last = {s: min(g.count, ITERATIONS) - 1 for s, g in enumerate(program.segments)}
    loads: dict[tuple[int, str], list[Load]] = {}
    for load in schedule.loads:
        loads.setdefault((load.segment, load.iterations), []).append(load)
    copies: list[_Copy] = []
    for s in range(len(program.segments)):
        for i in range(last[s] + 1):
            kind = "first" if i == 0 else "each"
            copies.extend(_copy(load, i, place, last) for load in loads.get((s, kind), ()))
    return copies


def _copy(
    load: Load, i: int, place: Mapping[tuple[int, int, int], int], last: Mapping[int, int]
) -> _Copy:
    gate = -1
    if load.gate is not None:
        when = {Moment.SAME: i, Moment.PREVIOUS: i - 1, Moment.LAST: last[load.gate.segment]}
        gate = place[load.gate.segment, when[load.gate.moment], load.gate.step]
    end = i if load.free_moment is Moment.SAME else last[load.segment]
    return _Copy(
        load.chunk,
        gate,
        place[load.segment, i, load.step],
        place[load.segment, end, load.free_step],
    )


def _check_copies(timeline: list[At], copies: list[_Copy]) -> None:
    for copy in copies:
        if not copy.gate < copy.use <= copy.free:
            raise PlanError(
                f"plan: the load of {copy.chunk} for {name_of(timeline[copy.use])} is not between "
                "its gate and its free"
            )
    # The loader takes loads in order; load k waits for its gate step, which must not wait for
    # load k or a later one. Going backwards, the earliest step that any later load serves.
    earliest = len(timeline)
    for copy in reversed(copies):
        earliest = min(earliest, copy.use)
        if copy.gate >= earliest:
            raise PlanError(
                f"plan: deadlock: the load of {copy.chunk} waits for "
                f"{name_of(timeline[copy.gate])}, which waits for this load or one behind it"
            )
    _check_presence(timeline, copies)


def _check_presence(timeline: list[At], copies: list[_Copy]) -> None:
    by_chunk: dict[str, list[_Copy]] = {}
    for copy in copies:
        others = by_chunk.setdefault(copy.chunk, [])
        if others and copy.gate < others[-1].free:
            raise PlanError(f"plan: {copy.chunk} is loaded again while a copy may still be there")
        others.append(copy)
    served: dict[str, list[int]] = {}
    for n, at in enumerate(timeline):
        if isinstance(at.what, Call):
            served.setdefault(at.what.chunk, []).append(n)
            own = by_chunk.get(at.what.chunk, [])
            # Copies of a chunk do not overlap: the only one that may serve this call.
            k = bisect_right(own, n, key=lambda c: c.use) - 1
            if k < 0 or own[k].free < n:
                raise PlanError(f"plan: {name_of(at)} runs without its chunk being loaded")
    for copy in copies:
        calls = served.get(copy.chunk, [])
        first, last = bisect_left(calls, copy.use), bisect_right(calls, copy.free) - 1
        if first > last or calls[first] != copy.use or calls[last] != copy.free:
            raise PlanError(f"plan: {copy.chunk} is kept loaded beyond its calls")


def _needs(timeline: list[At], held_bytes: list[int], facts: Mapping[str, ChunkFacts]) -> list[int]:
    """Bytes of each step without chunks: tensors alive, and the activations of its call."""
    return [
        held + (facts[at.what.chunk].activation_bytes if isinstance(at.what, Call) else 0)
        for at, held in zip(timeline, held_bytes, strict=True)
    ]


def _gates_peak(
    timeline: list[At],
    needs: list[int],
    copies: list[_Copy],
    facts: Mapping[str, ChunkFacts],
    budget: int,
) -> tuple[int, Peak]:
    """The first of the steps beside which the most bytes can be: its place in the timeline, and
    what is there. Raises `PlanError` above the budget."""
    if not timeline:
        return 0, Peak(total_bytes=0, where="nothing")
    # What comes to be there at a step, and what is gone at it: their running sum is there.
    more = [0] * (len(timeline) + 1)
    for copy in copies:
        more[copy.gate + 1] += facts[copy.chunk].weight_bytes
        more[copy.free + 1] -= facts[copy.chunk].weight_bytes
    there_bytes = accumulate(more[:-1])
    total = [need + there for need, there in zip(needs, there_bytes, strict=True)]
    peak = max(total)
    n = total.index(peak)
    if peak > budget:
        where = name_of(timeline[n])
        raise PlanError(f"plan: {where} can need {peak} bytes, the budget is {budget} bytes")
    made = _peak_at(timeline[n], peak)
    there = [c for c in copies if c.gate < n <= c.free and c.chunk != made.chunk]
    made = replace(
        made,
        called=tuple(c.chunk for c in there if c.use <= n),
        ahead=tuple(c.chunk for c in copies if c.gate < n < c.use),
    )
    return n, made


def _named(
    timeline: list[At], needs: list[int], online: OnlinePeak, facts: Mapping[str, ChunkFacts]
) -> Peak:
    """What beside the step's own needs is there is for the rule to decide."""
    made = _peak_at(timeline[online.at], online.total_bytes)
    own = facts[made.chunk].weight_bytes if made.chunk is not None else 0
    others = tuple(sorted(online.chunks - {made.chunk}))
    rest = online.total_bytes - needs[online.at] - own
    if rest == sum(facts[c].weight_bytes for c in others):
        return replace(made, ahead=others)
    return replace(made, room_bytes=rest, candidates=others)


def _peak_at(at: At, total_bytes: int) -> Peak:
    return Peak(
        total_bytes=total_bytes,
        where=name_of(at),
        segment=at.segment,
        iteration=at.iteration,
        step=at.step,
        chunk=at.what.chunk if isinstance(at.what, Call) else None,
    )
