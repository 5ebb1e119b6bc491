"""Outputs on their way: each part goes to its writer when it is complete, in the order of parts."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from entracte.errors import PlanError
from entracte.ir import Output


class Sink(Protocol):
    """What takes an output piece by piece, in order."""

    def take(self, output: str, piece: Any) -> None:
        """The next of an output, as a numpy array; the pieces differ in their axis only."""


class Kept:
    """A sink of one output that keeps it in memory."""

    def __init__(self, axis: int) -> None:
        self._axis = axis
        self._pieces: list[Any] = []

    def take(self, output: str, piece: Any) -> None:  # noqa: ARG002 (it has one)
        """The next piece."""
        self._pieces.append(piece)

    @property
    def value(self) -> Any:
        """All pieces, joined."""
        import numpy as np

        if len(self._pieces) > 1:
            self._pieces = [np.concatenate(self._pieces, self._axis)]
        return self._pieces[0]


class Delivery:
    """The turns of all outputs' parts, and how many pieces each writer took."""

    def __init__(
        self,
        outputs: Sequence[Output],
        sinks: Mapping[str, Sink],
        taken: Callable[[str, Any], None] = lambda *_: None,
    ) -> None:
        """`sinks` by output; an output without one is dropped. `taken`: told of each piece."""
        self._outputs, self._sinks, self._taken = outputs, sinks, taken
        self._turn = {o.name: 0 for o in outputs}
        """How many parts of an output its writer has taken."""
        self._complete: set[str] = set()
        self._cut: dict[str, tuple[int, int]] = {}
        self._streamed: set[str] = set()
        self.counts = {o.name: 0 for o in outputs}

    def piece(self, part: str, value: Any) -> None:
        """The next piece of a part that is streamed."""
        self._streamed.add(part)
        for output in self._outputs:
            if part not in output.values:
                continue
            if output.values[self._turn[output.name]] != part:
                raise PlanError(
                    f"plan: {part} of the output {output.name} is made before it is its turn"
                )
            self._take(output, value)

    def completed(
        self,
        parts: Iterable[str],
        fetch: Callable[[str], Any],
        cut: Mapping[str, tuple[int, int]],
    ) -> None:
        """These are whole now. Their writers take those whose turn it is.

        Args:
            fetch: a part's value, as a numpy array.
            cut: (axis, end) of parts of which no more was made, where their loop ended early.
        """
        self._complete |= set(parts)
        self._cut |= cut
        for output in self._outputs:
            while (n := self._turn[output.name]) < len(output.values):
                part = output.values[n]
                if part not in self._complete:
                    break
                self._turn[output.name] += 1
                if part not in self._streamed:
                    self._take(output, fetch(part), self._cut.get(part))

    def _take(self, output: Output, value: Any, cut: tuple[int, int] | None = None) -> None:
        piece = value if cut is None else _made(output, value, *cut)
        self.again(output.name, piece)
        self._taken(output.name, piece)

    # ------------------------------------------------------------ going on

    def again(self, output: str, piece: Any) -> None:
        """The next piece goes to its writer."""
        self.counts[output] += 1
        sink = self._sinks.get(output)
        if sink is not None:
            sink.take(output, piece)

    def go_on(
        self,
        complete: Collection[str],
        streamed: Collection[str],
        cut: Mapping[str, tuple[int, int]],
    ) -> None:
        """A run that was interrupted had given these parts away; the writers have taken all pieces
        of them (`again`)."""
        self._complete |= set(complete)
        self._streamed |= set(streamed)
        self._cut |= cut
        for output in self._outputs:
            parts = output.values
            left = (n for n, part in enumerate(parts) if part not in self._complete)
            self._turn[output.name] = next(left, len(parts))


def _made(output: Output, value: Any, axis: int, end: int) -> Any:
    """Of what a loop made that ended early."""
    shape = value.shape
    if axis != output.axis % len(shape) or end >= shape[axis]:
        return value
    return value[(slice(None),) * axis + (slice(0, end),)]
