"""What would help a plan, with the words to type: other memory, tried with the plan's chunks."""

import re
from dataclasses import dataclass, replace

from entracte.clock.predict import predict
from entracte.inspect.command import command_of
from entracte.ir import Call, Plan
from entracte.program.steps import expand
from entracte.program.workload import Workload
from entracte.schedule.choose import schedule_as_planned

_MIB = 2**20
_MEMORY = re.compile(r" \+?target\.memory=\S+")
"""In a command: a size, which has no spaces."""
_WORTH = 0.99
"""Faster by a hundredth or more."""
_LESS = 0.9
"""So much of the memory, or less, is worth telling where it is as fast."""


@dataclass(frozen=True, slots=True)
class Help:
    """One setting and what is predicted with it. `why` in a few words."""

    typed: str
    why: str
    makespan_s: float
    loads: int
    loaded_bytes: int
    line: str = ""
    """The whole command with it; empty where the plan's settings are no command's."""


def helps(plan: Plan) -> tuple[Help, ...]:
    """Memory in which all that a loop calls stays loaded, and half of the way to it; or less memory
    that is as fast. With the same chunks and policy: cut anew, they may do better."""
    own, enough = plan.target.memory_bytes, _memory_bytes(plan)
    f = plan.forecast
    if enough <= own:
        found = _tried(plan, enough, "as fast in less memory") if enough < _LESS * own else None
        is_as_fast = found is not None and found.makespan_s * _WORTH <= f.makespan_s
        return (found,) if found is not None and is_as_fast else ()
    made = [_tried(plan, enough, "all that a loop calls stays loaded")]
    half = _whole((own + enough) // 2)
    if half < enough:
        made.insert(0, _tried(plan, half, "half of the way there"))
    return tuple(h for h in made if h.makespan_s < _WORTH * f.makespan_s)


def _tried(plan: Plan, memory_bytes: int, why: str) -> Help:
    """The plan's program with that much memory."""
    target = replace(plan.target, memory_bytes=memory_bytes)
    workload = Workload.on(target, plan.program, plan.facts)
    made = predict(workload, schedule_as_planned(workload, plan.schedule.policy))
    typed = f"target.memory={memory_bytes // _MIB}MiB"
    line = _line(plan, typed)
    return Help(typed, why, made.makespan_s, made.loads, made.loaded_bytes, line)


def _line(plan: Plan, typed: str) -> str:
    """The command that makes the plan (`inspect/command.py`), with another memory."""
    command = command_of(plan)
    if command is None:
        return ""
    return f"{_MEMORY.sub('', command.text)} {typed}"


def _memory_bytes(plan: Plan) -> int:
    """The limit, in whole MiB, with room for all chunks of each loop beside its hungriest step; of
    what is no loop, for one chunk."""
    weights = {f.id: f.weight_bytes for f in plan.facts}
    together = [
        sum(weights[c] for c in {s.chunk for s in segment.steps if isinstance(s, Call)})
        for segment in plan.program.segments
    ]
    need = 0
    for step in expand(plan.program, {f.id: f for f in plan.facts}, 2):
        looped = plan.program.segments[step.segment].is_loop
        alone = weights[step.chunk] if step.chunk is not None else 0
        need = max(need, step.need_bytes + (together[step.segment] if looped else alone))
    free = need / (1 - plan.target.settle_fraction)
    return _whole(int(free) + plan.target.base_footprint_bytes)


def _whole(memory_bytes: int) -> int:
    """The next whole MiB."""
    return -(-memory_bytes // _MIB) * _MIB
