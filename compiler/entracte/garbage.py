"""Python's search for garbage, kept out of what makes millions of objects that stay."""

import contextlib
import gc
from collections.abc import Iterator

__all__ = ["seldom_collected", "uncollected"]

_SELDOM = 200_000
"""Objects more than were freed, after which garbage is looked for; Python's own figure is 700."""


@contextlib.contextmanager
def seldom_collected() -> Iterator[None]:
    """Inside, garbage is looked for less often: a compile imports and makes millions of small
    objects that stay, and looking through them again and again is an eighth of its time."""
    before = gc.get_threshold()
    gc.set_threshold(max(before[0], _SELDOM), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Without searching for garbage: for what makes millions of objects that are all in use. Those
    that are left when it is over count as old, and are not looked through then either."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            if gc.get_freeze_count() == 0:
                gc.freeze()
                gc.unfreeze()
            gc.enable()
