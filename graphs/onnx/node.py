"""One node as the operators' rows see it: its attributes and what is known of its inputs.

What a row does not read is refused, so nothing is ignored without a word: an attribute that no
row asks for and that is not its default, and inputs beyond those that the row takes.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from torch import Tensor

from entracte.graphs.onnx.faults import OnnxFault, shown

if TYPE_CHECKING:
    from onnx import NodeProto
    from onnx.defs import OpSchema

__all__ = ["MOST_AXES", "MOST_SIZE", "Compute", "Names", "Node", "Rule", "Value"]

MOST_SIZE = 1 << 20
"""Of an axis that is written out element by element, of a window, of padding."""
MOST_AXES = 64
"""Of any value: what is done with shapes takes more than twice as long for twice as many."""

Compute = Callable[..., Any]
"""The inputs in order, None for those that are absent or were read as constants -> the output, or
a tuple of them. It makes tensors of constant shape, and no choice depends on values."""


@dataclass(frozen=True)
class Value:
    """What is known of a value while the module is built."""

    name: str
    """In the file."""
    tensor: Tensor
    """With numbers if it is a constant, else a fake one: a shape and a type."""
    is_constant: bool
    key: int
    """Of its own, also where an inner graph uses a name again."""
    kind: str = ""
    """The type that the file stores a constant in, where that is known."""


Names = MutableMapping[str, Value]
"""What the names of a graph, and of those around it, stand for."""


@dataclass
class Node:
    """A node whose inputs have shapes."""

    proto: NodeProto
    schema: OpSchema
    opset: int
    place: str
    values: tuple[Value | None, ...]
    attributes: dict[str, Any]
    """As given; tensors as torch tensors."""
    used: set[str] = field(default_factory=set)
    constants: set[int] = field(default_factory=set)
    """Inputs that were read as constants."""

    @property
    def outputs(self) -> int:
        """How many outputs the file gives a name."""
        named = [i for i, name in enumerate(self.proto.output, 1) if name]
        return max(named, default=0)

    def fail(self, message: str) -> NoReturn:
        """Refuse this node."""
        raise OnnxFault(f"{self.place}: {message}")

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute's value: as given, else the operator's default, else `default`."""
        self.used.add(name)
        if name in self.attributes:
            return self.attributes[name]
        known = self.default(name)
        return default if known is None else known

    def default(self, name: str) -> Any:
        """What the operator's definition says of an attribute that is not given."""
        from onnx import helper

        known = self.schema.attributes.get(name)
        if known is None or not known.default_value.type:
            return None
        return decoded(helper.get_attribute_value(known.default_value))

    def only(self, name: str, allowed: Any) -> None:
        """Refuse an attribute that is anything else."""
        given = self.attribute(name)
        if given is not None and given != allowed:
            self.fail(f"{name}={given!r} is not carried out, only {allowed!r}")

    def has(self, index: int) -> bool:
        """Whether this input is given."""
        return index < len(self.values) and self.values[index] is not None

    def value(self, index: int) -> Value:
        """An input that must be given."""
        found = self.values[index] if index < len(self.values) else None
        if found is None:
            self.fail(f"has no input {index + 1}")
        return found

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """Of an input."""
        return tuple(self.value(index).tensor.shape)

    def rank(self, index: int = 0) -> int:
        """Of an input."""
        return len(self.shape(index))

    def axis(self, given: int, rank: int | None = None) -> int:
        """An axis counted from the front. Raises `OnnxFault`."""
        rank = self.rank() if rank is None else rank
        if not -rank <= given < max(rank, 1):
            self.fail(f"axis {given} of a tensor of {rank} axes")
        return given % rank if rank else 0

    def is_constant(self, index: int) -> bool:
        """Whether an input is there and known now."""
        value = self.values[index] if index < len(self.values) else None
        return value is not None and value.is_constant

    def constant(self, index: int) -> Tensor:
        """The numbers of an input, which must be known now."""
        value = self.value(index)
        if not value.is_constant:
            self.fail(
                f"its input {shown(value.name)!r} must be known when compiling: shapes, axes, "
                "indices of slices and conditions may depend on shapes and constants, not on "
                "inputs' values (perhaps an input that `values` could fix)"
            )
        self.constants.add(index)
        return value.tensor

    def ints(self, index: int) -> list[int]:
        """Whole numbers of an input, known now."""
        return [int(n) for n in self.constant(index).flatten().tolist()]

    def sizes(self, index: int) -> list[int]:
        """What is said of each axis, known now."""
        if self.value(index).tensor.numel() > MOST_AXES:
            self.fail(f"speaks of more than {MOST_AXES} axes")
        return self.ints(index)

    def scalar(self, index: int) -> Any:
        """The one number of an input, known now."""
        tensor = self.constant(index)
        if tensor.numel() != 1:
            self.fail(f"its input {index + 1} has {tensor.numel()} numbers instead of one")
        return tensor.item()

    def check_sizes(self, *sizes: int) -> None:
        """Refuse sizes that only a damaged or hostile file has, before anything is made of them."""
        for size in sizes:
            if size > MOST_SIZE:
                self.fail(f"has a size of {size}; at most {MOST_SIZE} are carried out")

    def check_all_used(self) -> None:
        """Refuse attributes that the row did not ask for."""
        for name in sorted(set(self.attributes) - self.used):
            if self.attributes[name] != self.default(name):
                self.fail(f"the attribute {shown(name)!r} is not carried out")

    def one_output(self) -> None:
        """Refuse further outputs (statistics, masks, indices) that somebody may read."""
        if self.outputs > 1:
            self.fail(f"its output {shown(self.proto.output[1])!r} is not carried out")


def decoded(value: Any) -> Any:
    """Texts of attributes are bytes in the file."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list):
        return [decoded(v) for v in value]
    return value


Rule = Callable[[Node], Compute]
"""A row of the table: what a node computes. Raises `OnnxFault`."""
