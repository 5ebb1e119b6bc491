"""Plans that commands show."""

from pathlib import Path

from entracte.clock.table import pages_of
from entracte.errors import PlanError
from entracte.inspect.overview import page_bytes
from entracte.ir import Call, Plan
from entracte.plan.file import read_plan
from entracte.program.workload import Workload

MOST_STEPS = 100_000
"""Of all iterations. What happens over time is worked out step by step; real plans have some
thousands, and a stranger's could have a million in a small file."""


MOST_PAGES = 200_000
"""That a run may load, if it loads every page for every call: the same for pages."""


def read_for_show(build: Path) -> Plan:
    """A plan whose predicted run can be followed. Raises `PlanError`, also for too many steps or
    pages."""
    plan = read_plan(build)
    if plan.program.step_count > MOST_STEPS:
        raise PlanError(
            f"{build}: {plan.program.step_count} steps, at most {MOST_STEPS} are shown; compile "
            "with fewer iterations"
        )
    pages = most_pages(plan)
    if pages > MOST_PAGES:
        raise PlanError(
            f"{build}: up to {pages} page loads, at most {MOST_PAGES} are shown; compile with "
            "a larger `target.page_bytes`"
        )
    return plan


def most_pages(plan: Plan) -> int:
    """Page loads of a run that keeps nothing; 0 where packages load whole."""
    if page_bytes(plan) == 0:
        return 0
    pages = pages_of(Workload.of(plan))
    return sum(
        segment.count * pages[step.chunk]
        for segment in plan.program.segments
        for step in segment.steps
        if isinstance(step, Call)
    )
