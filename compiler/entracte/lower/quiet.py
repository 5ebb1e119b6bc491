"""Importing and calling coremltools without its chatter.

coremltools 9 logs, draws progress bars and warns on import and on every conversion. The library is
imported in one place only, here, because two of its switches work only *before* the import
(measured: `reference/conversion.md`, section 6).
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from types import ModuleType

__all__ = ["TAIL_CHARS", "captured_output", "coremltools"]

TAIL_CHARS = 2000
"""How much of a captured log an error message quotes, in characters."""


def coremltools() -> ModuleType:
    """The coremltools module, imported silently on the first call (about 3 s)."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coremltools as ct
    module: ModuleType = ct
    return module


@contextlib.contextmanager
def captured_output() -> Iterator[list[str]]:
    """Catch everything that C++ and Python write to stdout and stderr inside the block.

    Yields a list that holds the captured text after the block. File descriptors 1 and 2 are
    redirected, not only `sys.stdout`, because coremltools' native libraries and torch write there.
    Not for use in threads: descriptors belong to the process.
    """
    text: list[str] = []
    python_text = io.StringIO()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    with tempfile.TemporaryFile() as sink:
        saved = [os.dup(1), os.dup(2)]
        try:
            os.dup2(sink.fileno(), 1)
            os.dup2(sink.fileno(), 2)
            with (
                contextlib.redirect_stdout(python_text),
                contextlib.redirect_stderr(python_text),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                yield text
        finally:
            for number, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, number)
                os.close(copy)
            sink.seek(0)
            text.append(python_text.getvalue() + sink.read().decode(errors="replace"))
