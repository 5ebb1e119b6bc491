"""What every step drops: each tensor after its last use, outputs once their writers have them."""

from collections.abc import Mapping
from dataclasses import replace

from entracte.ir import By, DType, HostStep, Program, Segment, Step
from entracte.program.writers import droppable_outputs


def reads(step: Step) -> set[str]:
    """The tensors a step reads."""
    if isinstance(step, HostStep):
        return {value for _, value in step.inputs}
    return {x.tensor for x in step.inputs} | ({step.rests_by} - {""})


def writes(step: Step) -> set[str]:
    """The tensors a step writes."""
    return {x.tensor for x in step.outputs}


def with_frees(program: Program) -> Program:
    """Drop every tensor after its last use, and outputs when their writers have had them; those
    whose turn is not sure to have come stay."""
    types = {t.name: t.port.dtype for t in program.tensors}
    known = set(types)
    streamed = {t.name for t in program.tensors if t.streamed}
    later = set(program.output_values) - droppable_outputs(program)
    segments: list[Segment] = []
    for segment in reversed(program.segments):
        # Of one iteration, it may collect or say that it is over all the same.
        if segment.is_loop or segment.until is not None or _collected(segment):
            spent = _spent(segment, types) - set(program.output_values)
            made = _loop_frees(segment, later, known, streamed, spent)
        else:
            made = _straight_frees(segment, later, known)
        segments.append(made)
        later |= _touched(segment) & known
    return replace(program, segments=tuple(reversed(segments)))


def _touched(segment: Segment) -> set[str]:
    """Tensors that a segment reads, writes or carries."""
    touched = {x for carried in segment.state for x in carried}
    return touched.union(*(reads(s) | writes(s) for s in segment.steps))


def _straight_frees(segment: Segment, later: set[str], known: set[str]) -> Segment:
    """Steps done once: each drops what no later step, here or in a later segment, uses."""
    return replace(segment, steps=_step_frees(segment, known - later), frees=())


def _loop_frees(
    segment: Segment, later: set[str], known: set[str], streamed: set[str], spent: set[str]
) -> Segment:
    """An iteration drops what it made itself. What came from before the loop is read again in the
    next iteration, so it goes when the loop is over, and so do its state, what it collects, and
    what is made in some iterations and read in others."""
    inside = set().union(*(writes(s) for s in segment.steps))
    over = (_collected(segment) - streamed) | _outliving(segment)
    # Read by the runner after an iteration's last step, and dropped there.
    kept = {after for _, _, after in segment.state} | {segment.until} | over
    over |= {x for s in segment.steps for x in reads(s) | writes(s)} - inside
    over |= {x for carried in segment.state for x in carried}
    return replace(
        segment,
        steps=_step_frees(segment, ((inside & known) - kept | spent) - later),
        frees=tuple(sorted(over & known - later)),
    )


def _spent(segment: Segment, types: Mapping[str, DType]) -> set[str]:
    """States that go with the last step that reads them: what a map carries may be most of what it
    holds. One that is cast stays, since its memory is what the cast has room in."""
    if not segment.sliced:
        return set()
    read = set().union(*(reads(s) for s in segment.steps))
    return {n for n, _, after in segment.state if n in read and types[n] == types[after]}


def _collected(segment: Segment) -> set[str]:
    """Every iteration makes a piece of them."""
    return {b.tensor for s in segment.steps for b in s.outputs if b.by is By.ITERATION}


def _outliving(segment: Segment) -> set[str]:
    """What is made in some iterations and read by a step that runs in others."""
    made = {x: _when(s) for s in segment.steps if _when(s) != _ALWAYS for x in writes(s)}
    return {
        x
        for s in segment.steps
        for x in reads(s)
        if x in made and not _rests_with(made[x], _when(s))
    }


_When = tuple[tuple[int, ...], str]
"""The iterations in which a step happens (empty: all), and the tensor by which it rests in them."""
_ALWAYS: _When = ((), "")


def _when(step: Step) -> _When:
    return _ALWAYS if isinstance(step, HostStep) else (step.at, step.rests_by)


def _rests_with(maker: _When, reader: _When) -> bool:
    """Whether a reader rests wherever the maker does. It may ask a tensor that the maker does not
    ask, as those do that read the tensor itself."""
    return maker[0] == reader[0] and maker[1] in ("", reader[1])


def _step_frees(segment: Segment, droppable: set[str]) -> tuple[Step, ...]:
    """Each step drops those of the tensors that no step after it uses."""
    steps: list[Step] = []
    seen: set[str] = set()
    for step in reversed(segment.steps):
        own = (reads(step) | writes(step)) & droppable
        frees = tuple(sorted(own - seen))
        steps.append(step if step.frees == frees else replace(step, frees=frees))
        seen |= own
    return tuple(reversed(steps))
