"""How large a plan may be: what is larger would only keep whoever reads it busy.

Real plans have some thousands of steps; a stranger's could have a million in a small file.
"""

from entracte.check.proof import MAX_CALLS
from entracte.clock.drivers import kind_of
from entracte.clock.table import pages_of
from entracte.errors import PlanError
from entracte.ir import Call, Plan, Program
from entracte.program.workload import Workload

MOST_STEPS = 15_000
"""Of all iterations."""
MOST_WRITTEN = 1_000
"""Steps as they are written, one iteration of each loop; and chunks, files and kept sets."""
MOST_TENSORS = 4_000
MOST_PAGES = 40_000
"""That a run may load, if it loads every page for every call."""


def check_program_size(program: Program) -> None:
    """Raises `PlanError` for a program that nobody could follow. `compile` asks before it makes
    packages."""
    written = sum(len(s.steps) for s in program.segments)
    _at_most("steps of one iteration", written, MOST_WRITTEN, "larger chunks")
    _at_most("segments", len(program.segments), MOST_WRITTEN, "fewer loops")
    _at_most("tensors", len(program.tensors), MOST_TENSORS, "larger chunks")
    _at_most("steps", program.step_count, MOST_STEPS, "fewer iterations")
    _at_most("calls", sum(program.call_counts.values()), MAX_CALLS, "larger slices of maps")


def check_size(plan: Plan) -> None:
    """The same of a whole plan, before anything of it is worked out."""
    check_program_size(plan.program)
    for what, there in (
        ("chunks", plan.chunks),
        ("facts", plan.facts),
        ("packages", plan.packages),
        ("files", plan.files),
        ("kept sets", plan.schedule.kept),
    ):
        _at_most(what, len(there), MOST_WRITTEN, "larger chunks")
    _at_most("loads", len(plan.schedule.loads), 2 * MOST_WRITTEN, "larger chunks")
    _at_most("bars", len(plan.forecast.bars), 16 * MOST_WRITTEN, "larger chunks")


def check_pages(plan: Plan) -> None:
    """Of the page loads of a run that keeps nothing."""
    pages = most_pages(plan)
    _at_most("page loads", pages, MOST_PAGES, "a larger `target.page_bytes`")


def most_pages(plan: Plan) -> int:
    """Page loads of a run that keeps nothing; 0 where packages load whole."""
    if not kind_of(plan.schedule).by_pages or plan.target.page_bytes == 0:
        return 0
    pages = pages_of(Workload.of(plan))
    return sum(
        segment.count * pages[step.chunk]
        for segment in plan.program.segments
        for step in segment.steps
        if isinstance(step, Call)
    )


def _at_most(what: str, there: int, most: int, remedy: str) -> None:
    if there > most:
        raise PlanError(f"plan: {there} {what}, at most {most} are possible; compile with {remedy}")
