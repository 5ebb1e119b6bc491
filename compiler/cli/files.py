"""Files that commands write: aside, then renamed."""

import os
from pathlib import Path

from compiler.errors import RunError


def write_text(text: str, path: Path) -> None:
    """Write a whole file or nothing. Raises `RunError` where that is impossible."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        aside.write_text(text, encoding="utf-8", newline="\n")
        os.replace(aside, path)
    except OSError as error:
        raise RunError(
            f"{path}: cannot be written ({error.strerror}); name another file with --out"
        ) from None
    finally:
        aside.unlink(missing_ok=True)
