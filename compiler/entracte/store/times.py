"""What the phases of a compile took last time, kept in the cache; only for telling progress.

Two records of each compile: one of exactly its settings, whose times are a ground for a time left,
and one of its pipeline's form (names and graphs of its stages), whose times only weigh the phases.
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
    PhaseTime("trace", 47.0, 8, 5.9),
    PhaseTime("plan", 2.8, 1, 2.8),
    PhaseTime("convert", 78.0, 11_800_000, 6.6e-6),
    PhaseTime("schedule", 3.4, 1, 3.4),
    PhaseTime("compare", 12.0, 9, 1.3),
    PhaseTime("finish", 0.7, 1, 0.7),
)
"""The demo in 24 MiB with an empty cache, two workers on a busy machine with two cores, once: only how
phases weigh against each other, by stages, bytes and packages, and never a time left."""
FIRST_DRY = (FIRST[0], PhaseTime("plan", 3.5, 2, 1.8))


@dataclass(frozen=True)
class Times:
    """Of one compile."""

    cache: Cache
    exact: str
    form: str
    first: tuple[PhaseTime, ...] = ()
    """Of a form that was never compiled."""

    @classmethod
    def of(cls, job: Job) -> "Times":
        """Of what is to be compiled. Raises `ConfigError` for a cache that is no folder."""
        stages = [(s.name, s.op) for s in job.pipeline.stages]
        how = [job.dry_run, job.verify]
        return cls(
            Cache(cache_folder(job.cache)),
            digest("exact", job.settings, how, job.workers),
            digest("form", stages, how),
            FIRST_DRY if job.dry_run else FIRST,
        )

    def expected(self) -> Expected:
        """What it took last time; of its form, where these settings are new; else by sizes."""
        exact = self.cache.record(KIND, self.exact, _Times)
        if exact:
            return Expected(exact, same=True)
        return Expected(self.cache.record(KIND, self.form, _Times) or self.first)

    def keep(self, phases: Sequence[PhaseTime]) -> None:
        """Remember what it took; a cache that cannot be written costs nothing but that."""
        last = self.expected().phases
        with contextlib.suppress(OSError, WriteError):
            for key in (self.exact, self.form):
                self.cache.keep(KIND, key, merged(last, phases))
