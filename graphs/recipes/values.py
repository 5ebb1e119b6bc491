"""What recipes hand around: values by name and shape, and the mark of what a stage computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])
Shape = tuple[int, ...]


def stage(function: _Function) -> _Function:
    """Marks a function that a stage computes: `function(module, *tensors, **settings)`."""
    function.is_stage = True  # type: ignore[attr-defined]
    return function


@dataclass(frozen=True, slots=True)
class Value:
    """What a stage makes, a loop carries, or a user gives."""

    name: str
    """As configurations refer to it: `STAGE.PORT`, or an input's name."""
    shape: Shape = ()
    is_whole: bool = False

    def of(self, *shape: int) -> Value:
        """The same with another shape: where the recipe knows better than the builder."""
        return Value(self.name, shape, self.is_whole)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Of a text."""

    ids: Value
    mask: Value
    tokenizer: str = ""
    """What made them, as outputs of texts name it."""
