"""Two shortcuts in torch's exports, which change nothing of what they give.

For the place of each operation torch describes some ninety frames, almost all of which it
described for the operation before. And for each trace it looks through all operations there are.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from torch.export import exported_program
from torch.fx import proxy

__all__ = ["quicker"]


@contextlib.contextmanager
def quicker() -> Iterator[None]:
    """Inside, torch describes a frame once, and looks through its operations once."""
    wanted = (proxy, "CapturedTraceback", _Stack), (exported_program, _COMPOSITES, None)
    with contextlib.ExitStack() as stack:
        for module, name, other in wanted:
            own = getattr(module, name, None)
            if own is not None:  # of another version of torch, which does without
                stack.callback(setattr, module, name, own)
                setattr(module, name, other or functools.cache(own))
        yield


_COMPOSITES = "_collect_all_valid_cia_ops"


class _Stack:
    """What of `CapturedTraceback` is used to tell an operation's place."""

    def __init__(self, frames: list[traceback.FrameSummary]) -> None:
        self._frames = frames

    @staticmethod
    def extract() -> _Stack:
        """The frames of the caller and its callers."""
        frame: Any = sys._getframe(1)
        frames = []
        while frame is not None:
            code = frame.f_code
            frames.append(_described(code.co_filename, frame.f_lineno, code.co_name))
            frame = frame.f_back
        return _Stack(frames[::-1])

    def summary(self) -> traceback.StackSummary:
        """The outermost first."""
        summary = traceback.StackSummary()
        summary.extend(self._frames)
        return summary


@functools.lru_cache(maxsize=4096)
def _described(file: str, line: int, name: str) -> traceback.FrameSummary:
    return traceback.FrameSummary(file, line, name)
