"""What was made before under all that decides it: the plan of a dry run, which is not traced and
not planned again, but whose claims are proven anew."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from entracte.declare.read import Job
from entracte.errors import PlanError, WriteError
from entracte.ir import Plan
from entracte.plan.file import check_plan
from entracte.store.cache import Cache
from entracte.store.decisive import decisive_digest

_KIND = "plans"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Planned:
    """What a dry run finds out."""

    plan: Plan
    makespan_s: float
    """The time that was predicted when its chunks were chosen."""


def planned(job: Job, cache: Cache, make: Callable[[], Planned]) -> Planned:
    """The plan of a dry run: the one that was kept under all that decides it, if the independent
    checker proves it again; else made now, and kept."""

    def find(key: str) -> Planned | None:
        found = cache.record(_KIND, key, Planned)
        return found if found is not None and is_proven(found.plan) else None

    def keep(key: str, made: Planned) -> None:
        cache.keep(_KIND, key, made)

    return kept_or_made(decisive_digest(job, _KIND), find, make, keep)


def kept_or_made(
    key: str | None,
    find: Callable[[str], T | None],
    make: Callable[[], T],
    keep: Callable[[str, T], None],
) -> T:
    """What `find` gives under a key; else what is made now, and kept under it.

    What was made with something to say (a note in the log) is made again, so that it is said again.
    """
    found = find(key) if key is not None else None
    if found is not None:
        return found
    with _listening() as said:
        made = make()
    if key is not None and not said:
        # A cache that others own may be read-only.
        with contextlib.suppress(OSError, WriteError):
            keep(key, made)
    return made


def is_proven(plan: Plan) -> bool:
    """Whether everything that a plan claims about itself is found again, its peak proven."""
    try:
        check_plan(plan)
    except PlanError:
        return False
    return True


@contextlib.contextmanager
def _listening() -> Iterator[list[str]]:
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
