"""The checker's half about calls that happen in some iterations only (`Call.at`).

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
"""

from itertools import pairwise

from entracte.check.life import label_of, reads_of
from entracte.errors import PlanError
from entracte.ir import Call, Program, Segment


def check_rests(program: Program) -> None:
    """Raises `PlanError` for the first call whose rest somebody would notice."""
    for segment in program.segments:
        freed = {name for step in segment.steps for name in step.frees}
        for k, step in enumerate(segment.steps):
            if isinstance(step, Call) and step.at:
                where = f"plan: segment {segment.name}, step {k} ({step.chunk})"
                _check_iterations(step, segment, where)
                _check_made(step, segment, freed, where)


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
    own = set(call.at)
    for name in sorted(made & freed):
        for other in segment.steps:
            if name in reads_of(other) and not (
                isinstance(other, Call) and other.at and own.issuperset(other.at)
            ):
                raise PlanError(
                    f"{where} makes {name}, which a step of the loop frees, and "
                    f"{label_of(other)} reads it where this one rests"
                )
