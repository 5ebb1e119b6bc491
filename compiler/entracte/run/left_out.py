"""A plan without the steps that are stored, where that is proven to keep the claim."""

from dataclasses import replace

from entracte.check.proof import check
from entracte.errors import PlanError
from entracte.ir import (
    Binding,
    By,
    HostStep,
    Plan,
    Port,
    Program,
    Segment,
    Step,
    TensorDecl,
    Window,
)
from entracte.program.conditions import Condition, Rest, without


def whole(plan: Plan) -> Rest:
    """All of a plan's program."""
    places = tuple(
        tuple((s, k) for k in range(len(g.steps))) for s, g in enumerate(plan.program.segments)
    )
    return Rest(plan.program, plan.schedule, plan.program, places)


def proven_without(plan: Plan, there: tuple[Condition, ...]) -> tuple[Rest, tuple[Condition, ...]]:
    """The plan without as many of these conditions as it is proven for: their values are there
    from the begin on, and loads that waited for their steps do so no more. What is left is proven
    like any plan, and to keep within the claim of the whole one."""
    used: tuple[Condition, ...] = ()
    rest = whole(plan)
    for wanted in (there, *((c,) for c in there)):
        more = tuple(c for c in there if c in used or c in wanted)
        if len(more) == len(used):
            continue
        other = without(plan.program, plan.schedule, more)
        if _keeps_claim(plan, other):
            rest, used = other, more
    return rest, used


def _keeps_claim(plan: Plan, rest: Rest) -> bool:
    try:
        proof = check(
            _with_axes(rest),
            plan.facts,
            rest.schedule,
            budget_bytes=plan.schedule.budget_bytes,
        )
    except PlanError:
        return False
    return proof.peak_bytes <= plan.forecast.peak_bytes


def _with_axes(rest: Rest) -> Program:
    """For the checker, which knows no constants in slots: of as many bytes, with an axis for them
    in front, which is read one by one."""
    given = set(rest.given)
    wide = {t.name: t for t in rest.program.tensors if t.name in given and t.slots > 1}
    ports = {name: Port(name, (t.slots, *t.port.shape), t.port.dtype) for name, t in wide.items()}
    return replace(
        rest.program,
        constants=tuple(ports.get(c.name, c) for c in rest.program.constants),
        tensors=tuple(
            TensorDecl(ports[t.name]) if t.name in wide else t for t in rest.program.tensors
        ),
        segments=tuple(
            replace(g, steps=tuple(_by_windows(x, g, set(wide)) for x in g.steps))
            for g in rest.program.segments
        ),
    )


def _by_windows(step: Step, segment: Segment, wide: set[str]) -> Step:
    if isinstance(step, HostStep):
        return step

    def one(b: Binding) -> Binding:
        if b.tensor not in wide:
            return b
        count = segment.count if b.by is By.ITERATION else step.repeat
        return replace(b, windows=(Window(0, 1, count, 1),))

    return replace(step, inputs=tuple(map(one, step.inputs)))
