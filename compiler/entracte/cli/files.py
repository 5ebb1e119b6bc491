"""Plans that commands show."""

from pathlib import Path

from entracte.ir import Plan
from entracte.plan.file import read_plan


def read_for_show(build: Path) -> Plan:
    """A plan whose predicted run can be followed: none that is larger is read (`plan.limits`)."""
    return read_plan(build)
