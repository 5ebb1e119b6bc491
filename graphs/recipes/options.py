"""What a user chooses of a recipe: sizes and choices, each asked for by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from entracte.graphs.checks import similar


class Options:
    """`pipeline.options`, as far as a recipe asks for them.

    Args:
        kind: the class whose recipe it is.
        given: what the user chose; None where he did not.
    """

    def __init__(self, kind: str, given: Mapping[str, Any]) -> None:
        self._kind, self._options, self._read = kind, given, dict[str, Any]()

    def option(self, name: str, default: Any) -> Any:
        """What the user chose, or the default."""
        given = self._options.get(name)
        if given is not None and default is not None and not _is_like(given, default):
            raise ValueError(
                f"pipeline.options.{name}: {given!r} is not of the kind of its default, {default!r}"
            )
        self._read[name] = default if given is None else given
        return self._read[name]

    def size(
        self, name: str, default: int, multiple: int = 1, rest: int = 0, most: int | None = None
    ) -> int:
        """A size that must be `multiple * n + rest`. Raises `ValueError` with the nearest."""
        value = int(self.option(name, default))
        if most is not None and value > most:
            raise ValueError(
                f"pipeline.options.{name}: {value} is more than the {most} that a "
                f"{self._kind} takes; give {most}"
            )
        if value < 1 or (value - rest) % multiple:
            low = max((value - rest) // multiple, 0 if rest else 1) * multiple + rest
            rule = f"a multiple of {multiple}" + (f", plus {rest}" if rest else "")
            raise ValueError(
                f"pipeline.options.{name}: {value} is not {rule}; give {low} or {low + multiple}"
            )
        return value

    @property
    def options_read(self) -> dict[str, Any]:
        """What was asked for, with what it became."""
        return self._read

    def check_options(self) -> None:
        """Raises `ValueError` for one that the recipe does not know."""
        for name, value in self._options.items():
            if value is not None and name not in self._read:
                raise ValueError(
                    f"pipeline.options.{name}: a {self._kind} has no such option"
                    f"{similar(name, self._read)}; it has {', '.join(self._read) or 'none'}"
                )


def _is_like(given: object, default: object) -> bool:
    if isinstance(default, bool):
        return isinstance(given, bool)
    if isinstance(default, int):
        return isinstance(given, int) and not isinstance(given, bool)
    if isinstance(default, float):
        return isinstance(given, int | float) and not isinstance(given, bool)
    return isinstance(given, type(default))
