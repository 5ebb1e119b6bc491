"""What a handler's builder may ask about the operation it is built for."""

from __future__ import annotations

import os
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from entracte.reference import mil
from entracte.reference.errors import PackageError

if TYPE_CHECKING:
    from entracte.reference.prepare import Compiler

TORCH = {
    "bool": torch.bool, "fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32,
    "fp64": torch.float64, "int8": torch.int8, "int16": torch.int16, "int32": torch.int32,
    "int64": torch.int64, "uint8": torch.uint8,
    # torch has almost no kernels for these, so they are held in the next wider signed type.
    "uint16": torch.int32, "uint32": torch.int64, "uint64": torch.int64,
    "int4": torch.int8, "uint1": torch.uint8, "uint2": torch.uint8, "uint3": torch.uint8,
    "uint4": torch.uint8, "uint6": torch.uint8,
    "fp8e4m3fn": torch.float8_e4m3fn, "fp8e5m2": torch.float8_e5m2,
}  # fmt: skip

NUMPY = {
    "bool": np.bool_, "fp16": np.float16, "fp32": np.float32, "fp64": np.float64,
    "int8": np.int8, "int16": np.int16, "int32": np.int32, "int64": np.int64,
    "uint8": np.uint8, "uint16": np.uint16, "uint32": np.uint32, "uint64": np.uint64,
}  # fmt: skip

MEMORY_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
ALLOWED_BYTES: ContextVar[int] = ContextVar("allowed_bytes", default=MEMORY_BYTES)
"""Largest tensor that may be made now; `guard` lowers it for packages from strangers."""


def check_elements(count: int, what: str) -> None:
    """Refuse a result that is not allowed or cannot fit the machine, before it is allocated.

    Raises:
        ValueError: `count` elements of two bytes exceed `ALLOWED_BYTES`.
    """
    if count < 0 or 2 * count > ALLOWED_BYTES.get():
        where = "this machine can hold" if ALLOWED_BYTES.get() == MEMORY_BYTES else "is allowed"
        raise ValueError(f"{what} would have {count} elements, more than {where}")


def plain_value(value: mil.Value) -> Any:
    """A constant as Python: a scalar, a (nested) list, or strings.

    Raises:
        ValueError: it has no plain form (a weight in a file).
    """
    if value.strings is not None:
        scalar = isinstance(value.type, mil.TensorType) and value.type.shape == ()
        return value.strings[0] if scalar else list(value.strings)
    if value.items is not None:
        return [plain_value(item) for item in value.items]
    if value.data is None or not isinstance(value.type, mil.TensorType):
        raise ValueError("not an immediate constant")
    array: np.ndarray = np.frombuffer(value.data, NUMPY[value.type.dtype])
    return array.reshape(value.type.shape).tolist()  # type: ignore[arg-type]


@dataclass(slots=True)
class Bind:
    """One operation at load time."""

    compiler: Compiler
    operation: mil.Operation
    opset: int
    policy: str
    strict: bool
    kind: Any = field(default=None)

    def fail(self, message: str) -> PackageError:
        """An error that names package, function and operation."""
        return self.compiler.fail(f"{self.operation.type}: {message}", self.operation.name)

    def has(self, name: str) -> bool:
        """Whether the operation gives this input."""
        return bool(self.operation.inputs.get(name))

    def const(self, name: str, default: Any = None) -> Any:
        """A constant input as a Python value; `default` when it is not given.

        Raises:
            PackageError: the input is computed, but the operation needs it at load.
        """
        bindings = self.operation.inputs.get(name)
        if not bindings:
            return default
        plains = [self._plain(name, self.compiler.constant(b)) for b in bindings]
        return plains[0] if len(plains) == 1 else plains

    def _plain(self, name: str, value: mil.Value | None) -> Any:
        if value is None:
            raise self.fail(f"input {name!r} must be a constant")
        try:
            if value.blob is not None:
                return self.compiler.weights.tensor(value, self.operation.name).tolist()
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
        found = self.compiler.type_of(bindings[0]) if bindings else None
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
        if dtype == "fp16" and self.policy == "fp32":
            return torch.float32
        return TORCH[dtype]

    def rounds(self, *names: str) -> bool:
        """Whether all these inputs that are given are fp16 and so is what is computed from them.

        False for a portable load, which has no use for blocks.
        """
        given = [t.dtype for name in names if (t := self.in_type(name)) is not None]
        return set(given) == {"fp16"} and self.policy != "fp32" and not self.compiler.portable

    def is_float(self, name: str = "x") -> bool:
        """Whether a tensor input has a floating type."""
        found = self.in_type(name)
        return found is not None and found.dtype in mil.FLOATS
