"""What a record is of: the plan by its digest, the inputs, when, and with which versions."""

import platform
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from entracte.devices import Device
from entracte.ir import Plan, Run
from entracte.plan.file import plan_sha256
from entracte.store.origin import VERSION

DATE = "%Y-%m-%dT%H:%M:%SZ"
LIBRARIES = ("numpy", "torch", "coremltools")


def now() -> str:
    """The time, as records have it."""
    return datetime.now(UTC).strftime(DATE)


def plan_digest(plan: Plan) -> str:
    """What a record names its plan by: the digest of the plan as `compile` wrote it.

    `plan verify` writes the packages' PSNRs into the plan and changes nothing that runs, so runs
    from before it stay runs of this plan.
    """
    packages = tuple(replace(p, psnr_db=None) for p in plan.packages)
    return plan_sha256(replace(plan, packages=packages))


def is_of(plan: Plan, run: Run) -> bool:
    """Whether a run says that it was this plan's. Runners of others name the digest that they
    find in the plan's file."""
    return run.plan == plan_digest(plan) or run.plan == plan_sha256(plan)


def signed(
    run: Run, plan: Plan, told: Mapping[str, str | int | float], device: Device, date: str
) -> Run:
    """The run with what it is of; `told` are all the plan's inputs as a record names them."""
    return replace(
        run,
        plan=plan_digest(plan),
        inputs=tuple(told.items()),
        date=date,
        versions=versions(),
        arithmetic=getattr(device, "arithmetic", ""),
    )


@cache
def versions() -> tuple[tuple[str, str], ...]:
    """Of what is installed; nothing is imported for it."""
    found = [("entracte", VERSION), ("python", platform.python_version())]
    for name in LIBRARIES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return (*found, ("system", platform.platform()))
