"""Moves between channel, space and batch; reversals and windows."""

from __future__ import annotations

import torch
from torch.nn import functional

from entracte.reference.bind import Bind
from entracte.reference.registry import Compute, Kind, op


@op("depth_to_space", "x", Kind.MOVE)
def depth_to_space(bind: Bind) -> Compute:
    """[n, b*b*c, h, w] to [n, c, h*b, w*b]; the block is the outer part of the channel axis."""
    block = bind.const("block_size")

    def run(x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        x = x.reshape(n, block, block, c // (block * block), h, w)
        return x.permute(0, 3, 4, 1, 5, 2).reshape(n, -1, h * block, w * block)

    return run


@op("space_to_depth", "x", Kind.MOVE)
def space_to_depth(bind: Bind) -> Compute:
    """[n, c, h*b, w*b] to [n, b*b*c, h, w]; the block is the outer part of the channel axis."""
    block = bind.const("block_size")

    def run(x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        x = x.reshape(n, c, h // block, block, w // block, block)
        return x.permute(0, 3, 5, 1, 2, 4).reshape(n, -1, h // block, w // block)

    return run


@op("pixel_shuffle", "x", Kind.MOVE)
def pixel_shuffle(bind: Bind) -> Compute:
    """torch.nn.PixelShuffle: [n, c*f*f, h, w] to [n, c, h*f, w*f]."""
    factor = bind.const("upscale_factor")
    return lambda x: functional.pixel_shuffle(x, factor)


@op("pixel_unshuffle", "x", Kind.MOVE)
def pixel_unshuffle(bind: Bind) -> Compute:
    """torch.nn.PixelUnshuffle: [n, c, h*f, w*f] to [n, c*f*f, h, w]."""
    factor = bind.const("downscale_factor")
    return lambda x: functional.pixel_unshuffle(x, factor)


def _pairs(bind: Bind, name: str) -> list[list[int]]:
    found: list[list[int]] = bind.const(name)
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in found):
        raise bind.fail(f"{name} must have shape [2, 2]")
    return found


@op("space_to_batch", "x", Kind.MOVE)
def space_to_batch(bind: Bind) -> Compute:
    """Pad height and width, then move blocks of them to the front of the batch axis.

    [n, c, h*b0, w*b1], padding counted, to [b0*b1*n, c, h, w].
    """
    block = bind.ints("block_shape")
    pads = [n for pair in reversed(_pairs(bind, "paddings")) for n in pair]

    def run(x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = (x := functional.pad(x, pads)).shape
        x = x.reshape(n, c, h // block[0], block[0], w // block[1], block[1])
        return x.permute(3, 5, 0, 1, 2, 4).reshape(-1, c, h // block[0], w // block[1])

    return run


@op("batch_to_space", "x", Kind.MOVE)
def batch_to_space(bind: Bind) -> Compute:
    """Undo `space_to_batch`, then crop height and width.

    [b0*b1*n, c, h, w] to [n, c, h*b0, w*b1] without what is cropped.
    """
    block = bind.ints("block_shape")
    (top, bottom), (left, right) = _pairs(bind, "crops")

    def run(x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        x = x.reshape(block[0], block[1], n // (block[0] * block[1]), c, h, w)
        x = x.permute(2, 3, 4, 0, 5, 1).reshape(-1, c, h * block[0], w * block[1])
        return x[:, :, top : x.shape[2] - bottom, left : x.shape[3] - right]

    return run


@op("reverse", "x", Kind.MOVE)
def reverse(bind: Bind) -> Compute:
    """Mirror the given axes, or all; any shape, kept."""
    axes = bind.ints("axes") if bind.has("axes") else list(range(bind.rank()))
    return lambda x: x.flip(axes)


@op("reverse_sequence", "x lengths", Kind.MOVE)
def reverse_sequence(bind: Bind) -> Compute:
    """Mirror the first `lengths[b]` elements of the sequence axis of each batch entry.

    x of any shape, kept; lengths [batch].
    """
    rank = bind.rank()
    seq, batch = bind.const("seq_axis", 0) % rank, bind.const("batch_axis", 0) % rank

    def run(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        place = torch.arange(x.shape[seq])[None, :]
        ends = lengths.long()[:, None]
        source = torch.where(place < ends, ends - 1 - place, place)
        source = source if batch < seq else source.T
        shape = [x.shape[a] if a in (seq, batch) else 1 for a in range(rank)]
        return x.gather(seq, source.reshape(shape).expand(x.shape))

    return run


@op("sliding_windows", "x", Kind.MOVE)
def sliding_windows(bind: Bind) -> Compute:
    """Windows of `size` every `stride` along `axis`: that axis becomes two, [windows, size]."""
    axis = bind.const("axis") % bind.rank()
    size, stride = bind.const("size"), bind.const("stride", 1)

    def run(x: torch.Tensor) -> torch.Tensor:
        return x.unfold(axis, size, stride).movedim(-1, axis + 1)

    return run
