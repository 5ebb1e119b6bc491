"""What a load is asked for, and what the package may ask for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may ask for.

    Attributes:
        tensor_bytes: largest single tensor. None: 1024 times the bytes of the package's files and
            the given inputs together, at least 1 GiB. Never more than the machine's memory.
        iterations: of all its loops together; a loop without end stops there.
    """

    tensor_bytes: int | None = None
    iterations: int = 100_000


@dataclass(frozen=True, slots=True)
class Options:
    """What `load` was asked for."""

    policy: str
    strict: bool
    lazy: bool
    portable: bool = False
    limits: Limits | None = None
