"""Files that commands read and write: plans to be shown; texts, aside and then renamed."""

import os
from pathlib import Path

from compiler.errors import PlanError, RunError
from compiler.ir import Plan
from compiler.plan import read_plan

MOST_STEPS = 100_000
"""Of all iterations. What happens over time is worked out step by step; real plans have some
thousands, and a stranger's could have a million in a small file."""


def read_for_show(build: Path) -> Plan:
    """A plan whose predicted run can be followed. Raises `PlanError`, also for too many steps."""
    plan = read_plan(build)
    if plan.program.step_count > MOST_STEPS:
        raise PlanError(
            f"{build}: {plan.program.step_count} steps, at most {MOST_STEPS} are shown; compile "
            "with fewer iterations"
        )
    return plan


def write_text(text: str, path: Path) -> None:
    """Write a whole file or nothing. Raises `RunError` where that is impossible."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        aside.write_text(text, encoding="utf-8", newline="\n")
        os.replace(aside, path)
    except OSError as error:
        raise RunError(
            f"{path}: cannot be written ({error.strerror}); name another file with --out"
        ) from None
    finally:
        aside.unlink(missing_ok=True)
