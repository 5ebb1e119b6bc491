"""Our cures for coremltools 9: registrations and overrides, never edits of the installed package.

Each cure answers one measured fault (`reference/conversion.md`, 1.2 and 1.3; its number is in the
function's docstring) and has a test that fails as soon as coremltools no longer needs it.
`install_cures` applies all of them, once per process.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from entracte.lower.constants import cure_constant_types, cure_outer_types, cure_partly_known
from entracte.lower.errors import LowerError
from entracte.lower.islands import MADE_FROM
from entracte.lower.pooling import cure_pooling
from entracte.lower.quicker import QUICKER
from entracte.lower.quiet import coremltools
from entracte.lower.registry import arguments as _arguments
from entracte.lower.registry import ops as _ops
from entracte.lower.registry import register as _register
from entracte.lower.registry import table as _registry
from entracte.lower.registry import value as _value
from entracte.lower.resample import cure_resampling
from entracte.lower.rounding import extremes

__all__ = ["FAILED_NODE", "SUPPORTED_MAJOR", "install_cures", "is_convertible"]

FAILED_NODE = "_entracte_node"
"""Attribute of an error that left a conversion: (node, operation)."""

SUPPORTED_MAJOR = "9"
"""The cures override internals of coremltools 9.x; another version needs another look."""

_FP16_MAX = 65504.0
_INFINITE = 1e38
"""coremltools' own line between "large" and "as good as infinite" (`fp16_overflow`)."""


def is_convertible(target: object) -> bool:
    """Whether coremltools, cured, has a conversion for the ATen operation `target`.

    Not for einsum: there is one, but it does not know `...`.
    """
    install_cures()
    from coremltools.converters.mil.frontend.torch.utils import sanitize_op_kind

    name = target if isinstance(target, str) else getattr(target, "__name__", str(target))
    kind = sanitize_op_kind(name)
    return kind != "einsum" and kind in _registry().name_to_func_mapping


@functools.cache
def install_cures() -> None:
    """Apply every cure, and what makes it quicker, to the coremltools of this process; later calls
    do nothing.

    Raises:
        LowerError: coremltools is not of major version 9.
    """
    version = coremltools().__version__
    if version.split(".")[0] != SUPPORTED_MAJOR:
        raise LowerError(
            f"coremltools {version} is installed; the converter's cures are written for "
            f"{SUPPORTED_MAJOR}.x: install `coremltools>=9,<10`"
        )
    for change in (*CURES, *QUICKER):
        change()


def cure_unnamed_errors() -> None:
    """Neither an error that a conversion raises nor what it makes says of which node it is: that is
    noted on both."""
    ops = _ops()
    stock = ops.convert_single_node

    @functools.wraps(stock)
    def convert(context: Any, node: Any) -> None:
        from coremltools.converters.mil.mil.block import curr_block

        operations = curr_block().operations
        before = len(operations)
        try:
            stock(context, node)
        except Exception as error:
            if not hasattr(error, FAILED_NODE):
                setattr(error, FAILED_NODE, (node.name, node.kind))
            raise
        for op in itertools.islice(reversed(operations), len(operations) - before):
            setattr(op, MADE_FROM, node.name)

    ops.convert_single_node = convert


# ------------------------------------------------------------------------------ names


def cure_alias_names() -> None:
    """1.2 (1): ATen names that coremltools knows under another name."""
    ops = _ops()
    _register("alias", ops.noop)
    _register("concatenate", ops.cat)
    _register("__and__", ops.bitwise_and)
    for name in ("bitwise_or", "__or__", "or"):
        _register(name, _either)


def _either(context: Any, node: Any) -> None:
    from coremltools.converters.mil import Builder as mb

    x, y = _arguments(context, node, 2)
    if {_dtype_of(x), _dtype_of(y)} != {np.bool_}:
        raise NotImplementedError("`|` of integers: there are no operations on bits")
    context.add(mb.logical_or(x=x, y=y, name=node.name))


def cure_new_ones() -> None:
    """`new_ones` is not registered; T5 makes its default attention mask with it."""

    def new_ones(context: Any, node: Any) -> None:
        from coremltools.converters.mil import Builder as mb

        x, size = _arguments(context, node, 2)
        dtype = _ops()._get_kwinputs(context, node, "dtype", default=[None])[0]
        shape = tuple(int(n) for n in np.atleast_1d(_value(size)))
        from coremltools.converters.mil.frontend.torch.utils import NUM_TO_NUMPY_DTYPE

        kind = _dtype_of(x) if dtype is None else NUM_TO_NUMPY_DTYPE[int(_value(dtype))]
        ones = np.ones(shape, dtype=kind)
        context.add(mb.const(val=ones, name=node.name))

    _register("new_ones", new_ones)


def cure_truth_constants() -> None:
    """`full` of a truth value becomes a number of 64 bits, which nothing takes."""
    stock = _registry().get_func("full")

    def full(context: Any, node: Any) -> None:
        from coremltools.converters.mil import Builder as mb

        size, number, kind = _arguments(context, node, 2, ("dtype",))
        is_truth = isinstance(_value(number), bool | np.bool_) or _value(kind) == _TRUTH
        if not is_truth or (kind is not None and _value(kind) != _TRUTH):
            stock(context, node)
            return
        shape = tuple(int(n) for n in np.atleast_1d(_value(size)))
        context.add(mb.const(val=np.full(shape, bool(_value(number))), name=node.name))

    _register("full", full)


_TRUTH = 11
"""coremltools' number of torch.bool."""


def cure_truncation() -> None:
    """`trunc` is not registered."""

    def trunc(context: Any, node: Any) -> None:
        from coremltools.converters.mil import Builder as mb

        (x,) = _arguments(context, node, 1)
        whole = mb.floor(x=mb.abs(x=x))
        context.add(mb.mul(x=whole, y=mb.sign(x=x), name=node.name))

    _register("trunc", trunc)


# ------------------------------------------------------------------------------ values


def cure_gelu_mode() -> None:
    """1.3: in the export path `gelu` ignores the keyword `approximate`, silently."""

    def gelu(context: Any, node: Any) -> None:
        from coremltools.converters.mil import Builder as mb

        x, positional, keyword = _arguments(context, node, 2, ("approximate",))
        approximate = _value(keyword if keyword is not None else positional) or "none"
        modes = {"none": "EXACT", "tanh": "TANH_APPROXIMATION"}
        context.add(mb.gelu(x=x, mode=modes[str(approximate)], name=node.name))

    _register("gelu", gelu)


def cure_reciprocal() -> None:
    """`inverse` adds an epsilon of 1e-4 to what it inverts: 50 % off for 1e-4."""

    def reciprocal(context: Any, node: Any) -> None:
        from coremltools.converters.mil import Builder as mb

        (x,) = _arguments(context, node, 1)
        context.add(mb.real_div(x=_dtype_of(x)(1), y=x, name=node.name))

    _register("reciprocal", reciprocal)


def cure_clamp_types() -> None:
    """A bound of another type, as in `clamp_min(x, 0)`, is an assertion without a message."""
    _register("clamp_max", _bound("minimum"))
    _register("clamp_min", _bound("maximum"))


def _bound(kind: str) -> Callable[[Any, Any], None]:
    def convert(context: Any, node: Any) -> None:
        from coremltools.converters.mil import Builder as mb
        from coremltools.converters.mil.frontend._utils import promote_input_dtypes

        x, y = promote_input_dtypes(_arguments(context, node, 2))
        context.add(getattr(mb, kind)(x=x, y=y, name=node.name))

    return convert


def cure_products() -> None:
    """`prod` is not registered; MIL has it."""

    def prod(context: Any, node: Any) -> None:
        from coremltools.converters.mil import Builder as mb

        x, dim, keep = _arguments(context, node, 3)
        has_dim = node.kind.endswith("dim_int")
        how = {"axes": [int(_value(dim))], "keep_dims": bool(_value(keep))} if has_dim else {}
        context.add(mb.reduce_prod(x=x, name=node.name, **how))

    _register("prod", prod)
    _register("prod.dim_int", prod)


def cure_whole_quotients() -> None:
    """`//` of whole numbers becomes a number with a fraction's type."""
    stock = _registry().get_func("floor_divide")

    def floor_divide(context: Any, node: Any) -> None:
        from coremltools.converters.mil import Builder as mb

        x, y = _arguments(context, node, 2)
        if {_dtype_of(x), _dtype_of(y)} != {np.int32}:
            stock(context, node)
            return
        context.add(mb.floor_div(x=x, y=y, name=node.name))

    _register("floor_divide", floor_divide)


def cure_linear_bias() -> None:
    """A number added to a linear with one output: the pass that fuses them asks for its last
    dimension, which it does not have."""
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

    fuse = type(PASS_REGISTRY["common::fuse_linear_bias"])
    stock = fuse._try_to_transform

    def transform(linear: Any, other: Any, block: Any) -> bool:
        added = other.y if other.x is linear.outputs[0] else other.x
        return added.rank > 0 and bool(stock(linear, other, block))

    fuse._try_to_transform = staticmethod(transform)


def cure_attention_scale() -> None:
    """1.2 (6): an explicit `scale` is fp32 while q may be fp16 -> dtype mismatch in `mul`."""
    ops = _ops()
    utils = ops._utils
    stock = utils._decompose_scaled_dot_product_attention

    @functools.wraps(stock)
    def decompose(q: Any, k: Any, v: Any, mask: Any, name: str, scale: Any = None) -> Any:
        number = _value(scale)
        if number is not None:
            scale = _dtype_of(q)(number)
        return stock(q, k, v, mask, name, scale=scale)

    utils._decompose_scaled_dot_product_attention = decompose


def _dtype_of(var: Any) -> type[np.generic]:
    from coremltools.converters.mil.mil.types import nptype_from_builtin

    found: type[np.generic] = nptype_from_builtin(var.dtype)
    return found


def cure_scalar_cast() -> None:
    """1.2 (7): `int(array([3]))` is an error from numpy 2.4 on."""
    ops = _ops()
    stock = ops._cast

    @functools.wraps(stock)
    def cast(context: Any, node: Any, dtype: type, dtype_name: str) -> None:
        from coremltools.converters.mil import Builder as mb

        (x,) = _arguments(context, node, 1)
        value = _value(x)
        if isinstance(value, np.ndarray) and value.size == 1 and x.can_be_folded_to_const():
            context.add(mb.const(val=dtype(value.item()), name=node.name), node.name)
            return
        stock(context, node, dtype, dtype_name)

    ops._cast = cast


# ------------------------------------------------------------------------------ rank


def cure_group_norm_rank() -> None:
    """1.2 (3): GroupNorm of a rank-5 tensor goes through rank 6, which Core ML refuses."""
    ops = _ops()
    stock = ops._group_norm_impl

    @functools.wraps(stock)
    def group_norm(x: Any, num_groups: int, weight: Any, bias: Any, eps: float) -> Any:
        if x.rank < 5:
            return stock(x, num_groups, weight, bias, eps)
        return _flat_group_norm(x, int(num_groups), weight, bias, eps)

    ops._group_norm_impl = group_norm


def _flat_group_norm(x: Any, groups: int, weight: Any, bias: Any, eps: float) -> Any:
    """GroupNorm through [N, groups, channels / groups, rest], whatever the rank."""
    from coremltools.converters.mil import Builder as mb

    batch, channels = x.shape[:2]
    affine_shape = [1, channels] + [1] * (x.rank - 2)
    shape = list(x.shape)
    flat = mb.reshape(x=x, shape=[batch, groups, channels // groups, -1])
    centred = mb.sub(x=flat, y=mb.reduce_mean(x=flat, axes=[2, 3], keep_dims=True))
    variance = mb.reduce_mean(x=mb.square(x=centred), axes=[2, 3], keep_dims=True)
    deviation = mb.sqrt(x=mb.add(x=variance, y=eps))
    y = mb.reshape(x=mb.real_div(x=centred, y=deviation), shape=shape)
    if weight is not None:
        y = mb.mul(x=y, y=mb.reshape(x=weight, shape=affine_shape))
    if bias is not None:
        y = mb.add(x=y, y=mb.reshape(x=bias, shape=affine_shape))
    return y


# ------------------------------------------------------------------------------ speed


def cure_overflow_check() -> None:
    """1.2 (8), section 3: the stock check builds 24 B of indices per weight element.

    Same verdict from the extremes: halves the time and the memory of a conversion.
    """
    from coremltools.converters.mil.mil.passes.defs.quantization import FP16ComputePrecision

    FP16ComputePrecision.fp16_overflow = staticmethod(fp16_overflow)


def fp16_overflow(op: Any) -> bool:
    """Whether a constant fp32 input of `op` has finite values beyond fp16's range."""
    for inputs in op.inputs.values():
        for var in inputs if isinstance(inputs, list | tuple) else [inputs]:
            if _is_fp32_constant(var) and exceeds_fp16(var.op.val.val):
                return True
    return False


def _is_fp32_constant(var: Any) -> bool:
    is_constant = var.op is not None and var.op.op_type == "const"
    return is_constant and var.is_tensor_or_scalar_of(dtype="fp32")


def exceeds_fp16(value: Any) -> bool:
    """Whether some |element| lies in (65504, 1e38); what is larger counts as infinite."""
    array = np.asarray(value)
    if array.size == 0:
        return False
    low, high = extremes(array)
    if max(high, -low) <= _FP16_MAX:
        return False
    magnitude = np.abs(array)  # rare path: only now an array of the constant's size is made
    return bool(((magnitude > _FP16_MAX) & (magnitude < _INFINITE)).any())


CURES: tuple[Callable[[], None], ...] = (
    cure_constant_types,
    cure_partly_known,
    cure_outer_types,
    cure_unnamed_errors,
    cure_alias_names,
    cure_new_ones,
    cure_gelu_mode,
    cure_truth_constants,
    cure_truncation,
    cure_reciprocal,
    cure_clamp_types,
    cure_products,
    cure_whole_quotients,
    cure_linear_bias,
    cure_attention_scale,
    cure_scalar_cast,
    cure_group_norm_rank,
    cure_resampling,
    cure_pooling,
    cure_overflow_check,
)
"""Every cure, in the order in which they are applied."""
