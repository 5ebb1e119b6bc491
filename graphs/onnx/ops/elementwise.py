"""Operators that compute each element from those at its place."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from entracte.graphs.onnx.node import Compute, Node, Rule
from entracte.graphs.onnx.numbers import KINDS, type_name

__all__ = ["ROWS"]


def plain(function: Callable[..., Tensor]) -> Rule:
    """The inputs as they are."""
    return lambda node: function


def binary(function: Callable[[Any, Any], Any]) -> Rule:
    """Two inputs, broadcast. A constant of one element is bound as a number."""

    def row(node: Node) -> Compute:
        numbers = [_number(node, 0, 1), _number(node, 1, 0)]
        if node.is_constant(0) and node.is_constant(1):
            return function
        first, second = (None if n is None else node.scalar(i) for i, n in enumerate(numbers))
        if first is not None:
            return lambda a, b: function(torch.full_like(b, first), b)
        if second is not None:
            return lambda a, b: function(a, second)
        return function

    return row


def _number(node: Node, index: int, other: int) -> Tensor | None:
    """An input that is one number and does not widen the other one."""
    value = node.value(index)
    small = value.is_constant and value.tensor.numel() == 1 and value.tensor.dim() == 0
    wide = value.is_constant and value.tensor.numel() == 1
    fits = small or (wide and value.tensor.dim() <= node.rank(other))
    return value.tensor if fits and not node.is_constant(other) else None


def _commutes(function: Callable[[Any, Any], Any]) -> Rule:
    def row(node: Node) -> Compute:
        if _number(node, 0, 1) is not None:
            number = node.scalar(0)
            return lambda a, b: function(b, number)
        return binary(function)(node)

    return row


def _subtract(node: Node) -> Compute:
    if _number(node, 0, 1) is not None:
        number = node.scalar(0)
        return lambda a, b: number - b
    return binary(torch.sub)(node)


def _divide(node: Node) -> Compute:
    if not node.value(0).tensor.is_floating_point():
        return binary(lambda a, b: torch.div(a, b, rounding_mode="trunc"))(node)
    if _number(node, 0, 1) is not None:
        number = node.scalar(0)
        return lambda a, b: number / b
    return binary(torch.div)(node)


def _power(node: Node) -> Compute:
    dtype = node.value(0).tensor.dtype
    if node.is_constant(1) and node.value(1).tensor.numel() == 1 and node.rank(1) <= node.rank(0):
        exponent = node.scalar(1)
        if dtype.is_floating_point or exponent == int(exponent) >= 0:
            whole = exponent == int(exponent)
            return lambda a, b: torch.pow(a, int(exponent) if whole else exponent)
    return lambda a, b: torch.pow(a.float(), b.float()).to(dtype)


def _modulo(node: Node) -> Compute:
    is_c = bool(node.attribute("fmod", 0))
    if not is_c and node.value(0).tensor.is_floating_point():
        node.fail("fmod=0 is for whole numbers")
    return binary(torch.fmod if is_c else torch.remainder)(node)


def _variadic(function: Callable[[Any, Any], Any]) -> Rule:
    return lambda node: lambda *inputs: reduce(function, inputs)


def _extreme(function: Callable[[Any, Any], Any], bound: str) -> Rule:
    """Of two, one a number: a bound."""

    def row(node: Node) -> Compute:
        if len(node.values) == 2:
            for i in (0, 1):
                if _number(node, i, 1 - i) is not None:
                    limit = {bound: node.scalar(i)}
                    return lambda *inputs, other=1 - i: torch.clamp(inputs[other], **limit)
        return _variadic(function)(node)

    return row


def _mean(node: Node) -> Compute:
    count = len(node.values)
    return lambda *inputs: reduce(torch.add, inputs) / count


def _clip(node: Node) -> Compute:
    if node.opset < 11:
        low, high = node.attribute("min"), node.attribute("max")
        return lambda x: torch.clamp(x, low, high)
    if all(node.is_constant(i) for i in (1, 2) if node.has(i)):
        low, high = (node.scalar(i) if node.has(i) else None for i in (1, 2))
        if low is None and high is None:
            return lambda x, *_: x
        if low is not None and high is not None and low > high:
            return lambda x, *_: torch.full_like(x, high)
        return lambda x, *_: torch.clamp(x, low, high)

    def compute(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
        x = x if low is None else torch.maximum(x, low)
        return x if high is None else torch.minimum(x, high)

    return compute


def _cast(node: Node) -> Compute:
    # Saturating is for float8, and rounding for float4: neither is among the kinds.
    node.attribute("saturate")
    node.attribute("round_mode")
    if node.proto.op_type == "CastLike":
        target = node.value(1).tensor.dtype
        node.constants.add(1)
        return lambda x, _: _as(x, target)
    name = type_name(node.attribute("to"))
    if name not in KINDS:
        node.fail(f"casts to {name}; known: {', '.join(KINDS)}")
    narrow = {"INT8": torch.int8, "UINT8": torch.uint8, "INT16": torch.int16}.get(name)
    if narrow is None:
        return lambda x: _as(x, KINDS[name])
    if node.is_constant(0):
        return lambda x: x.to(torch.int64).to(narrow)
    if node.value(0).tensor.dtype is not torch.bool:
        node.fail(f"casts values of inputs to {name}, which wraps around; the device has 32 bits")
    return lambda x: x.to(torch.int64)


def _as(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x != 0 if dtype is torch.bool and x.dtype is not torch.bool else x.to(dtype)


def _attributed(function: Callable[..., Tensor], *names: str) -> Rule:
    """A function of the input and some attributes."""

    def row(node: Node) -> Compute:
        numbers = [node.attribute(name) for name in names]
        return lambda x: function(x, *numbers)

    return row


def _asinh(x: Tensor) -> Tensor:
    return torch.sign(x) * torch.log(torch.abs(x) + torch.sqrt(x * x + 1))


def _elu(x: Tensor, alpha: float) -> Tensor:
    return torch.where(x > 0, x, alpha * (torch.exp(torch.clamp(x, max=0.0)) - 1))


def _selu(x: Tensor, alpha: float, gamma: float) -> Tensor:
    return gamma * _elu(x, alpha)


def _celu(x: Tensor, alpha: float) -> Tensor:
    return torch.clamp(x, min=0.0) + alpha * (torch.exp(torch.clamp(x, max=0.0) / alpha) - 1)


def _hard_sigmoid(x: Tensor, alpha: float, beta: float) -> Tensor:
    return torch.clamp(x * alpha + beta, 0.0, 1.0)


def _shrink(x: Tensor, bias: float, lambd: float) -> Tensor:
    zero = torch.zeros_like(x)
    return torch.where(x < -lambd, x + bias, torch.where(x > lambd, x - bias, zero))


def _gelu(node: Node) -> Compute:
    approximate = node.attribute("approximate", "none")
    if approximate not in ("none", "tanh"):
        node.fail(f"approximate={approximate!r} is not carried out")
    return lambda x: F.gelu(x, approximate=approximate)


def _prelu(node: Node) -> Compute:
    return lambda x, slope: torch.clamp(x, min=0) + slope * torch.clamp(x, max=0)


def _dropout(node: Node) -> Compute:
    node.one_output()
    for name in ("ratio", "seed"):
        node.attribute(name)  # of training
    if node.has(2) and node.scalar(2):
        node.fail("training_mode is on; export the model for inference")
    if node.has(1):
        node.constants.add(1)
    return lambda x, *_: x


def _is_inf(node: Node) -> Compute:
    negative, positive = node.attribute("detect_negative"), node.attribute("detect_positive")
    inf = float("inf")
    if negative and positive:
        return lambda x: torch.abs(x) == inf
    return lambda x: (x == inf) if positive else (x == -inf) if negative else (x != x)


def _where(node: Node) -> Compute:
    """Constants of one element are bound as numbers: masks are full of them."""
    shape = torch.broadcast_shapes(*(node.shape(i) for i in range(3)))
    numbers = {
        i: node.scalar(i)
        for i in (1, 2)
        if node.is_constant(i)
        and node.value(i).tensor.numel() == 1
        and torch.broadcast_shapes(node.shape(0), node.shape(3 - i)) == shape
        and not node.is_constant(3 - i)
    }
    return lambda condition, *both: torch.where(
        condition, *(numbers.get(i, b) for i, b in enumerate(both, 1))
    )


ROWS: dict[str, Rule] = {
    "Abs": plain(torch.abs),
    "Acos": plain(torch.acos),
    "Acosh": plain(lambda x: torch.log(x + torch.sqrt(x * x - 1))),
    "Add": _commutes(torch.add),
    "And": plain(torch.logical_and),
    "Asin": plain(torch.asin),
    "Asinh": plain(_asinh),
    "Atan": plain(torch.atan),
    "Atanh": plain(torch.atanh),
    "Cast": _cast,
    "CastLike": _cast,
    "Ceil": plain(torch.ceil),
    "Celu": _attributed(_celu, "alpha"),
    "Clip": _clip,
    "Cos": plain(torch.cos),
    "Cosh": plain(torch.cosh),
    "Div": _divide,
    "Dropout": _dropout,
    "Elu": _attributed(_elu, "alpha"),
    "Equal": binary(torch.eq),
    "Erf": plain(torch.erf),
    "Exp": plain(torch.exp),
    "Floor": plain(torch.floor),
    "Gelu": _gelu,
    "Greater": binary(torch.gt),
    "GreaterOrEqual": binary(torch.ge),
    "HardSigmoid": _attributed(_hard_sigmoid, "alpha", "beta"),
    "HardSwish": plain(lambda x: x * torch.clamp(x / 6 + 0.5, 0.0, 1.0)),
    "Identity": plain(lambda x: x),
    "IsInf": _is_inf,
    "IsNaN": plain(lambda x: x != x),
    "LeakyRelu": _attributed(F.leaky_relu, "alpha"),
    "Less": binary(torch.lt),
    "LessOrEqual": binary(torch.le),
    "Log": plain(torch.log),
    "Max": _extreme(torch.maximum, "min"),
    "Mean": _mean,
    "Min": _extreme(torch.minimum, "max"),
    "Mish": plain(F.mish),
    "Mod": _modulo,
    "Mul": _commutes(torch.mul),
    "Neg": plain(torch.neg),
    "Not": plain(torch.logical_not),
    "Or": plain(torch.logical_or),
    "PRelu": _prelu,
    "Pow": _power,
    "Reciprocal": plain(lambda x: 1.0 / x),
    "Relu": plain(torch.relu),
    "Round": plain(torch.round),
    "Selu": _attributed(_selu, "alpha", "gamma"),
    "Shrink": _attributed(_shrink, "bias", "lambd"),
    "Sigmoid": plain(torch.sigmoid),
    "Sign": plain(torch.sign),
    "Sin": plain(torch.sin),
    "Sinh": plain(torch.sinh),
    "Softplus": plain(F.softplus),
    "Softsign": plain(lambda x: x / (1 + torch.abs(x))),
    "Sqrt": plain(torch.sqrt),
    "Sub": _subtract,
    "Sum": _variadic(torch.add),
    "Tan": plain(torch.tan),
    "Tanh": plain(torch.tanh),
    "ThresholdedRelu": _attributed(
        lambda x, alpha: torch.where(x > alpha, x, torch.zeros_like(x)), "alpha"
    ),
    "Where": _where,
    "Xor": plain(torch.logical_xor),
}
