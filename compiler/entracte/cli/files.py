"""Files that commands read and write: plans to be shown; texts, aside and then renamed."""

import os
from pathlib import Path

from entracte.errors import RunError
from entracte.ir import Plan
from entracte.plan.file import read_plan


def read_for_show(build: Path) -> Plan:
    """A plan whose predicted run can be followed: none that is larger is read (`plan.limits`)."""
    return read_plan(build)


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
