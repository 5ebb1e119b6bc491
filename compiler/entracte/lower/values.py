"""Weights and constants that fp16 cannot hold: refused, clamped or left to fp32.

Works on the exported program of a chunk, before coremltools sees it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec
from torch.fx import Node

from entracte.lower.errors import LowerError

__all__ = ["FP16_MAX", "MASKED", "check_numbers", "check_weights", "clamp_masks"]

FP16_MAX = 65504.0
MASKED = -3e4
"""What a masked attention score becomes in fp16: two of them still add up to a finite number, and
exp of it is 0. coremltools uses the same value for boolean masks."""

_aten = torch.ops.aten
_FILLING = {
    _aten.full.default: 1,
    _aten.full_like.default: 1,
    _aten.new_full.default: 2,
    _aten.scalar_tensor.default: 0,
    _aten.masked_fill.Scalar: 2,
    _aten.where.ScalarOther: 2,
    _aten.where.ScalarSelf: 1,
    _aten.where.Scalar: 2,
    _aten.mul.Tensor: 1,
    _aten.mul.Scalar: 1,
    _aten.add.Tensor: 1,
    _aten.constant_pad_nd.default: 2,
}
"""Operations that write masks -> position of the value. `mul`: `(1 - mask) * -1e9`."""
_SUBTRACTED = {
    _aten.mul.Tensor: 1,
    _aten.mul.Scalar: 1,
    _aten.div.Tensor: 1,
    _aten.sub.Tensor: 1,
}
"""The same of values that are as large as that, and positive: `scores - (1 - mask) * 1e9`,
`(mask - 1) * 1e9`."""


def check_weights(program: ExportedProgram) -> dict[str, float]:
    """Refuse NaN and infinity, which coremltools converts without a word.

    Minus infinity is allowed in buffers and constants: masks are stored that way.

    Returns:
        The lowest value of each, by its name.

    Raises:
        LowerError: naming the parameter, buffer or constant.
    """
    lowest = {}
    for spec in _weight_specs(program):
        low, high = _extremes(_tensor(program, spec))
        if math.isnan(low) or math.isnan(high):
            raise LowerError(f"weight `{spec.target}` contains NaN: the checkpoint is damaged")
        infinite_low = math.isinf(low) and spec.kind is InputKind.PARAMETER
        if math.isinf(high) or infinite_low:
            raise LowerError(
                f"weight `{spec.target}` contains infinity: the checkpoint is damaged, "
                "or was saved in fp16 after an overflow"
            )
        lowest[str(spec.target)] = low
    return lowest


_ARITHMETIC = frozenset({"add", "sub", "rsub", "mul", "floor_divide", "remainder", "fmod", "div"})
_INT32_MAX = 2**31 - 1


def check_numbers(program: ExportedProgram, places: Mapping[str, str]) -> None:
    """Refuse whole numbers that 32 bits do not hold, and types that packages do not have.

    Raises:
        LowerError: with the place in the model.
    """
    for node in program.graph.nodes:
        made = node.meta.get("val")
        if node.op != "call_function" or not isinstance(made, Tensor):
            continue
        where = places.get(node.name, f"node `{node.name}`")
        if made.dtype is torch.bfloat16:
            raise LowerError(
                f"{where}: its result is bfloat16, which packages do not have; write float32 or "
                "float16 there: the precision of a package is that of its stage"
            )
        wide = [a for a in node.args if isinstance(a, int) and abs(a) > _INT32_MAX]
        if wide and _is_whole(node) and _kind(node) in _ARITHMETIC:
            raise LowerError(
                f"{where}: {_kind(node)} with {wide[0]}: whole numbers in a package have 32 bits, "
                f"at most {_INT32_MAX}; compute this in a host step, or with smaller numbers"
            )


def _kind(node: Node) -> str:
    return str(node.target).split(".")[1] if "." in str(node.target) else ""


def clamp_masks(program: ExportedProgram, lowest: Mapping[str, float]) -> list[str]:
    """Replace mask values below fp16's range by `MASKED`, in place; `lowest` as from
    `check_weights`.

    A fully masked row gives NaN from -inf and a finite result from -3e4 (measured, section 1.5).

    Returns:
        The names of the nodes and constants changed.
    """
    changed = []
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        position = _FILLING.get(node.target)
        if position is not None and _clamp_argument(node, position):
            changed.append(node.name)
        position = _SUBTRACTED.get(node.target)
        if position is not None and _clamp_subtracted(node, position):
            changed.append(node.name)
    held = (s for s in _weight_specs(program) if s.kind is not InputKind.PARAMETER)
    low = (s for s in held if lowest[str(s.target)] < -FP16_MAX)
    return changed + [_clamp_tensor(program, spec) for spec in low]


def _weight_specs(program: ExportedProgram) -> list[InputSpec]:
    kinds = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)
    return [spec for spec in program.graph_signature.input_specs if spec.kind in kinds]


def _tensor(program: ExportedProgram, spec: InputSpec) -> Tensor:
    value = program.constants.get(spec.target)
    found: Tensor = program.state_dict[spec.target] if value is None else value
    return found


def _extremes(tensor: Tensor) -> tuple[float, float]:
    """(lowest, highest); NaN if there is one. One pass, no copy."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return 0.0, 0.0
    low, high = torch.aminmax(tensor.detach())
    return float(low), float(high)


def _clamp_argument(node: Node, position: int) -> bool:
    value: Any = node.args[position] if len(node.args) > position else None
    is_mask = isinstance(value, int | float) and value < -FP16_MAX and _meets_floats(node)
    if is_mask:
        node.update_arg(position, int(MASKED) if _is_whole(node) else MASKED)
    return is_mask


def _is_whole(node: Node) -> bool:
    made = node.meta.get("val")
    return isinstance(made, Tensor) and not made.is_floating_point()


def _meets_floats(node: Node) -> bool:
    """A whole number is as large as it is until it is added to what fp16 holds."""
    if not _is_whole(node):
        return True
    made = [user.meta.get("val") for user in node.users]
    return all(isinstance(v, Tensor) and v.is_floating_point() for v in made) and bool(made)


def _clamp_subtracted(node: Node, position: int) -> bool:
    value: Any = node.args[position] if len(node.args) > position else None
    if not isinstance(value, int | float) or value <= 0 or not _masks(node):
        return False
    if not _meets_floats(node):
        return False
    is_quotient = node.target is _aten.div.Tensor
    if (1 / value if is_quotient else value) <= FP16_MAX:
        return False
    least = int(MASKED) if _is_whole(node) else MASKED
    node.update_arg(position, -1 / MASKED if is_quotient else -least)
    return True


def _masks(node: Node) -> bool:
    """Whether a product with a large number lowers what it is added to."""
    if node.target is _aten.sub.Tensor:
        return True
    factor: Any = node.args[0]
    one = {_aten.sub.Tensor: 1, _aten.add.Tensor: -1}.get(factor.target)
    is_lowered = one is not None and factor.args[1] == one
    is_taken = all(_takes(user, node) for user in node.users)
    return is_taken or is_lowered


def _takes(user: Node, node: Node) -> bool:
    is_subtrahend = user.target is _aten.sub.Tensor and user.args[1] is node
    return is_subtrahend or user.target is _aten.neg.default


def _clamp_tensor(program: ExportedProgram, spec: InputSpec) -> str:
    tensor = _tensor(program, spec)
    clamped = torch.where(tensor < -FP16_MAX, MASKED, tensor)
    table = program.constants if spec.target in program.constants else program.state_dict
    table[spec.target] = clamped
    return str(spec.target)
