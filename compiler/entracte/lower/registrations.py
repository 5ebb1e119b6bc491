"""Our cures for coremltools 9: registrations and overrides, never edits of the installed package.

Each cure answers one measured fault (`reference/conversion.md`, 1.2 and 1.3; its number is in the
function's docstring) and has a test that fails as soon as coremltools no longer needs it.
`install_cures` applies all of them, once per process.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from entracte.lower.errors import LowerError
from entracte.lower.quiet import coremltools

__all__ = ["SUPPORTED_MAJOR", "install_cures", "is_convertible"]

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
    """Apply every cure to the coremltools of this process; later calls do nothing.

    Raises:
        LowerError: coremltools is not of major version 9.
    """
    version = coremltools().__version__
    if version.split(".")[0] != SUPPORTED_MAJOR:
        raise LowerError(
            f"coremltools {version} is installed; the converter's cures are written for "
            f"{SUPPORTED_MAJOR}.x: install `coremltools>=9,<10`"
        )
    for cure in CURES:
        cure()


def _registry() -> Any:
    from coremltools.converters.mil.frontend.torch import torch_op_registry

    return torch_op_registry._TORCH_OPS_REGISTRY


def _register(name: str, function: Callable[..., None]) -> None:
    _registry().set_func_by_name(function, name)


def _ops() -> Any:
    from coremltools.converters.mil.frontend.torch import ops

    return ops


def _arguments(context: Any, node: Any, count: int, keywords: tuple[str, ...] = ()) -> list[Any]:
    """The first `count` positional arguments (None if absent), then the keyword ones."""
    ops = _ops()
    given = list(ops._get_inputs(context, node, min_expected=1))[:count]
    given += [None] * (count - len(given))
    for keyword in keywords:
        given.append(ops._get_kwinputs(context, node, keyword, default=[None])[0])
    return given


def _value(var: Any) -> Any:
    """The constant that `var` holds; `var` itself if it is a plain value."""
    return var.val if hasattr(var, "val") else var


# ------------------------------------------------------------------------------ names


def cure_alias_names() -> None:
    """1.2 (1): ATen names that coremltools knows under another name."""
    ops = _ops()
    _register("alias", ops.noop)
    _register("concatenate", ops.cat)
    _register("__and__", ops.bitwise_and)


def cure_new_ones() -> None:
    """`new_ones` is not registered; T5 makes its default attention mask with it."""

    def new_ones(context: Any, node: Any) -> None:
        from coremltools.converters.mil import Builder as mb

        (_, size) = _arguments(context, node, 2)
        dtype = _ops()._get_kwinputs(context, node, "dtype", default=[None])[0]
        shape = tuple(int(n) for n in np.atleast_1d(_value(size)))
        number = 6 if dtype is None else int(_value(dtype))
        from coremltools.converters.mil.frontend.torch.utils import NUM_TO_NUMPY_DTYPE

        ones = np.ones(shape, dtype=NUM_TO_NUMPY_DTYPE[number])
        context.add(mb.const(val=ones, name=node.name))

    _register("new_ones", new_ones)


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


def cure_upsample_3d() -> None:
    """1.2 (4): 3-D upsampling is missing; two 2-D ones give it exactly."""
    for suffix in ("", ".vec"):
        _register(f"upsample_nearest3d{suffix}", _upsample_nearest3d)
        _register(f"upsample_trilinear3d{suffix}", _upsample_trilinear3d)


def _upsample_nearest3d(context: Any, node: Any) -> None:
    x, size, *scales = _arguments(context, node, 5)
    context.add(_upsample3d(x, _output_size(x, size, scales), "nearest", False), node.name)


def _upsample_trilinear3d(context: Any, node: Any) -> None:
    x, size, align_corners, *scales = _arguments(context, node, 6)
    mode_size = _output_size(x, size, scales)
    context.add(_upsample3d(x, mode_size, "linear", bool(_value(align_corners))), node.name)


def _output_size(x: Any, size: Any, scales: list[Any]) -> list[int]:
    """(D, H, W) from the given size, else from the scale factors (list, or one by one)."""
    given = _value(size)
    if given is not None:
        return [int(_value(n)) for n in given]
    first = _value(scales[0])
    factors = [_value(f) for f in first] if np.ndim(first) else [_value(f) for f in scales[:3]]
    return [int(np.floor(n * float(f))) for n, f in zip(x.shape[2:], factors, strict=True)]


def _upsample3d(x: Any, size: list[int], mode: str, align_corners: bool) -> Any:
    """[N, C, D, H, W] -> [N, C, *size]: H and W first, with C and D folded; then D alone."""
    from coremltools.converters.mil import Builder as mb

    batch, channels, depth, height, width = (int(n) for n in x.shape)
    out_depth, out_height, out_width = size
    plane = mb.reshape(x=x, shape=[batch, channels * depth, height, width])
    plane = _upsample2d(plane, out_height, out_width, mode, align_corners)
    lines = mb.reshape(x=plane, shape=[batch, channels, depth, out_height * out_width])
    lines = _upsample2d(lines, out_depth, out_height * out_width, mode, align_corners)
    return mb.reshape(x=lines, shape=[batch, channels, out_depth, out_height, out_width])


def _upsample2d(x: Any, height: int, width: int, mode: str, align_corners: bool) -> Any:
    from coremltools.converters.mil import Builder as mb

    factors = [_factor(height, x.shape[2]), _factor(width, x.shape[3])]
    if factors == [1, 1]:
        return x
    names = dict(zip(("scale_factor_height", "scale_factor_width"), factors, strict=True))
    if mode == "nearest":
        return mb.upsample_nearest_neighbor(x=x, **names)
    return mb.upsample_bilinear(x=x, align_corners=align_corners, **names)


def _factor(wanted: int, given: int) -> int | float:
    # the nudge keeps floor(given * factor) from landing one short, as coremltools itself does
    return wanted // given if wanted % given == 0 else (wanted + 1e-4) / given


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
    if array.size == 0 or max(float(array.max()), -float(array.min())) <= _FP16_MAX:
        return False
    magnitude = np.abs(array)  # rare path: only now an array of the constant's size is made
    return bool(((magnitude > _FP16_MAX) & (magnitude < _INFINITE)).any())


CURES: tuple[Callable[[], None], ...] = (
    cure_alias_names,
    cure_new_ones,
    cure_gelu_mode,
    cure_attention_scale,
    cure_scalar_cast,
    cure_group_norm_rank,
    cure_upsample_3d,
    cure_overflow_check,
)
"""Every cure, in the order in which they are applied."""
