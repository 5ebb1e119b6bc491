"""The checker's half about calls that happen in some iterations only (`at`, or `rests_by`).

Everything else is proven of the program in which they happen in all of them. That covers the runs
in which they rest:

* a call that rests needs no chunk and no activations, and its step ends like any other, its frees
  done, so fewer copies and tensors are there and no gate opens later;
* a load that would serve only calls that rest is left out; the others keep their order, so a load
  waits for a step only if that step waits for none behind it, as before. A copy that is there
  serves calls of its own iteration, or, loaded in the first, where all happens, of all of them.

What is not covered is what a call that rests does not make. Either it was made in the first
iteration and stays, because no step frees it; or those who read it happen only where it is made.
And nobody waits for it at an iteration's end: it is no state's next value, ends no loop, and is
collected by none (`check.pieces`).

Where a tensor says in each iteration whether a call rests (`rests_by`), the iterations are known
only when the plan runs. Nothing above asks which they are, but that the first is among them, where
no tensor is asked. A load that would serve only calls that rest may have begun before that is
known: then it is finished before the step that frees its copy ends, and both are as in the run in
which the call happens. If it has not begun it may be left out, as above. So whatever is decided in
whatever order, memory is never more than in the run in which all happens. A value that the loop
frees may be read by calls that rest by the same tensor, which is made once in an iteration, before
all of them.

A call may have both. Outside of its iterations it rests and no tensor is asked; in them the tensor
says so, which is made in all of them. Both kinds of rest are covered above, one by one; who reads
what it makes and the loop frees must rest in both.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from entracte.check.life import label_of, reads_of
from entracte.errors import PlanError
from entracte.ir import Call, Program, Segment, Step


def check_rests(program: Program) -> None:
    """Raises `PlanError` for the first call whose rest somebody would notice."""
    for segment in program.segments:
        freed = {name for step in segment.steps for name in step.frees}
        for k, step in enumerate(segment.steps):
            where = f"plan: segment {segment.name}, step {k} ({label_of(step)})"
            if not isinstance(step, Call) or not (step.at or step.rests_by):
                continue
            if step.at:
                _check_iterations(step, segment, where)
            if step.rests_by:
                _check_asked(program, step, segment.steps[:k], where)
                _check_made_once(step.rests_by, segment, where)
            _check_made(step, segment, freed, where)


def _check_asked(program: Program, call: Call, before: Sequence[Step], where: str) -> None:
    """What says whether it rests is a number for each of its slices, which each of its iterations
    makes before it."""
    decl = next((t for t in program.tensors if t.name == call.rests_by), None)
    if decl is None or prod(decl.port.shape) != call.repeat or decl.slots != 1 or decl.streamed:
        number = "one number" if call.repeat == 1 else f"{call.repeat} numbers"
        raise PlanError(f"{where} rests by {call.rests_by}, which is not {number}")
    if any(w.stride < w.size and w.count > 1 for b in call.outputs for w in b.windows):
        raise PlanError(f"{where} rests by {call.rests_by}, and makes slices that overlap")
    makers = [s for s in before if call.rests_by in {b.tensor for b in s.outputs}]
    if not makers:
        raise PlanError(f"{where} rests by {call.rests_by}, which no step before it makes")
    if any(isinstance(s, Call) and (s.rests_by or not _within(call, s)) for s in makers):
        raise PlanError(f"{where} rests by {call.rests_by}, which is made in some iterations only")


def _check_made_once(name: str, segment: Segment, where: str) -> None:
    if sum(b.tensor == name for s in segment.steps for b in s.outputs) > 1:
        raise PlanError(f"{where} rests by {name}, which is made twice in an iteration")
    if name in {state for state, _, _ in segment.state}:
        raise PlanError(f"{where} rests by {name}, which is a state of the loop")


def _check_iterations(call: Call, segment: Segment, where: str) -> None:
    if call.at[0] != 0:
        raise PlanError(f"{where} rests in the first iteration; what it makes is not there then")
    if any(after <= before for before, after in pairwise(call.at)):
        raise PlanError(f"{where} is called at {list(call.at)}, which does not rise")
    if call.at[-1] >= segment.count:
        raise PlanError(f"{where} is called at {call.at[-1]}, of {segment.count} iterations")


def _check_made(call: Call, segment: Segment, freed: set[str], where: str) -> None:
    made = {b.tensor for b in call.outputs}
    for name, _, following in segment.state:
        if following in made:
            raise PlanError(f"{where} rests, and makes {following}, which state {name} takes")
    if segment.until in made:
        raise PlanError(f"{where} rests, and makes {segment.until}, by which the loop may end")
    for name in sorted(made & freed):
        for other in segment.steps:
            if name in reads_of(other) and not _rests_with(call, other):
                raise PlanError(
                    f"{where} makes {name}, which a step of the loop frees, and "
                    f"{label_of(other)} reads it where this one rests"
                )


def _rests_with(call: Call, other: Step) -> bool:
    """Whether a step rests wherever a call does."""
    if not isinstance(other, Call):
        return False
    if call.rests_by and other.rests_by != call.rests_by:
        return False
    return _within(other, call)


def _within(one: Call, other: Call) -> bool:
    """Whether the iterations of one are among those of the other."""
    return not other.at or (bool(one.at) and set(other.at).issuperset(one.at))
