"""What an operation's values are while it runs: shared with others, and of which type."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, fx

from entracte.frontend.backend import Backend, Sharing
from entracte.frontend.precision import fp32_operations
from entracte.ir import DType, Memory, Order, Port, Stage
from entracte.trace.exported import Exported
from entracte.trace.flops import kind_of, shape_of

__all__ = ["Types", "memory_of", "order_of"]


def memory_of(node: fx.Node, sharing: Sharing) -> Memory:
    """Where the result of an ATen operation is."""
    kind = kind_of(node)
    if kind in sharing.views:
        return Memory.SHARED
    if kind in sharing.slices:
        return Memory.EITHER
    if kind in sharing.reshapes:
        return Memory.RESHAPED
    return Memory.DOUBLE if _is_resampled(node, sharing) else Memory.OWN


def order_of(node: fx.Node, sharing: Sharing) -> Order:
    """Whether its elements lie in order."""
    kind = kind_of(node)
    if kind in sharing.reshapes or kind in sharing.ordering or _is_resampled(node, sharing):
        return Order.MADE
    return Order.KEPT if kind in sharing.keeping else Order.LOST


def _is_resampled(node: fx.Node, sharing: Sharing) -> bool:
    """With matrices, not with an operation for whole factors."""
    kind = kind_of(node)
    if kind not in sharing.whole_resampling:
        return kind in sharing.resampling
    sizes = zip(shape_of(node)[2:], shape_of(node.args[0])[2:], strict=True)
    return any(wanted % given for wanted, given in sizes)


@dataclass(frozen=True)
class Types:
    """In how many bytes an element is kept, and in how many it is computed with.

    An fp16 program computes some operations in fp32, and some values are kept in fp32; whoever
    reads them as the other reads a copy.
    """

    width_bytes: int
    """Of the stage's precision."""
    kept: Mapping[str, int]
    """Node -> bytes of an element, where those are others than the stage's."""
    wide: frozenset[str]
    """Names of operations that an fp16 program computes in fp32."""
    value_of: Mapping[str, str]
    unfolded: frozenset[str]
    """Constants that are computed when the package runs, by name of their node."""

    @classmethod
    def of(
        cls,
        exported: Exported,
        stage: Stage,
        ports: Mapping[str, Port],
        backend: Backend,
        value_of: Mapping[str, str],
    ) -> "Types":
        """Those of a stage's function whose inputs come by `ports`."""
        given = {node: ports[name].dtype for node, name in exported.input_of.items()}
        wide_inputs = {node for node, dtype in given.items() if dtype is DType.FP32}
        kept = {node: dtype.width_bytes for node, dtype in given.items()}
        kept |= dict.fromkeys(exported.fp32_nodes, DType.FP32.width_bytes)
        wide: frozenset[str] = frozenset()
        if stage.precision == "fp16":
            known = exported.fp32_nodes | wide_inputs
            wide = fp32_operations(exported.program, backend.aten_islands, known)
            wide |= exported.fp32_nodes
        width_bytes = DType(stage.precision).width_bytes
        return cls(width_bytes, kept, wide, value_of, _unfolded(exported, backend))

    def output_bytes(self, node: fx.Node) -> int:
        """Of all that a node makes: in fp32 or int32, or at the stage's precision."""
        value = node.meta.get("val")
        made = value if isinstance(value, tuple | list) else (value,)
        tensors = [tensor for tensor in made if isinstance(tensor, Tensor)]
        width = self._kept(node)
        return sum(t.numel() * (width if t.dtype.is_floating_point else 4) for t in tensors)

    def unfolded_bytes(self, node: fx.Node) -> int:
        """Of what it reads that depends on no input, and is computed all the same."""
        read = [s for s in node.all_input_nodes if s.name in self.unfolded]
        return sum(self.output_bytes(source) for source in read)

    def casts(self, node: fx.Node) -> tuple[tuple[str, int], ...]:
        """(value, bytes) of the copies that an operation reads."""
        width = self._computed(node)
        return tuple(
            (self.value_of[source.name], elements * width)
            for source in node.all_input_nodes
            if source.name in self.value_of
            and (elements := _float_elements(source))
            and self._kept(source) != width
        )

    def unrounded_bytes(self, node: fx.Node) -> int:
        """Of the result in the type it is computed in, if it is kept in another."""
        width = self._computed(node)
        return 0 if width == self._kept(node) else _float_elements(node) * width

    def _kept(self, node: fx.Node) -> int:
        return self.kept.get(node.name, self.width_bytes)

    def _computed(self, node: fx.Node) -> int:
        return DType.FP32.width_bytes if node.name in self.wide else self.width_bytes


def _unfolded(exported: Exported, backend: Backend) -> frozenset[str]:
    found: set[str] = set()
    for node in exported.calls:
        is_computed = kind_of(node) in backend.unfolded
        is_computed |= any(source.name in found for source in node.all_input_nodes)
        if node.name in exported.constants and is_computed:
            found.add(node.name)
    return frozenset(found)


def _float_elements(node: fx.Node) -> int:
    """Of the tensor that a node makes; 0 for whole numbers and for several tensors."""
    value = node.meta.get("val")
    is_float = isinstance(value, Tensor) and value.dtype.is_floating_point
    return value.numel() if is_float else 0
