"""The checker of programs and schedules: it proves safety from the plan alone, always.

It shares no code with the planner and imports only the data model. It proves: every call has
its chunk and its inputs; nothing is used after it is freed; nothing is loaded twice at once or
left loaded; no deadlock between loader and computer; and, for any durations whatever, memory
never exceeds the budget.

The proof of the peak: a copy takes memory from the start of its load, which is after its gate
step ended, to the end of the step that frees it. While step t runs, the copies that *can* be
there are those with gate < t <= free; so the sum over them, plus what the step itself needs,
bounds the memory during t and during the wait before t, whatever the clock does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compiler.errors import PlanError
from compiler.ir import (
    Binding,
    Call,
    ChunkFacts,
    HostStep,
    Load,
    Moment,
    Port,
    Program,
    Schedule,
    Segment,
    Step,
)

_ITERATIONS = 5
"""Loops are periodic after their first iteration, so five cover every kind of neighbour."""

MAX_CALLS = 1_000_000
"""No real pipeline calls one chunk so often; a plan that says so would only hang its runner."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What the checker established."""

    peak_bytes: int
    peak_step: str
    steps_checked: int


@dataclass(frozen=True, slots=True)
class _At:
    segment: int
    iteration: int
    step: int
    what: Step


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
    timeline = _timeline(program)
    held = _check_tensors(program, timeline)
    copies = _copies(program, schedule, timeline)
    _check_copies(timeline, copies)
    return _check_memory(timeline, held, copies, by_id, budget_bytes)


def check_features(
    program: Program, ports: Mapping[str, tuple[Sequence[Port], Sequence[Port]]]
) -> None:
    """Every call gives each input of its package once, with the shape and type it wants."""
    decls = {t.name: t for t in program.tensors}
    for step in (s for g in program.segments for s in g.steps):
        if not isinstance(step, Call):
            continue
        inputs, outputs = ports[step.chunk]
        for side, wanted, given in (
            ("input", inputs, step.inputs),
            ("output", outputs, step.outputs),
        ):
            names = [b.feature for b in given]
            if sorted(names) != sorted(p.name for p in wanted):
                raise PlanError(
                    f"plan: chunk {step.chunk} has {side}s {sorted(p.name for p in wanted)}, "
                    f"the call binds {sorted(names)}"
                )
            for binding in given:
                port = next(p for p in wanted if p.name == binding.feature)
                _check_piece(step.chunk, port, binding, decls[binding.tensor].port)


def _check_piece(chunk: str, port: Port, binding: Binding, whole: Port) -> None:
    shape = list(whole.shape)
    if binding.axis is not None:
        if binding.axis >= len(shape) or binding.size < 1:
            raise PlanError(f"plan: chunk {chunk}, {port.name}: no axis {binding.axis} to slice")
        shape[binding.axis] = binding.size
    if tuple(shape) != port.shape or whole.dtype != port.dtype:
        raise PlanError(
            f"plan: chunk {chunk}, {port.name} wants {port.dtype} {port.shape}, tensor "
            f"{binding.tensor} gives {whole.dtype} {tuple(shape)}"
        )


def _check_numbers(facts: Sequence[ChunkFacts]) -> None:
    for f in facts:
        if f.weight_bytes < 0 or f.activation_bytes < 0 or f.load_s < 0 or f.exec_s < 0:
            raise PlanError(f"plan: chunk {f.id} has a negative size or time")
    if len({f.id for f in facts}) != len(facts):
        raise PlanError("plan: two chunks have the same name")


def _check_references(
    program: Program, facts: Mapping[str, ChunkFacts], schedule: Schedule
) -> None:
    declared = {t.name for t in program.tensors}
    if len(declared) != len(program.tensors):
        raise PlanError("plan: two tensors have the same name")
    for tensor in program.tensors:
        if tensor.slots < 1 or any(d < 1 for d in tensor.port.shape):
            raise PlanError(f"plan: tensor {tensor.name} has no positive size")
    for segment in program.segments:
        if segment.count < 1 or not segment.steps:
            raise PlanError(f"plan: segment {segment.name} is empty")
        if segment.count * max(_repeat(s) for s in segment.steps) > MAX_CALLS:
            raise PlanError(
                f"plan: segment {segment.name} makes more than {MAX_CALLS} calls of a chunk"
            )
        for step in segment.steps:
            if isinstance(step, Call) and (step.chunk not in facts or step.repeat < 1):
                raise PlanError(f"plan: a call of {step.chunk!r} which is no chunk of the plan")
        _check_state_types(program, segment)
    for load in schedule.loads:
        _check_load_reference(program, facts, load)


def _repeat(step: Step) -> int:
    return step.repeat if isinstance(step, Call) else 1


def _check_state_types(program: Program, segment: Segment) -> None:
    ports = {t.name: (t.port.shape, t.port.dtype, t.slots) for t in program.tensors}
    for name, first, following in segment.state:
        unknown = [x for x in (name, first, following) if x not in ports]
        if unknown:
            raise PlanError(
                f"plan: loop {segment.name} carries {unknown[0]}, which is not declared"
            )
        if not ports[name] == ports[first] == ports[following]:
            raise PlanError(
                f"plan: loop {segment.name}: state {name} is {ports[name]}, starts as "
                f"{ports[first]} and goes on as {ports[following]}"
            )


def _check_load_reference(program: Program, facts: Mapping[str, ChunkFacts], load: Load) -> None:
    def has(segment: int, step: int) -> bool:
        inside = 0 <= segment < len(program.segments)
        return inside and 0 <= step < len(program.segments[segment].steps)

    gate = load.gate
    fine = load.chunk in facts and load.iterations in {"first", "each"}
    fine = fine and has(load.segment, load.step) and has(load.segment, load.free_step)
    fine = fine and load.free_moment in {Moment.SAME, Moment.LAST}
    if gate is not None:
        same = gate.moment in {Moment.SAME, Moment.PREVIOUS}
        fine = fine and has(gate.segment, gate.step)
        fine = fine and (gate.segment == load.segment if same else gate.segment < load.segment)
        fine = fine and not (gate.moment is Moment.PREVIOUS and load.iterations == "first")
    if not fine:
        raise PlanError(f"plan: the load of {load.chunk!r} names a step or gate that is not there")


def _timeline(program: Program) -> list[_At]:
    return [
        _At(s, i, k, step)
        for s, segment in enumerate(program.segments)
        for i in range(min(segment.count, _ITERATIONS))
        for k, step in enumerate(segment.steps)
    ]


# ---------------------------------------------------------------- tensors


def _check_tensors(program: Program, timeline: list[_At]) -> list[int]:
    """Follow every tensor's life; returns the bytes alive during each step."""
    size = {t.name: t.port.size_bytes * t.slots for t in program.tensors}
    given = {i.name for i in program.inputs}
    alive = (given & set(size)) | {c.name for c in program.constants}
    untyped = given - set(size)
    held = []
    for n, at in enumerate(timeline):
        segment = program.segments[at.segment]
        if at.step == 0:
            _enter_iteration(segment.state, at.iteration, alive, segment.name)
        needs = _reads(at.what)
        lost = sorted(needs - alive - untyped)
        if lost:
            raise PlanError(
                f"plan: {_name(at)} reads {lost[0]}, which is not there any more or yet"
            )
        made = {b.tensor for b in at.what.outputs}
        unknown = sorted(made - set(size))
        if unknown:
            raise PlanError(f"plan: {_name(at)} writes {unknown[0]}, which is not declared")
        alive |= made
        held.append(sum(size[x] for x in alive if x in size))
        stray = sorted(set(at.what.frees) - alive)
        if stray:
            raise PlanError(f"plan: {_name(at)} frees {stray[0]}, which is not there")
        alive -= set(at.what.frees)
        last_step = n + 1 == len(timeline) or timeline[n + 1].segment != at.segment
        if last_step:
            _leave_segment(segment.state, segment.frees, alive, segment.name)
    if program.output not in alive:
        raise PlanError(f"plan: the output {program.output} is not there at the end")
    left = sorted(alive - {program.output} - given - {c.name for c in program.constants})
    if left:
        raise PlanError(f"plan: tensor {left[0]} is never freed")
    return held


def _enter_iteration(
    state: Sequence[tuple[str, str, str]], iteration: int, alive: set[str], segment: str
) -> None:
    for name, first, following in state:
        source = first if iteration == 0 else following
        if source not in alive:
            raise PlanError(
                f"plan: loop {segment}: state {name} takes {source}, which is not there"
            )
        alive.add(name)
        if iteration > 0:
            alive.discard(following)


def _leave_segment(
    state: Sequence[tuple[str, str, str]], frees: Sequence[str], alive: set[str], segment: str
) -> None:
    for name, _, following in state:
        if following not in alive:
            raise PlanError(f"plan: loop {segment}: nothing made {following}, the next {name}")
        alive.discard(following)
    for tensor in frees:
        alive.discard(tensor)


def _reads(step: Step) -> set[str]:
    if isinstance(step, HostStep):
        return {value for _, value in step.inputs}
    return {b.tensor for b in step.inputs}


def _name(at: _At) -> str:
    label = at.what.chunk if isinstance(at.what, Call) else at.what.stage
    return f"step {at.segment}.{at.iteration}.{at.step} ({label})"


# ---------------------------------------------------------------- copies of chunks


def _copies(program: Program, schedule: Schedule, timeline: list[_At]) -> list[_Copy]:
    place = {(a.segment, a.iteration, a.step): n for n, a in enumerate(timeline)}
    last = {s: min(g.count, _ITERATIONS) - 1 for s, g in enumerate(program.segments)}
    copies = []
    for s in range(len(program.segments)):
        for i in range(last[s] + 1):
            kind = "first" if i == 0 else "each"
            for load in schedule.loads:
                if load.segment == s and load.iterations == kind:
                    copies.append(_copy(load, i, place, last))
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


def _check_copies(timeline: list[_At], copies: list[_Copy]) -> None:
    for copy in copies:
        if not copy.gate < copy.use <= copy.free:
            raise PlanError(
                f"plan: the load of {copy.chunk} for {_name(timeline[copy.use])} is not between "
                "its gate and its free"
            )
    # The loader takes loads in order; load k waits for its gate step, which must not wait for
    # load k or a later one. Going backwards, the earliest step that any later load serves.
    earliest = len(timeline)
    for copy in reversed(copies):
        earliest = min(earliest, copy.use)
        if copy.gate >= earliest:
            raise PlanError(
                f"plan: deadlock: the load of {copy.chunk} waits for {_name(timeline[copy.gate])}, "
                "which waits for this load or one behind it"
            )
    _check_presence(timeline, copies)


def _check_presence(timeline: list[_At], copies: list[_Copy]) -> None:
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
            raise PlanError(f"plan: {_name(at)} runs without its chunk being loaded")
    for copy in copies:
        served = [
            n
            for n in range(copy.use, copy.free + 1)
            if isinstance(step := timeline[n].what, Call) and step.chunk == copy.chunk
        ]
        if not served or served[0] != copy.use or served[-1] != copy.free:
            raise PlanError(f"plan: {copy.chunk} is kept loaded beyond its calls")


def _check_memory(
    timeline: list[_At],
    held: list[int],
    copies: list[_Copy],
    facts: Mapping[str, ChunkFacts],
    budget: int,
) -> Proof:
    total = list(held)
    for n, at in enumerate(timeline):
        if isinstance(at.what, Call):
            total[n] += facts[at.what.chunk].activation_bytes
    for copy in copies:
        for n in range(copy.gate + 1, copy.free + 1):
            total[n] += facts[copy.chunk].weight_bytes
    peak = max(total, default=0)
    where = _name(timeline[total.index(peak)]) if timeline else "nothing"
    if peak > budget:
        raise PlanError(f"plan: {where} can need {peak} bytes, the budget is {budget} bytes")
    return Proof(peak_bytes=peak, peak_step=where, steps_checked=len(timeline))
