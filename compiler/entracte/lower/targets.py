"""Deployment targets by coremltools' names: `iOS17`, `macOS15`, ..."""

from __future__ import annotations

from typing import Any

from entracte.lower.errors import LowerError
from entracte.lower.quiet import coremltools

__all__ = ["can_read", "target_of"]

_OLDEST_SPEC = 7
"""iOS 16: the first target with fp16 inputs and outputs."""
_SYSTEMS = ("iOS", "mac", "tvO", "wat", "vis")


def target_of(deployment: str) -> Any:
    """coremltools' own value of a target. Raises `LowerError` listing those there are."""
    targets = {name: t for name, t in vars(coremltools().target).items() if name[:3] in _SYSTEMS}
    known = [name for name, target in targets.items() if int(target.value) >= _OLDEST_SPEC]
    if deployment not in known:
        raise LowerError(f"target.deployment={deployment}: not one of {', '.join(sorted(known))}")
    return targets[deployment]


def can_read(deployment: str, since: str) -> bool:
    """Whether a target is the target `since` or a later one, of whichever system.

    Targets are ordered by their specification version (8 is iOS 17, 9 is iOS 18).
    """
    return int(target_of(deployment).value) >= int(target_of(since).value)
