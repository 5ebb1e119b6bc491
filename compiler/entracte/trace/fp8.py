"""fp8 weights: each is multiplied by the scales that lie beside it, or refused.

Publishers spell them differently and mean the same: the number is the code times the scale. How
far a scale reaches is told by its shape alone, so a shape that could mean two things is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

    import torch

FP8 = ("F8_E4M3", "F8_E5M2")
_SUFFIXES = ("_scale", "_scale_inv")
"""Of the weight's own key: llm-compressor's and DeepSeek's spelling; both multiply."""
_PREFIX = "scale_"
"""Before its last part: ComfyUI's spelling."""
_BESIDE = ("input_scale", "scale_input", "input_scale_ub", "activation_scale")
"""Scales of what is multiplied with the weight, which is not rounded to fp8 here."""
_MARKS = ("scaled_fp8",)
"""Keys that only say that a file has such scales."""


def scale_keys(key: str) -> tuple[str, ...]:
    """Where the scale of a weight may be."""
    parent, dot, leaf = key.rpartition(".")
    return (*(key + s for s in _SUFFIXES), f"{parent}{dot}{_PREFIX}{leaf}")


def keys_beside(key: str) -> tuple[str, ...]:
    """All that may lie beside an fp8 weight and is no weight."""
    parent, dot, _ = key.rpartition(".")
    return (*scale_keys(key), *(f"{parent}{dot}{name}" for name in _BESIDE), *_MARKS)


def scale_of(key: str, stored: Container[str]) -> str | None:
    """The key of a weight's scale."""
    return next((k for k in scale_keys(key) if k in stored), None)


def reach(shape: tuple[int, ...], scale: tuple[int, ...]) -> tuple[int, ...] | None:
    """How many elements along each axis share a scale; None where the shapes do not say it.

    One number is the whole tensor's. As many axes as the weight has: one scale for each block,
    which must divide the axis into whole blocks of a power of two (or be one element, or all of
    it). One axis: the rows', unless the columns are as many.
    """
    if all(n == 1 for n in scale):
        return shape
    if len(scale) == 1 and shape and scale[0] == shape[0] and scale[0] not in shape[1:]:
        return (1, *shape[1:])
    if len(scale) != len(shape):
        return None
    found = []
    for size, blocks in zip(shape, scale, strict=True):
        if not blocks or size % blocks:
            return None
        each = size // blocks
        if each not in (1, size) and each & (each - 1):
            return None
        found.append(each)
    return tuple(found)


def scaled(codes: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The numbers, in fp32. The shapes were looked at before."""
    blocks = reach(tuple(codes.shape), tuple(scale.shape))
    assert blocks is not None
    wide = scale.float()
    if wide.dim() != codes.dim():
        rows = (-1, *(1 for _ in codes.shape[1:]))
        wide = wide.reshape(rows if wide.numel() > 1 else ())
    for axis, each in enumerate(blocks if wide.dim() else ()):
        if wide.shape[axis] not in (1, codes.shape[axis]):
            wide = wide.repeat_interleave(each, axis)
    return codes.float() * wide
