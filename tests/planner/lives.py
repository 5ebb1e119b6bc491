"""Frees for made-up programs, apart from the planner's own: each tensor after its last use.

parts of outputs   when they had their turn and nobody reads them; of the last output never
streamed           by their own step
made in a loop     by the last step that touches them, in every iteration; but what is collected,
                   or rests while others read it, when the loop is over
from before it     when the loop is over
"""

from dataclasses import replace

from entracte.ir import By, Call, HostStep, Program, Segment, Step


def reads(step: Step) -> set[str]:
    if isinstance(step, HostStep):
        return {value for _, value in step.inputs}
    return {b.tensor for b in step.inputs} | ({step.rests_by} - {""})


def writes(step: Step) -> set[str]:
    return {b.tensor for b in step.outputs}


END = 10**6
"""In place of a step: when the segment is over."""


def with_lives(program: Program) -> Program:
    known = {t.name for t in program.tensors}
    streamed = {t.name for t in program.tensors if t.streamed}
    last: dict[str, tuple[int, int]] = {}
    for s, segment in enumerate(program.segments):
        for name in _touched(segment) & known:
            if (at := _last_in(segment, name, streamed)) is not None:
                last[name] = (s, at)
            else:
                last.pop(name, None)  # the loop drops it itself
    turns = _turns(program)
    for name in set(program.output_values) - streamed:
        if name in program.outputs[-1].values or name not in last:
            last.pop(name, None)
        else:
            last[name] = max(last[name], turns[name])
    return replace(
        program,
        segments=tuple(
            _freeing(g, {x: k for x, (t, k) in last.items() if t == s})
            for s, g in enumerate(program.segments)
        ),
    )


def _freeing(segment: Segment, own: dict[str, int]) -> Segment:
    steps = tuple(
        replace(x, frees=tuple(sorted(n for n, at in own.items() if at == k)))
        for k, x in enumerate(segment.steps)
    )
    over = tuple(sorted(n for n, at in own.items() if at == END))
    return replace(segment, steps=steps, frees=over)


def _touched(segment: Segment) -> set[str]:
    touched = {x for carried in segment.state for x in carried} | {segment.until or ""}
    return touched.union(*(reads(s) | writes(s) for s in segment.steps))


def _last_in(segment: Segment, name: str, streamed: set[str]) -> int | None:
    """The step, or `END`; None for what the loop drops itself."""
    touching = [k for k, s in enumerate(segment.steps) if name in reads(s) | writes(s)]
    if name in streamed or not segment.is_loop:
        return touching[-1]
    if name == segment.until or name in {following for _, _, following in segment.state}:
        return None
    makers = [s for s in segment.steps if name in writes(s)]
    collected = any(b.tensor == name and b.by is By.ITERATION for s in makers for b in s.outputs)
    if not makers or collected or not all(_always(segment, name, m) for m in makers):
        return END
    return touching[-1]


def _always(segment: Segment, name: str, maker: Step) -> bool:
    """Whether what it makes is there whenever somebody reads it."""
    if not isinstance(maker, Call) or not (maker.at or maker.rests_by):
        return True
    readers = [s for s in segment.steps if name in reads(s)]
    for r in readers:
        if not isinstance(r, Call) or maker.rests_by not in ("", r.rests_by):
            return False
        if maker.at and not (r.at and set(r.at) <= set(maker.at)):
            return False
    return True


def _turns(program: Program) -> dict[str, tuple[int, int]]:
    """When a part and all before it are whole."""
    whole: dict[str, tuple[int, int]] = {}
    for s, segment in enumerate(program.segments):
        for k, step in enumerate(segment.steps):
            whole |= dict.fromkeys(writes(step), (s, END if segment.is_loop else k))
        whole |= {name: (s, END) for name, _, _ in segment.state}
    turns: dict[str, tuple[int, int]] = {}
    for output in program.outputs:
        latest = (-1, 0)
        for value in output.values:
            latest = max(latest, whole.get(value, latest))
            turns[value] = max(latest, turns.get(value, latest))
    return turns
