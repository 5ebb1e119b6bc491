"""The one word that several tools take: the file or folder that they write."""

import argparse
from pathlib import Path


def place(told: str | None, usual: Path | None = None) -> Path:
    """What was typed, else `usual`; without one it must be typed. `--help` tells `told`."""
    reader = argparse.ArgumentParser(
        description=told, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    reader.add_argument("place", type=Path, nargs="?" if usual else None, default=usual)
    found: Path = reader.parse_args().place
    return found
