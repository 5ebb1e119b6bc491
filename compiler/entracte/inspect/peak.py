"""The most that a plan's run can have in memory, for any timing, with every name and its bytes.

It is the checker's sum (`check.proof.Peak`), which is the plan's claim. What a run under given
times has in memory is `inspect.residency`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from entracte.check.proof import check
from entracte.ir import Plan


@dataclass(frozen=True, slots=True)
class Held:
    """Something in memory: a chunk or a tensor."""

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The step that can need most memory over all timings, and what that consists of; each part
    largest first. The fields are those of `check.proof.Peak`, with sizes."""

    segment: int
    iteration: int
    step: int
    chunk: str | None
    weight_bytes: int
    """Of the chunk that runs."""
    activation_bytes: int
    resident: tuple[Held, ...]
    """Chunks that were called before and stay."""
    ahead: tuple[Held, ...]
    """Chunks that may be loading, or loaded, for later steps."""
    tensors: tuple[Held, ...]
    room_bytes: int = 0
    candidates: tuple[Held, ...] = ()

    @property
    def total_bytes(self) -> int:
        """The sum of all that is there."""
        parts = (*self.resident, *self.ahead, *self.tensors)
        own = self.weight_bytes + self.activation_bytes
        return own + sum(p.size_bytes for p in parts) + self.room_bytes


def peak_of(plan: Plan) -> Peak:
    """What the checker finds at the fullest step. Raises `PlanError` for a plan that is unsafe."""
    budget = plan.schedule.budget_bytes
    found = check(plan.program, plan.facts, plan.schedule, budget_bytes=budget).peak
    facts = {f.id: f for f in plan.facts}
    weights = {f.id: f.weight_bytes for f in plan.facts}
    sizes = {t.name: t.size_bytes for t in plan.program.tensors}
    own = facts.get(found.chunk or "")
    return Peak(
        segment=found.segment,
        iteration=found.iteration,
        step=found.step,
        chunk=found.chunk,
        weight_bytes=own.weight_bytes if own is not None else 0,
        activation_bytes=own.activation_bytes if own is not None else 0,
        resident=_largest_first(Held(c, weights[c]) for c in found.called),
        ahead=_largest_first(Held(c, weights[c]) for c in found.ahead),
        tensors=_largest_first(Held(t, sizes[t]) for t in found.tensors),
        room_bytes=found.room_bytes,
        candidates=_largest_first(Held(c, weights[c]) for c in found.candidates),
    )


def _largest_first(held: Iterable[Held]) -> tuple[Held, ...]:
    return tuple(sorted(held, key=lambda h: (-h.size_bytes, h.name)))
