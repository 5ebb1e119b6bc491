"""How a user wants classifier-free guidance computed: `guidance=NAME` and its keys."""

from __future__ import annotations

from dataclasses import dataclass

OWN, TOGETHER, APART, INTERVAL = "own", "together", "apart", "interval"


@dataclass(frozen=True, slots=True)
class Guidance:
    """`way` is one of these words; `begin` and `end` are of an interval: the first guided step, and
    the one before which guidance ends (None: to the end)."""

    way: str = OWN
    begin: int = 0
    end: int | None = None

    def steps(self, count: int) -> tuple[int, int]:
        """Those that are guided, [begin, end), of a loop. Raises `ValueError` where there are
        none."""
        end = count if self.end is None else self.end
        if not 0 <= self.begin < end <= count:
            raise ValueError(
                f"guidance.begin={self.begin} guidance.end={self.end}: of {count} steps; give the "
                "first guided one, and the one before which guidance ends"
            )
        return self.begin, end
