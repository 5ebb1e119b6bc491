"""The exact optimum of a small program by exhaustive search: what bounds and policies are
judged by. Any order of loads, any retention, any time of each: nothing is periodic.

States lie between two calls: which copies there are, when each is ready, when the loader is free.
From one, any missing chunk may start to load (as soon as the loader is free), any copy may be
dropped, or the next call runs. A copy that is there during a call counts beside it, as in
`entracte/check/proof.py`: gate < t <= free.
"""

from collections.abc import Mapping

from entracte.ir import Call, ChunkFacts, Program
from entracte.program.steps import Occurrence, expand

State = tuple[tuple[tuple[str, float], ...], float]
"""(chunk, seconds from now until it is ready) of every copy, and when the loader is free."""


def exact_s(program: Program, facts: Mapping[str, ChunkFacts], budget: int) -> float:
    """Seconds of the fastest schedule. For a dozen calls of three or four chunks."""
    slots = [s for s in expand(program, facts) if s.chunk is not None and _happens(program, s)]
    states: dict[State, float] = {((), 0.0): 0.0}
    for slot in slots:
        f = facts[slot.chunk]
        room = budget - slot.need_bytes
        future = {s.chunk for s in slots[slots.index(slot) :]}
        ready: dict[State, float] = {}
        for state, now in states.items():
            for begun in _choices(state, facts, room, future):
                if slot.chunk not in dict(begun[0]):
                    continue
                after, spent = _call(begun, slot.chunk, f.exec_s)
                if now + spent < ready.get(after, float("inf")):
                    ready[after] = now + spent
        states = ready
    return min(states.values())


def _happens(program: Program, slot: Occurrence) -> bool:
    step = program.segments[slot.segment].steps[slot.step]
    return isinstance(step, Call) and step.is_called(slot.iteration)


def _choices(state: State, facts, room: int, future: set[str]) -> set[State]:
    """All states after dropping copies and starting loads, with copies that fit beside the call."""
    found, todo = set(), {state}
    while todo:
        current = todo.pop()
        if current in found:
            continue
        found.add(current)
        copies, free = current
        held = sum(facts[c].weight_bytes for c, _ in copies)
        # A copy is dropped when a call ends, so only one that is ready can go.
        for gone in copies:
            if gone[1] <= 0:
                todo.add((tuple(x for x in copies if x != gone), free))
        for chunk in future - {c for c, _ in copies}:
            if held + facts[chunk].weight_bytes <= room:
                done = max(0.0, free) + facts[chunk].load_s
                todo.add((tuple(sorted((*copies, (chunk, round(done, 9))))), round(done, 9)))
    return {s for s in found if sum(facts[c].weight_bytes for c, _ in s[0]) <= room}


def _call(state: State, chunk: str, seconds: float) -> tuple[State, float]:
    copies, free = state
    spent = max(0.0, dict(copies)[chunk]) + seconds
    later = tuple((c, max(0.0, round(t - spent, 9))) for c, t in copies)
    return (later, max(0.0, round(free - spent, 9))), spent
