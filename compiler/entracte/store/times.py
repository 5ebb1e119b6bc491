"""What the phases of a compile took last time, kept in the cache; only for telling progress.

Two records of each compile. One is of its stages with their parameters: how fast these convert is
a ground for a time left, once it is known what is to be converted, also in another budget. The
other is of its pipeline's form (names and graphs of its stages) and only weighs the phases.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from entracte.declare.read import Job
from entracte.errors import WriteError
from entracte.progress.values import Expected, PhaseTime, merged
from entracte.store.cache import Cache, cache_folder, digest

KIND = "times"
_Times: Any = tuple[PhaseTime, ...]
FIRST = (
    PhaseTime("trace", 47.0, 8),
    PhaseTime("plan", 2.8, 1),
    PhaseTime("convert", 78.0, 11_800_000),
    PhaseTime("schedule", 3.4, 1),
    PhaseTime("compare", 12.0, 9),
    PhaseTime("finish", 0.7, 1),
)
"""The demo in 24 MiB with an empty cache, two workers on a busy machine with two cores, once: how
phases weigh against each other, by stages, bytes and packages; never a ground for a time left."""
FIRST_DRY = (FIRST[0], PhaseTime("plan", 3.5, 2))
_GROUND = "convert"
_FOLLOWS = (("compare", "convert"),)


@dataclass(frozen=True)
class Times:
    """Of one compile."""

    cache: Cache
    same: str
    """Key of its stages with their parameters."""
    form: str
    """Key of its pipeline's form."""
    first: tuple[PhaseTime, ...] = ()
    """Of a form that was never compiled."""

    @classmethod
    def of(cls, job: Job) -> "Times":
        """Of what is to be compiled. Raises `ConfigError` for a cache that is no folder."""
        stages = job.pipeline.stages
        how = [job.dry_run, job.verify]
        same = [(s.name, s.op, s.params, s.precision, s.compression) for s in stages]
        return cls(
            Cache(cache_folder(job.cache)),
            digest("same", same, how, job.workers),
            digest("form", [(s.name, s.op) for s in stages], how),
            FIRST_DRY if job.dry_run else FIRST,
        )

    def expected(self) -> Expected:
        """What it took last time; its form, where these stages are new; else by sizes."""
        same = self.cache.record(KIND, self.same, _Times)
        if same:
            converted = any(t.phase == _GROUND and t.work for t in same)
            return Expected(same, _GROUND if converted else "", _FOLLOWS)
        form = self.cache.record(KIND, self.form, _Times)
        return Expected(form or self.first, follows=_FOLLOWS)

    def keep(self, phases: Sequence[PhaseTime]) -> None:
        """Remember what it took; a cache that cannot be written costs nothing but that."""
        with contextlib.suppress(OSError, WriteError):
            for key in (self.same, self.form):
                last = self.cache.record(KIND, key, _Times) or ()
                self.cache.keep(KIND, key, merged(last, phases))
