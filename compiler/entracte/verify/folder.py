"""A build folder, verified: its plan, its files, every package; what `plan verify` shows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from entracte.check.proof import Proof
from entracte.disk.folder import can_write
from entracte.errors import WriteError
from entracte.ir import Plan
from entracte.plan.file import check_files, check_plan, read_plan, write_plan
from entracte.plan.forecast import check_forecast
from entracte.run.execute import make_device
from entracte.run.packages import check_all_bytes, check_facts
from entracte.verify.source import NOWHERE_ELSE, Origin
from entracte.verify.verify import (
    ChunkScore,
    Verification,
    verify_distinct,
    verify_plan,
    with_scores,
)


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found. A plan that is unsound, or not whole, is an error and no result."""

    plan: Plan
    chunks: tuple[ChunkScore, ...]
    """Each package against its torch source; with `distinct` one of each kind."""
    whole: Verification | None
    """Both ways from end to end; None with `distinct`, and where there are no packages."""

    @property
    def passed(self) -> bool:
        """Nothing is below its floor."""
        return all(c.passed for c in self.chunks) if self.whole is None else self.whole.passed


def verify_build(  # noqa: PLR0913 - the options of a command
    folder: Path | str,
    inputs: Mapping[str, object] | None = None,
    *,
    distinct: bool = False,
    save: bool = True,
    origin: Origin = NOWHERE_ELSE,
    sound: Callable[[Plan, Proof], None] = lambda *_: None,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Verified:
    """Check a build folder's plan, and its packages against their torch source.

    Args:
        inputs: of the run from end to end; those left out take the plan's defaults.
        distinct: try one package of each kind alone, run nothing from end to end: for pipelines
            too large for that.
        save: write the packages' PSNRs into the plan.
        origin: where the torch source's weights and graphs are; the plan does not decide that.
        sound: called with the plan and its proof, before packages are tried.
        progress: called with (what, done, in all).

    Raises `PlanError` for a plan that is unsound, files that are missing or changed, and packages
    that are not what the plan says; `WriteError` where PSNRs cannot be kept.
    """
    folder = Path(folder)
    plan = read_plan(folder)
    proof = check_plan(plan)
    check_forecast(plan, proof)
    check_files(plan, folder)
    if save and not can_write(folder):
        raise WriteError(f"{folder}: cannot be written, so PSNRs cannot be kept; try --no-save")
    check_facts(plan, folder)
    check_all_bytes(plan, folder)
    sound(plan, proof)
    if distinct or not plan.packages:
        # Without packages (host steps only) there is nothing to run against.
        found = Verified(plan, verify_distinct(plan, folder, progress, origin), None)
    else:
        device = make_device("reference", plan)
        whole = verify_plan(plan, folder, device, inputs or {}, progress, origin)
        found = Verified(plan, whole.chunks, whole)
    if save:
        write_plan(with_scores(plan, found.chunks), folder)
    return found
