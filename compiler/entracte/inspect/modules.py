"""What a chunk holds, in a few words: `blocks 4 to 9` for six modules of a row."""

from collections.abc import Sequence

MOST_NAMES = 5


def held(modules: Sequence[str], most: int | None = MOST_NAMES) -> str:
    """The modules by name, those of a row by their numbers; empty where there are none.

    Args:
        modules: as the checkpoint names them (`Chunk.modules`).
        most: names after which the rest is counted; None: all are told.
    """
    rows: dict[str, list[int]] = {}
    for name in modules:
        row, _, last = name.rpartition(".")
        numbers = rows.setdefault(row if _is_number(last) and row else name, [])
        if _is_number(last) and row:
            numbers.append(int(last))
    named = [words for row, numbers in rows.items() for words in _row(row, sorted(set(numbers)))]
    if most is None or len(named) <= most:
        return ", ".join(named)
    return f"{', '.join(named[:most])} and {len(named) - most} more"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 6


def _row(row: str, numbers: Sequence[int]) -> list[str]:
    """`blocks 0 to 3`, `blocks 7`; a module without a number is its own name."""
    stretches: list[list[int]] = []
    for n in numbers:
        if stretches and n == stretches[-1][-1] + 1:
            stretches[-1].append(n)
        else:
            stretches.append([n])
    told = (f"{s[0]} to {s[-1]}" if len(s) > 1 else f"{s[0]}" for s in stretches)
    return [f"{row} {s}" for s in told] or [row]
