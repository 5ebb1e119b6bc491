"""Plans of dry runs that were made before: the same job is not traced and not planned again, but
what is claimed for it is proven anew."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from entracte.declare.read import Job
from entracte.errors import PlanError, WriteError
from entracte.ir import Plan
from entracte.plan.file import check_plan
from entracte.store.cache import Cache
from entracte.store.decisive import decisive_digest

_KIND = "plans"


@dataclass(frozen=True, slots=True)
class Planned:
    """What a dry run finds out."""

    plan: Plan
    makespan_s: float
    """The time that was predicted when its chunks were chosen."""


def planned(job: Job, cache: Cache, make: Callable[[], Planned]) -> Planned:
    """The plan of a dry run: the one that was kept under all that decides it, if the independent
    checker proves it again; else made now, and kept.

    One that was made with something to say (a note in the log) is made again, so that it is said
    again.
    """
    key = decisive_digest(job, _KIND)
    found = cache.record(_KIND, key, Planned) if key is not None else None
    if found is not None and is_proven(found.plan):
        return found
    with listening() as said:
        made = make()
    if key is not None and not said:
        # A cache that others own may be read-only.
        with contextlib.suppress(OSError, WriteError):
            cache.keep(_KIND, key, made)
    return made


def is_proven(plan: Plan) -> bool:
    """Whether everything that a plan claims about itself is found again, its peak proven."""
    try:
        check_plan(plan)
    except PlanError:
        return False
    return True


@contextlib.contextmanager
def listening() -> Iterator[list[str]]:
    """What is said in the log meanwhile."""
    said: list[str] = []
    log, handler = logging.getLogger("entracte"), _Ear(said)
    before = log.disabled, log.level
    # Hydra disables those that it finds, and libraries raise the level of all.
    log.disabled = False
    log.setLevel(min(log.getEffectiveLevel(), handler.level))
    log.addHandler(handler)
    try:
        yield said
    finally:
        log.removeHandler(handler)
        log.disabled = before[0]
        log.setLevel(before[1])


class _Ear(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(record.getMessage())
