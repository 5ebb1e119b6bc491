"""How large a tensor may be that is made now."""

from __future__ import annotations

import os
from contextvars import ContextVar

MEMORY_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
ALLOWED_BYTES: ContextVar[int] = ContextVar("allowed_bytes", default=MEMORY_BYTES)
"""Largest tensor that may be made now; `guard` lowers it for packages from strangers."""


def check_elements(count: int, what: str) -> None:
    """Refuse a result that is not allowed or cannot fit the machine, before it is allocated.

    Raises:
        ValueError: `count` elements of two bytes exceed `ALLOWED_BYTES`.
    """
    if count < 0 or 2 * count > ALLOWED_BYTES.get():
        where = "this machine can hold" if ALLOWED_BYTES.get() == MEMORY_BYTES else "is allowed"
        raise ValueError(f"{what} would have {count} elements, more than {where}")
