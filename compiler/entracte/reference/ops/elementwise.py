"""Elementwise unary and binary operations, casts and selection."""

from __future__ import annotations

import torch

from entracte.reference.bind import Bind
from entracte.reference.registry import Compute, Kind, op, plain

for _name in ("abs", "acos", "asin", "atan", "atanh", "ceil", "cosh", "exp", "exp2", "floor",
              "sinh", "tan", "tanh"):  # fmt: skip
    plain(_name, "x", getattr(torch, _name))

# The same value as torch.square, which is 19 times slower in half.
plain("square", "x", lambda x: x * x)

# Not bit-equal in half: torch's erf drops denormals, the others are a last place off now and then.
for _name in ("cos", "erf", "sin", "sqrt"):
    plain(_name, "x", getattr(torch, _name), Kind.WIDE)

# torch's sign of NaN is 0, which would hide it; coremltools' is NaN.
plain("sign", "x", lambda x: torch.where(x == x, torch.sign(x), x))

# Core ML rounds halves to even, as numpy does.
plain("round", "x", torch.round)

for _name, _run in (
    ("add", torch.add), ("sub", torch.sub), ("mul", torch.mul),
    ("maximum", torch.maximum), ("minimum", torch.minimum),
):  # fmt: skip
    plain(_name, "x y", _run)

plain("mod", "x y", torch.remainder, Kind.WIDE)

for _name, _run in (
    ("equal", torch.eq), ("not_equal", torch.ne), ("greater", torch.gt),
    ("greater_equal", torch.ge), ("less", torch.lt), ("less_equal", torch.le),
    ("logical_and", torch.logical_and), ("logical_or", torch.logical_or),
    ("logical_xor", torch.logical_xor),
):  # fmt: skip
    plain(_name, "x y", _run, Kind.MOVE)

plain("logical_not", "x", torch.logical_not, Kind.MOVE)


@op("real_div", "x y", Kind.EXACT)
def real_div(bind: Bind) -> Compute:
    """True quotient of broadcast x and y; of integers truncated to the declared integer type."""
    if bind.is_float("x"):
        return torch.div
    dtype = bind.out_dtype()
    return lambda x, y: torch.true_divide(x, y).to(dtype)


@op("floor_div", "x y", Kind.WIDE)
def floor_div(bind: Bind) -> Compute:
    """Quotient of broadcast x and y, rounded towards minus infinity."""
    return torch.floor_divide


@op("pow", "x y", Kind.EXACT)
def power(bind: Bind) -> Compute:
    """x to the power y, broadcast; a negative integer power of an integer is truncated."""
    if bind.is_float("x"):
        # One product, rounded once; torch's power of a tensor is a last place off now and then.
        return torch.pow if not _is_two(bind) else lambda x, y: x * x
    dtype = bind.out_dtype()
    return lambda x, y: torch.pow(x.double(), y.double()).to(dtype)


def _is_two(bind: Bind) -> bool:
    """Whether the exponent is the constant 2, of a shape that does not widen the base's."""
    kind = bind.in_type("y")
    if kind is None or kind.shape != () or not bind.is_constant("y"):
        return False
    return bool(bind.const("y") == 2)


@op("log", "x")
def log(bind: Bind) -> Compute:
    """Natural logarithm of x + epsilon; elementwise on any shape."""
    epsilon = bind.const("epsilon", 1e-45)
    return lambda x: torch.log(x + epsilon)


@op("inverse", "x")
def inverse(bind: Bind) -> Compute:
    """1 / (x + epsilon); elementwise on any shape."""
    epsilon = bind.const("epsilon", 1e-4)
    return lambda x: torch.reciprocal(x + epsilon)


@op("rsqrt", "x")
def rsqrt(bind: Bind) -> Compute:
    """1 / sqrt(x + epsilon); elementwise on any shape."""
    epsilon = bind.const("epsilon", 1e-12)
    return lambda x: torch.rsqrt(x + epsilon)


@op("threshold", "x", Kind.EXACT)
def threshold(bind: Bind) -> Compute:
    """max(x, alpha); elementwise on any shape."""
    alpha = bind.const("alpha")
    return lambda x: torch.clamp(x, min=alpha)


@op("clip", "x", Kind.EXACT)
def clip(bind: Bind) -> Compute:
    """min(max(x, alpha), beta); elementwise on any shape."""
    alpha, beta = bind.const("alpha"), bind.const("beta")
    return lambda x: torch.clamp(x, alpha, beta)


@op("select", "cond a b", Kind.MOVE)
def select(bind: Bind) -> Compute:
    """Elements of `a` where `cond` holds, else of `b`; the three are broadcast."""
    found = bind.in_type("cond")
    if found is not None and found.dtype == "bool":
        return torch.where
    return lambda cond, a, b: torch.where(cond != 0, a, b)


@op("cast", "x", Kind.RAW)
def cast(bind: Bind) -> Compute:
    """Change the element type, on any shape; floats are truncated towards zero, unsigned wrap."""
    target = bind.const("dtype")
    try:
        dtype = bind.held(target)
    except KeyError:
        raise bind.fail(f"cannot cast to {target!r}") from None
    if target == "bool":
        return lambda x: x != 0
    if target == "uint16":
        return lambda x: x.to(dtype) & 0xFFFF
    if target in ("uint8", "int8") and bind.is_float("x"):
        # Straight from a float, an out-of-range value is undefined in C; wrap it as C does for int.
        return lambda x: x.to(torch.int32).to(dtype)
    return lambda x: x.to(dtype)
