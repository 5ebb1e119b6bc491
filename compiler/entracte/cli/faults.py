"""Any exception -> the one message that a user sees of it.

Doors name the place, what is allowed and a remedy themselves. What still arrives here is what a
disk or a machine does in the middle of work; the rest are faults of ours, which say so and keep the
traceback in a file.
"""

import contextlib
import os
import sys
import tempfile
import traceback

from entracte.errors import EntracteError
from entracte.store.origin import VERSION

_OUT_OF_MEMORY = ("can't allocate memory", "std::bad_alloc")
"""What torch says; Python has an exception of its own."""


def fault_of(error: Exception) -> EntracteError:
    """The error to show."""
    if isinstance(error, EntracteError):
        return error
    if isinstance(error, OSError):
        return EntracteError(_of_system(error))
    if isinstance(error, MemoryError) or any(word in str(error) for word in _OUT_OF_MEMORY):
        return EntracteError(
            "not enough memory on this machine; end other programs, or give a smaller pipeline"
        )
    return EntracteError(_internal(error))


def _of_system(error: OSError) -> str:
    """The place first, then what the system says of it."""
    names = [
        os.fsdecode(n) for n in (error.filename, error.filename2) if isinstance(n, str | bytes)
    ]
    what = error.strerror or str(error) or type(error).__name__
    return f"{' -> '.join(names) or 'a file'}: {what[0].lower()}{what[1:]}"


def _internal(error: Exception) -> str:
    lines = str(error).splitlines()
    what = f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
    log = _logged(error)
    return f"internal error: {what}; this is a fault of Entracte, please report it" + (
        f" with {log}" if log else ""
    )


def _logged(error: Exception) -> str | None:
    """A new file with the traceback; None where none can be written."""
    text = "".join(traceback.format_exception(error))
    try:
        # A name that nobody could guess, opened exclusively.
        handle, path = tempfile.mkstemp(prefix="entracte-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
            file.write(f"entracte {VERSION}, {sys.argv!r}\n{text}")
    except OSError:
        return None
    return path


def drop_output() -> None:
    """Whoever read what is printed went away, as `head` does: let the rest go nowhere, or the
    interpreter complains when it ends."""
    with open(os.devnull, "w") as nowhere, contextlib.suppress(OSError, ValueError):
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
