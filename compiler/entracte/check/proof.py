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

A plan whose runner follows the online rule is proven twice: its gates as above, and the rule
(`check.online`); the peak is the larger of the two.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from entracte.check.life import (
    ITERATIONS,
    At,
    check_carried,
    check_tensors,
    check_until,
    name_of,
    unrolled,
)
from entracte.check.online import OnlinePeak, check_driver, online_peak
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
    by_id = {f.id: f for f in facts}
    _check_numbers(facts)
    _check_references(program, by_id, schedule)
    check_driver(by_id, schedule)
    timeline = unrolled(program)
    alive = check_tensors(program, timeline)
    copies = _copies(program, schedule, timeline)
    _check_copies(timeline, copies)
    needs = _needs(program, timeline, alive, by_id)
    peak = _gates_peak(timeline, needs, copies, by_id, budget_bytes)
    if schedule.driver == "online":
        online = online_peak(program, timeline, needs, by_id, budget_bytes)
        if online.total_bytes >= peak.total_bytes:
            peak = _named(timeline, needs, online, by_id)
    if timeline:
        peak = replace(peak, tensors=tuple(sorted(alive[_place(timeline, peak)])))
    return Proof(peak, len(timeline))


def _place(timeline: Sequence[At], peak: Peak) -> int:
    where = (peak.segment, peak.iteration, peak.step)
    return next(n for n, a in enumerate(timeline) if (a.segment, a.iteration, a.step) == where)


def _check_numbers(facts: Sequence[ChunkFacts]) -> None:
    for f in facts:
        seconds = (f.load_s, f.exec_s, *(s for _, s in f.exec_by))
        if f.weight_bytes < 0 or f.activation_bytes < 0 or min(seconds) < 0:
            raise PlanError(f"plan: chunk {f.id} has a negative size or time")
    if len({f.id for f in facts}) != len(facts):
        raise PlanError("plan: two chunks have the same name")


def _check_references(
    program: Program, facts: Mapping[str, ChunkFacts], schedule: Schedule
) -> None:
    _check_declared(program)
    for segment in program.segments:
        _check_segment(segment)
        for step in segment.steps:
            if isinstance(step, Call):
                _check_call(step, facts)
        check_carried(program, segment)
        check_until(program, segment)
    for load in schedule.loads:
        _check_load_reference(program, facts, load)
        _check_later_gates(program, load)


def _check_declared(program: Program) -> None:
    if len({t.name for t in program.tensors}) != len(program.tensors):
        raise PlanError("plan: two tensors have the same name")
    for tensor in program.tensors:
        if tensor.slots < 1 or any(d < 1 for d in tensor.port.shape):
            raise PlanError(f"plan: tensor {tensor.name} has no positive size")


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


def _check_later_gates(program: Program, load: Load) -> None:
    """Only the last step of a loop that may end early is sure to end, and it ends everything."""
    for s, segment in enumerate(program.segments[: load.segment]):
        end = Gate(s, len(segment.steps) - 1, Moment.LAST)
        later = load.gate is not None and load.gate.segment > s
        if segment.until is not None and not later and load.gate != end:
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
    copies: list[_Copy] = []
    for s in range(len(program.segments)):
        for i in range(last[s] + 1):
            kind = "first" if i == 0 else "each"
            loads = (x for x in schedule.loads if x.segment == s and x.iterations == kind)
            copies.extend(_copy(load, i, place, last) for load in loads)
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
    for n, at in enumerate(timeline):
        if isinstance(at.what, Call) and not any(
            c.use <= n <= c.free for c in by_chunk.get(at.what.chunk, ())
        ):
            raise PlanError(f"plan: {name_of(at)} runs without its chunk being loaded")
    for copy in copies:
        served = [
            n
            for n in range(copy.use, copy.free + 1)
            if isinstance(step := timeline[n].what, Call) and step.chunk == copy.chunk
        ]
        if not served or served[0] != copy.use or served[-1] != copy.free:
            raise PlanError(f"plan: {copy.chunk} is kept loaded beyond its calls")


def _needs(
    program: Program,
    timeline: list[At],
    alive: list[frozenset[str]],
    facts: Mapping[str, ChunkFacts],
) -> list[int]:
    """Bytes of each step without chunks: tensors alive, and the activations of its call."""
    size = {t.name: t.port.size_bytes * t.slots for t in program.tensors}
    needs = []
    for at, names in zip(timeline, alive, strict=True):
        own = facts[at.what.chunk].activation_bytes if isinstance(at.what, Call) else 0
        needs.append(own + sum(size[x] for x in names))
    return needs


def _gates_peak(
    timeline: list[At],
    needs: list[int],
    copies: list[_Copy],
    facts: Mapping[str, ChunkFacts],
    budget: int,
) -> Peak:
    """The first of the steps beside which the most bytes can be. Raises `PlanError` above the
    budget."""
    if not timeline:
        return Peak(total_bytes=0, where="nothing")
    total = list(needs)
    for copy in copies:
        for n in range(copy.gate + 1, copy.free + 1):
            total[n] += facts[copy.chunk].weight_bytes
    peak = max(total)
    n = total.index(peak)
    if peak > budget:
        where = name_of(timeline[n])
        raise PlanError(f"plan: {where} can need {peak} bytes, the budget is {budget} bytes")
    made = _peak_at(timeline[n], peak)
    there = [c for c in copies if c.gate < n <= c.free and c.chunk != made.chunk]
    return replace(
        made,
        called=tuple(c.chunk for c in there if c.use <= n),
        ahead=tuple(c.chunk for c in copies if c.gate < n < c.use),
    )


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
