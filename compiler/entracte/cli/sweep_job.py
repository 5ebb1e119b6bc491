"""One job of a sweep: where it goes, and what became of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from entracte.declare.overrides import as_typed
from entracte.declare.read import Job
from entracte.errors import DoesNotFit, EntracteError
from entracte.report.sweep import SweepRow
from entracte.store.cache import digest

_HOW = ("out=", "dry_run=", "workers=", "sweep", "search", "cache=", "cache_limit=")
"""Overrides that say how to work and not what to make."""
_LONGEST = 120
"""Letters of a folder's name; file systems take 255 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a job of a sweep made: its figures, and what its folder holds."""

    fits: bool
    reason: str = ""
    """Why it does not fit."""
    budget_bytes: int = 0
    peak_bytes: int = 0
    makespan_s: float = 0.0
    loaded_bytes: int = 0
    lower_bound_s: float = 0.0
    weight_bytes: int = 0
    """Of all packages."""
    psnr_db: float | None = None
    """Of the outputs, the least against the torch source; None where that was not asked for."""
    plan_sha256: str = ""
    """Of the folder's plan."""
    files: tuple[tuple[str, int], ...] = ()
    """Names and sizes of all files that the job wrote."""


@dataclass
class SweepJob:
    """Filled while the job runs."""

    words: tuple[str, ...]
    """The overrides that say what to make."""
    overrides: str
    """All of them, as one line to type."""
    target: str
    dry_run: bool
    base: Path | None
    """The sweep's folder: `out`, or by default build; build/sweep for dry runs, whose plans must
    not take the place of builds. None where the configuration cannot be read."""
    budget_bytes: int = 0
    config: DictConfig | None = None
    verifies: bool = False
    """What it builds is run beside its torch source."""
    searched: bool = False
    """It is one of a search."""
    advises: bool = False
    """It prints advice and makes nothing."""
    job: Job | None = None
    made: Made | None = None
    was_known: bool = False
    """An earlier sweep made it."""
    error: EntracteError | None = None

    @classmethod
    def unread(cls, overrides: Sequence[str]) -> "SweepJob":
        """A job of whose configuration nothing is known yet."""
        return cls(
            words=tuple(o.lstrip("+") for o in overrides if not o.lstrip("+").startswith(_HOW)),
            overrides=as_typed(overrides),
            target="",
            dry_run=False,
            base=None,
        )

    @classmethod
    def of(cls, config: DictConfig, overrides: Sequence[str]) -> "SweepJob":
        """A job before it runs, from its composed configuration and its overrides."""
        from entracte.calibrate.derived import calibrated

        config = calibrated(config)
        missing = OmegaConf.is_missing(config.target, "name")
        base = Path("build/sweep" if config.dry_run else "build")
        return replace(
            cls.unread(overrides),
            target="" if missing else str(config.target.name),
            dry_run=bool(config.dry_run),
            base=Path(config.out).expanduser() if config.out is not None else base,
            config=config,
            verifies=bool(config.sweep.verify),
            advises=bool(config.advise),
        )

    @property
    def failed(self) -> bool:
        """Not to fit is an answer to a dry run and in a search, and a fault of a build."""
        asks = self.dry_run or self.searched
        return self.error is not None and not (asks and isinstance(self.error, DoesNotFit))

    def folder(self, pipeline: str) -> Path:
        """Jobs of a sweep differ by their overrides, and so do their folders: where a name cannot
        hold these as they are, it holds their digest too."""
        name = ",".join(self.words) or "default"
        safe = "".join(c if c.isalnum() or c in "=,._-" else "_" for c in name.replace("/", "."))
        if safe != name or len(safe) > _LONGEST:
            safe = f"{safe[:_LONGEST]}-{digest(*self.words)[:8]}"
        return (self.base or Path("build")) / f"{pipeline}-{safe}"

    @property
    def place(self) -> Path:
        """The job's folder. Only where its configuration was read."""
        assert self.job is not None and self.job.out is not None
        return Path(self.job.out)

    def row(self, label: str) -> SweepRow:
        """What the comparison shows; not yet whether it is Pareto-optimal."""
        if self.error is not None or self.made is None:
            return SweepRow(
                label=label,
                target=self.target,
                budget_bytes=self.budget_bytes,
                fits=False,
                failed=not isinstance(self.error, DoesNotFit),
                reason=str(self.error or "not done"),
            )
        m = self.made
        return SweepRow(
            label=label,
            target=self.target,
            budget_bytes=self.budget_bytes,
            fits=True,
            peak_bytes=m.peak_bytes,
            makespan_s=m.makespan_s,
            loaded_bytes=m.loaded_bytes,
            lower_bound_s=m.lower_bound_s,
            weight_bytes=m.weight_bytes,
            psnr_db=m.psnr_db,
        )


def labels(jobs: Sequence[SweepJob]) -> list[str]:
    """The overrides of each job that not all jobs have; its target has a field of its own."""
    shared = set.intersection(*(set(o.words) for o in jobs)) if len(jobs) > 1 else set()

    def own(o: SweepJob) -> list[str]:
        return [w for w in o.words if w not in shared and w != f"target={o.target}"]

    return [" ".join(own(o)) or "default" for o in jobs]
