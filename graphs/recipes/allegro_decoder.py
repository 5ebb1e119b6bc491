"""Allegro's decoder: tiles of space and time, each faded into those before it, as
AutoencoderKLAllegro has them where tiling is on; without, it decodes nothing."""

from __future__ import annotations

from math import lcm
from typing import Any

import torch
from torch import Tensor, nn

from entracte.graphs.recipes.recipe import Recipe, Value, image_scale, stage

FRAMES, OVERLAPS = 24, (8, 120, 80)
"""Frames of a tile; frames, rows and columns that two tiles share. Its rows and columns are the
configuration's `sample_size`."""


def tile_of(vae: dict[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Frames, rows and columns of a tile, and how far it is to the next one."""
    sizes = (FRAMES, vae["sample_size"], vae["sample_size"])
    return sizes, tuple(s - o for s, o in zip(sizes, OVERLAPS, strict=True))


def covered(r: Recipe, name: str, default: int, axis: int, multiple: int) -> int:
    """A size that whole tiles cover. (The library leaves what they do not cover black.)"""
    sizes, strides = tile_of(r.config("vae"))
    step = lcm(strides[axis], multiple)
    value = r.size(name, default, step, sizes[axis] % step)
    if value < sizes[axis]:
        raise ValueError(
            f"pipeline.options.{name}: {value} is less than a tile of the decoder has; give "
            f"{sizes[axis]} or {sizes[axis] + step}"
        )
    return value


@stage
def cut(z: Tensor, size: int, stride: int) -> tuple[Tensor, Tensor]:
    """The first tile of time, and the others as rows."""
    tiles = [z[:, :, i : i + size] for i in range(0, z.shape[2] - size + 1, stride)]
    return tiles[0], torch.cat(tiles[1:])


@stage
def scaled(z: Tensor, scaling: float) -> Tensor:
    """As the decoder reads it. (Of a piece of a loop only what a stage made of it can be cut.)"""
    return z / scaling


@stage
def decode(vae: nn.Module, z: Tensor) -> Tensor:
    """A tile's latents -> its frames, from -1 to 1."""
    each = vae.post_quant_conv(z[0].transpose(0, 1))  # type: ignore[operator]
    made: Tensor = vae.decoder(each.transpose(0, 1)[None])  # type: ignore[operator]
    return made


@stage
def part(frames: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """What is done of the first tile, and what the next one fades in over."""
    return frames[:, :, :stride], frames[:, :, stride:]


@stage
def fade(tail: Tensor, frames: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """The same of a later tile."""
    n = tail.shape[2]
    rise = (torch.arange(n) / n).reshape(1, 1, -1, 1, 1)
    mixed = tail * (1 - rise) + frames[:, :, :n] * rise
    return torch.cat([mixed, frames[:, :, n:stride]], 2), frames[:, :, stride:]


def decoded(r: Recipe, z: Value) -> list[Value]:
    """Latents (1, channels, n, h, w) -> parts of a video (1, 3, frames, height, width)."""
    vae = r.config("vae")
    (size, *_), (stride, *_) = sizes, strides = tile_of(vae)
    ratio, scale = vae["temporal_compression_ratio"], image_scale(vae)
    _, channels, n, h, w = z.shape
    in_time = size // ratio
    count = (n - in_time) * ratio // stride + 1
    tile, shape = (1, channels, in_time, h, w), (1, 3, size, h * scale, w * scale)
    if count == 1:
        return [_decoded(r, z, "decode", shape)]
    settings = {"size": in_time, "stride": stride // ratio}
    first, rest = r.stage(cut, settings=settings, z=z, first=tile, rest=(count - 1, *tile[1:]))
    made = _decoded(r, first, "decode_first", shape)
    done, over = (*shape[:2], stride, *shape[3:]), (*shape[:2], size - stride, *shape[3:])
    head, tail = r.stage(part, settings={"stride": stride}, frames=made, head=done, tail=over)
    with r.loop("tiles", count - 1) as loop:
        state = loop.state("tail", tail)
        made = _decoded(r, loop.scan("tile", rest.name, tile), "decode", shape, "decode_first")
        more, after = r.stage(fade, settings={"stride": stride}, tail=state, frames=made,
                              done=done, next=over)  # fmt: skip
        loop.next("tail", after)
        return [head, loop.collect("frames", more, 2), state]


def _decoded(
    r: Recipe, tile: Value, name: str, shape: tuple[int, ...], weights_of: str = ""
) -> Value:
    """A tile of time, in tiles of space that the runner fades into each other."""
    vae = r.config("vae")
    (sizes, strides), scale = tile_of(vae), image_scale(vae)
    tile = r.stage(scaled, name=f"{name}_scaled", settings={"scaling": vae["scaling_factor"]},
                   z=tile, scaled=tile)  # fmt: skip
    axes = [a for a in (3, 4) if shape[a] > sizes[a - 2]]
    small = {a: sizes[a - 2] for a in axes}
    options: dict[str, Any] = {"weights_of": weights_of} if weights_of else {}
    if axes:
        options["map"] = {"port": "z", "axis": axes, "size": [small[a] // scale for a in axes],
                          "stride": [strides[a - 2] // scale for a in axes]}  # fmt: skip
    latents = [small[a] // scale if a in small else n for a, n in enumerate(tile.shape)]
    each = [small.get(a, n) for a, n in enumerate(shape)]
    made: Value = r.stage(decode, "vae", name=name, options=options, z=tile.of(*latents),
                          frames=tuple(each))  # fmt: skip
    return made.of(*shape)
