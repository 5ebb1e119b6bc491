"""What a handler's builder may ask about the operation it is built for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from entracte.reference import mil
from entracte.reference.dtypes import held, plain_value
from entracte.reference.errors import PackageError
from entracte.reference.options import Options


class Scope(Protocol):
    """What an operation sees around it: names, constants, blocks."""

    def constant(self, binding: mil.Binding) -> mil.Value | None:
        """The constant behind a binding, None when it is computed."""

    def type_of(self, binding: mil.Binding) -> mil.Type | None:
        """The declared type of a binding."""

    def dense(self, value: mil.Value, op: str) -> torch.Tensor:
        """A constant as a tensor, read for the operation `op`."""

    def nested(self, block: mil.Block) -> Callable[[Sequence[Any]], Any]:
        """An inner block, ready to be called; it sees the names of the blocks around it."""

    def count_iteration(self) -> None:
        """Raises ValueError when the loops of one call have gone on for too long."""

    def fail(self, message: str, op: str = "") -> PackageError:
        """An error that names package, function and operation."""


@dataclass(slots=True)
class Bind:
    """One operation at load time."""

    scope: Scope
    operation: mil.Operation
    opset: int
    """Deployment generation: 15 for iOS15, ... 18 for iOS18."""
    options: Options
    kind: Any = field(default=None)

    @property
    def policy(self) -> str:
        """How fp16 is computed."""
        return self.options.policy

    @property
    def strict(self) -> bool:
        """Whether to refuse what Core ML is known to refuse."""
        return self.options.strict

    @property
    def portable(self) -> bool:
        """Whether torch.export must be able to follow."""
        return self.options.portable

    def fail(self, message: str) -> PackageError:
        """An error that names package, function and operation."""
        return self.scope.fail(f"{self.operation.type}: {message}", self.operation.name)

    def has(self, name: str) -> bool:
        """Whether the operation gives this input."""
        return bool(self.operation.inputs.get(name))

    def is_constant(self, name: str) -> bool:
        """Whether an input is given and constant."""
        bindings = self.operation.inputs.get(name, ())
        return bool(bindings) and all(self.scope.constant(b) is not None for b in bindings)

    def const(self, name: str, default: Any = None) -> Any:
        """A constant input as a Python value; `default` when it is not given.

        Raises:
            PackageError: the input is computed, but the operation needs it at load.
        """
        bindings = self.operation.inputs.get(name)
        if not bindings:
            return default
        plains = [self._plain(name, self.scope.constant(b)) for b in bindings]
        return plains[0] if len(plains) == 1 else plains

    def _plain(self, name: str, value: mil.Value | None) -> Any:
        if value is None:
            raise self.fail(f"input {name!r} must be a constant")
        try:
            if value.blob is not None:
                return self.scope.dense(value, self.operation.name).tolist()
            return plain_value(value)
        except (ValueError, KeyError) as error:
            raise self.fail(f"input {name!r}: {error}") from None

    def ints(self, name: str, default: list[int] | None = None) -> list[int]:
        """A constant list of integers (a scalar counts as a list of one)."""
        found = self.const(name, default)
        if found is None:
            raise self.fail(f"input {name!r} is missing")
        return [int(v) for v in found] if isinstance(found, list) else [int(found)]

    def in_type(self, name: str) -> mil.TensorType | None:
        """The declared type of a tensor input, None when it is missing or not a tensor."""
        bindings = self.operation.inputs.get(name)
        found = self.scope.type_of(bindings[0]) if bindings else None
        return found if isinstance(found, mil.TensorType) else None

    def rank(self, name: str = "x") -> int:
        """Rank of a tensor input."""
        found = self.in_type(name)
        if found is None:
            raise self.fail(f"input {name!r} is not a tensor")
        if not found.ranked:
            raise self.fail(f"the number of dimensions of input {name!r} must be known")
        return len(found.shape)

    def out_type(self, index: int = 0) -> mil.TensorType | None:
        """The declared type of an output."""
        if index >= len(self.operation.outputs):
            return None
        found = self.operation.outputs[index].type
        return found if isinstance(found, mil.TensorType) else None

    def out_dtype(self, index: int = 0) -> torch.dtype:
        """The torch type an output is held in; fp16 becomes fp32 under the fp32 policy."""
        found = self.out_type(index)
        if found is None:
            raise self.fail("has no tensor output")
        return self.held(found.dtype)

    def held(self, dtype: str) -> torch.dtype:
        """The torch type that holds a MIL type under this policy."""
        return held(dtype, self.policy)

    def rounds(self, *names: str) -> bool:
        """Whether all these inputs that are given are fp16 and so is what is computed from them.

        False for a portable load, which has no use for blocks.
        """
        given = [t.dtype for name in names if (t := self.in_type(name)) is not None]
        return set(given) == {"fp16"} and self.policy != "fp32" and not self.portable

    def is_float(self, name: str = "x") -> bool:
        """Whether a tensor input has a floating type."""
        found = self.in_type(name)
        return found is not None and found.dtype in mil.FLOATS
