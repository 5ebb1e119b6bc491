"""What the UI was asked to do, kept in its folder: the lines to type, and what came of them."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from entracte.codec import parse_json
from entracte.disk.read import inside
from entracte.disk.write import write_text
from entracte.store.seal import state_of

FILE = "ui-history.json"
_MOST, _MOST_BYTES, _LONGEST = 500, 4 * 2**20, 20_000
"""Entries that are kept, bytes that are read, letters of a text that is shown."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One job."""

    kind: str
    """plan, build, run or fits."""
    line: str
    """As it is typed in the root."""
    place: str
    """Of what it made, relative to the root; empty where it makes nothing."""
    state: str
    """done, failed or cancelled."""
    date: str
    """When it began, UTC: 2026-11-28T09:30:00Z."""
    seconds: float
    said: str = ""
    """Why it failed, or the last it said."""
    of: str = ""
    """Of a run: the build."""


class History:
    """The entries, the oldest first. A file that is damaged or somebody else's counts as empty."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read: tuple[object, tuple[Entry, ...]] = (None, ())

    def entries(self) -> tuple[Entry, ...]:
        """All that can be read; the very same tuple as long as the file is: pages ask each
        second."""
        path = inside(self._root, FILE)
        if path is None:
            return ()
        # Looked at before it is read: what is written meanwhile is read the next time.
        now = state_of(path)
        if now != self._read[0]:
            self._read = (now, _entries(path))
        return self._read[1]

    def add(self, entry: Entry) -> None:
        """Write it too. Raises `WriteError`."""
        kept: Sequence[Entry] = (*self.entries(), entry)[-_MOST:]
        text = json.dumps([asdict(e) for e in kept], indent=1) + "\n"
        write_text(self._root / FILE, text, remedy="make room, or start with another --root")


def _entries(path: Path) -> tuple[Entry, ...]:
    try:
        found = parse_json(path.read_bytes()) if path.stat().st_size <= _MOST_BYTES else None
    except (OSError, ValueError, RecursionError):
        return ()
    items = found if isinstance(found, list) else []
    return tuple(e for e in map(_entry, items) if e is not None)


def _entry(item: object) -> Entry | None:
    if not isinstance(item, dict) or item.keys() - {f.name for f in fields(Entry)}:
        return None
    texts = {k: v for k, v in item.items() if k != "seconds"}
    seconds = item.get("seconds", 0.0)
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        return None
    if not all(isinstance(v, str) and len(v) <= _LONGEST for v in texts.values()):
        return None
    try:
        return Entry(seconds=float(seconds), **texts)
    except (TypeError, OverflowError):
        return None
