"""A package's ML program (MIL) as plain frozen values: no torch, no protobuf, no open file.

`reader` builds it, `info` measures it, `prepare` turns it into closures. Constant data stays where
it is: small immediates as bytes, weights as (file, offset) into the package's blobs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

DTYPE_BITS: Mapping[str, int] = {
    "bool": 8, "string": 0,
    "fp8e4m3fn": 8, "fp8e5m2": 8, "fp16": 16, "bf16": 16, "fp32": 32, "fp64": 64,
    "int4": 4, "int8": 8, "int16": 16, "int32": 32, "int64": 64,
    "uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6, "uint8": 8,
    "uint16": 16, "uint32": 32, "uint64": 64,
}  # fmt: skip
"""Bits of one stored element. A bool takes a byte."""

FLOATS = frozenset({"fp16", "bf16", "fp32", "fp64"})


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type and shape; a dimension is None where the package leaves it open."""

    dtype: str
    shape: tuple[int | None, ...]
    ranked: bool = True
    """False where even the number of dimensions is open; `shape` is then (None,)."""

    @property
    def elements(self) -> int | None:
        """Number of elements, None when a dimension is open."""
        return None if None in self.shape else math.prod(self.shape)  # type: ignore[arg-type]

    @property
    def nbytes(self) -> int | None:
        """Bytes when stored densely, None when a dimension is open."""
        count = self.elements
        return None if count is None else (count * DTYPE_BITS[self.dtype] + 7) // 8


@dataclass(frozen=True, slots=True)
class ListType:
    """A list of equal tensors; `element` is None where the package does not say."""

    element: TensorType | None
    length: int | None


@dataclass(frozen=True, slots=True)
class StateType:
    """A tensor that outlives a call (iOS18)."""

    wrapped: TensorType


@dataclass(frozen=True, slots=True)
class OtherType:
    """A tuple or a dictionary; only `classify` makes one."""

    kind: str


Type = TensorType | ListType | StateType | OtherType


@dataclass(frozen=True, slots=True)
class Value:
    """A constant: exactly one of `data` (little endian), `strings`, `items`, `blob` is set."""

    type: Type
    data: bytes | None = field(default=None, repr=False)
    strings: tuple[str, ...] | None = None
    items: tuple[Value, ...] | None = None
    blob: tuple[str, int] | None = None
    """File name as the program writes it, byte offset of the record in it."""


Binding = str | Value


@dataclass(frozen=True, slots=True)
class Named:
    """A name with its type."""

    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class Operation:
    """One MIL operation. `inputs` holds attributes too: MIL uses either place for one thing."""

    type: str
    name: str
    inputs: Mapping[str, tuple[Binding, ...]]
    outputs: tuple[Named, ...]
    blocks: tuple[Block, ...] = ()

    @property
    def unpacks(self) -> bool:
        """Whether it makes a weight of what is stored of it (compressed): Core ML's `constexpr_`
        operations, which are evaluated when a model is loaded."""
        return self.type.startswith("constexpr_")


@dataclass(frozen=True, slots=True)
class Block:
    """Operations in order, with the names they receive and hand on."""

    inputs: tuple[Named, ...]
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Function:
    """One entry point. `opset` is the deployment generation: 15 for iOS15, ... 18 for iOS18."""

    name: str
    inputs: tuple[Named, ...]
    opset: int
    block: Block


@dataclass(frozen=True, slots=True)
class Image:
    """How an image input is turned into the tensor that the program declares."""

    width: int
    height: int
    color: str
    """'RGB', 'BGR', 'GRAYSCALE' or 'GRAYSCALE_FLOAT16'."""


@dataclass(frozen=True, slots=True)
class Described:
    """An output as the model description has it, which is what Core ML hands to its caller."""

    name: str
    array: str = ""
    """Core ML's array type ('FLOAT16', 'FLOAT32', 'DOUBLE', 'INT32', ...), empty for another."""
    image: Image | None = None


@dataclass(frozen=True, slots=True)
class Interface:
    """What the model description adds to a function's types."""

    images: Mapping[str, Image]
    optional: Mapping[str, float]
    """Inputs that may be left out, with the value that replaces them."""
    flexible: Mapping[str, Flexible]
    outputs: tuple[Described, ...] = ()


@dataclass(frozen=True, slots=True)
class Flexible:
    """Shapes an input may take: one of `enumerated`, or each dimension within `ranges`."""

    enumerated: tuple[tuple[int, ...], ...] = ()
    ranges: tuple[tuple[int, int], ...] = ()
    """(lowest, highest) of each dimension; highest -1 means unbounded."""
    default: tuple[int, ...] = ()
    """The shape at which Core ML checks the program when it loads."""


@dataclass(frozen=True, slots=True)
class Program:
    """A package as read: functions by name, their interfaces, and the default one's name."""

    package: str
    model_folder: str
    functions: Mapping[str, Function]
    interfaces: Mapping[str, Interface]
    default: str
