"""What is to be scheduled: a program, what its chunks need and take, and the device's memory."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from entracte.ir import ChunkFacts, Plan, Program, Target


@dataclass(frozen=True)
class Workload:
    """Everything that planners, clocks and drivers read; nothing of how it was decided.

    Attributes:
        facts: of every chunk that the program calls, by name.
        budget_bytes: what chunks, activations and tensors may take together.
        contention: how many times slower loads and calls are while they overlap, at least 1.
        page_bytes: what the device can load at once of a chunk's weights; 0: packages load whole.
        reload_on_switch: a loaded copy serves one function; a call of another loads it again.
    """

    program: Program
    facts: Mapping[str, ChunkFacts]
    budget_bytes: int
    contention: float = 1.0
    page_bytes: int = 0
    reload_on_switch: bool = False

    @classmethod
    def on(cls, target: Target, program: Program, facts: Iterable[ChunkFacts]) -> "Workload":
        """With the memory and the habits of a device profile."""
        return cls(
            program,
            {f.id: f for f in facts},
            target.budget_bytes,
            target.contention,
            target.page_bytes,
            target.reload_on_switch,
        )

    @classmethod
    def of(cls, plan: Plan) -> "Workload":
        """What a plan was made for, under the budget that it was scheduled for."""
        return cls(
            plan.program,
            {f.id: f for f in plan.facts},
            plan.schedule.budget_bytes,
            plan.target.contention,
            plan.target.page_bytes,
            plan.target.reload_on_switch,
        )
