"""Files that came from elsewhere: regular ones, inside their folder, of bounded size.

A pipe or a device would be waited for, a link could lead anywhere.
"""

import os
import stat
from pathlib import Path


def inside(root: Path, name: str) -> Path | None:
    """The real path of the regular file or folder `name` of the folder `root`; None where there is
    none, or it lies elsewhere by a link or `..`."""
    return _inside(root, root / name)


def _inside(root: Path, path: Path) -> Path | None:
    try:
        real = path.resolve(strict=True)
        mode = real.stat().st_mode
    except (OSError, RuntimeError, ValueError):
        return None
    if not real.is_relative_to(root.resolve()):
        return None
    return real if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else None


def all_inside(root: Path, folder: Path) -> Path | None:
    """The first thing below `folder` that is neither a folder nor a regular file inside `root`."""
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place) / name
            if _inside(root, path) is None:
                return path
    return None
