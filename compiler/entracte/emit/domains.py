"""Which numbers an input may hold, as far as the chunk itself tells: positions in a table that has
so many rows, and masks of zeros and ones.

Numbers outside make torch refuse the chunk, or mask half of it with what overflows; neither says
anything about its conversion.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.fx import Node

__all__ = ["TRUTHS", "Domain", "domain_of"]

_MOVES = frozenset({
    "reshape", "view", "_unsafe_view", "permute", "transpose", "t", "unsqueeze", "squeeze", "slice",
    "select", "expand", "repeat", "clone", "alias", "_to_copy", "cat", "stack", "flip",
})  # fmt: skip
_TABLES = {"embedding": (0, 1), "index_select": (0, 2), "gather": (0, 2), "scatter": (0, 2),
           "scatter_add": (0, 2), "scatter_reduce": (0, 2)}  # fmt: skip
"""Operation -> positions of the table and of what says where in it."""
_TESTS = frozenset({"eq", "ne", "logical_not", "bitwise_not"})
_LARGE = 1e3
"""A factor of what a mask takes away."""


@dataclass(frozen=True, slots=True)
class Domain:
    """Whole numbers between two bounds, both included."""

    least: int
    most: int


TRUTHS = Domain(0, 1)


@dataclass(frozen=True, slots=True)
class _Reached:
    """A value that is `factor * input + offset`."""

    node: Node
    factor: float = 1.0
    offset: float = 0.0


def domain_of(argument: Node) -> Domain | None:
    """None: nothing in the graph bounds it."""
    found = [d for value in _reached(argument) for u in value.node.users for d in _asked(value, u)]
    if not found:
        return None
    least, most = max(d.least for d in found), min(d.most for d in found)
    return Domain(least, most) if least <= most else None


def _reached(argument: Node) -> Iterator[_Reached]:
    waiting, seen = [_Reached(argument)], {argument}
    while waiting:
        value = waiting.pop()
        yield value
        for user in value.node.users:
            follows = _follow(value, user)
            if follows is not None and user not in seen:
                seen.add(user)
                waiting.append(follows)


def _follow(value: _Reached, user: Node) -> _Reached | None:
    kind, number = _kind(user), _number(user)
    if kind in _MOVES and not _is_truth(user):
        return _Reached(user, value.factor, value.offset)
    if number is None or abs(number) >= _LARGE:
        return None
    if kind == "rsub":
        return _Reached(user, -value.factor, number - value.offset)
    if kind == "sub":
        sign = 1 if user.args[0] is value.node else -1
        return _Reached(user, sign * value.factor, sign * (value.offset - number))
    if kind == "add":
        return _Reached(user, value.factor, value.offset + number)
    if kind == "mul" and number:
        return _Reached(user, value.factor * number, value.offset * number)
    return None


def _asked(value: _Reached, user: Node) -> Iterator[Domain]:
    """What a user of a value asks of the input."""
    kind, number = _kind(user), _number(user)
    if kind in _TABLES:
        table, where = _TABLES[kind]
        if user.args[where] is value.node:
            dim: Any = 0 if kind == "embedding" else user.args[1]
            yield from _rows(value, user.args[table], dim)
    if kind in {"index", "index_put"}:
        indices: Any = user.args[1]
        for dim, index in enumerate(indices):
            if index is value.node and not _is_truth(value.node):
                yield from _rows(value, user.args[0], dim)
    is_test = kind in _TESTS and (number in (0, 1) or kind.endswith("not"))
    takes_away = kind == "mul" and number is not None and abs(number) >= _LARGE
    if (is_test or takes_away or _is_truth(user)) and _is_mask_like(value, takes_away):
        yield TRUTHS


def _is_mask_like(value: _Reached, takes_away: bool) -> bool:
    """`1 - mask` or `mask - 1` before a large factor; the input itself before a test."""
    if takes_away:
        return abs(value.factor) == 1 and abs(value.offset) == 1
    return (abs(value.factor), abs(value.offset)) in {(1, 0), (1, 1)}


def _rows(value: _Reached, table: Any, dim: int) -> Iterator[Domain]:
    if not hasattr(table, "meta") or not value.factor:
        return
    rows = int(table.meta["val"].shape[dim])
    ends = sorted((end - value.offset) / value.factor for end in (0, rows - 1))
    yield Domain(-int(-ends[0] // 1), int(ends[1] // 1))


def _number(user: Node) -> float | None:
    numbers = [a for a in user.args[:2] if isinstance(a, int | float) and not isinstance(a, bool)]
    return float(numbers[0]) if len(numbers) == 1 else None


def _is_truth(node: Node) -> bool:
    return str(getattr(node.meta.get("val"), "dtype", "")) == "torch.bool"


def _kind(node: Node) -> str:
    return str(getattr(node.target, "__name__", node.target)).split(".")[0]
