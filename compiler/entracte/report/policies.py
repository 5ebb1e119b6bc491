"""The plan beside the simple policies and the lower bound: same chunks, same times, same budget."""

from dataclasses import dataclass

from entracte.check.proof import check
from entracte.clock.predict import predict
from entracte.errors import DoesNotFit, PlanError
from entracte.ir import Plan, Policy
from entracte.program.workload import Workload
from entracte.schedule.choose import BASELINES, make_schedule


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """What a policy would do with the plan's program. Where it does not fit, `reason` says why."""

    name: str
    own: bool
    fits: bool
    reason: str
    makespan_s: float = 0.0
    stall_s: float = 0.0
    loaded_bytes: int = 0
    loads: int = 0
    peak_bytes: int = 0


def compared(plan: Plan) -> tuple[PolicyRow, ...]:
    """The baselines of `schedule.choose`, then the plan. A second at full size."""
    others = [p for p in BASELINES if p.name != plan.schedule.policy.name]
    f = plan.forecast
    own = PolicyRow(
        f"{plan.schedule.policy.name} (this plan)",
        True,
        True,
        "",
        f.makespan_s,
        f.stall_s,
        f.loaded_bytes,
        f.loads,
        f.peak_bytes,
    )
    return (*(_row(plan, p) for p in others), own)


def _row(plan: Plan, policy: Policy) -> PolicyRow:
    budget = plan.target.budget_bytes
    workload = Workload.on(plan.target, plan.program, plan.facts)
    try:
        schedule = make_schedule(workload, policy)
        proof = check(plan.program, plan.facts, schedule, budget_bytes=budget)
    except (DoesNotFit, PlanError) as error:
        return PolicyRow(policy.name, False, False, str(error))
    made = predict(workload, schedule)
    return PolicyRow(
        policy.name,
        False,
        True,
        "",
        made.makespan_s,
        made.stall_s,
        made.loaded_bytes,
        made.loads,
        proof.peak_bytes,
    )
