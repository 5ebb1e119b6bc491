"""The one error of this package, and the one fault of the machine that it tells by itself."""

import errno
from pathlib import Path

from entracte.errors import EntracteError

__all__ = ["LowerError", "full_disk"]

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_WRITER = "[MIL FileWriter]"
"""How coremltools' native writer of weights begins what it says; it knows no reasons."""


class LowerError(EntracteError):
    """A chunk that cannot be converted, with its name, the cause and the remedy."""


def full_disk(error: BaseException, place: Path) -> str:
    """What to say where an error is of a disk without room, on which `place` lies; else empty."""
    said = error.strerror if isinstance(error, OSError) and error.errno in _NO_ROOM else ""
    if str(error).startswith(_WRITER):
        said = str(error)
    if not said:
        return ""
    folder = next(p for p in (place, *place.parents) if not p.name.startswith("."))
    return (
        f"cannot be written in {folder} ({said}): no room on its disk? make some, or name "
        "another place with cache=FOLDER"
    )
