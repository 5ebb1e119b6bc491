"""HunyuanVideo's decoder: latents in overlapping tiles of time, as AutoencoderKLHunyuanVideo has it
by default. A tile knows nothing of the others, so they are decoded one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from entracte.graphs.recipes.recipe import Recipe, Value, stage

_TILE, _STRIDE = 16, 12
"""Frames of a tile, beside its first one, and from tile to tile."""


@stage
def cut(z: Tensor, begins: Sequence[int], size: int, scaling: float) -> Tensor:
    """Tiles of one size, one behind the other along time, as the decoder reads them."""
    return torch.cat([z[:, :, b : b + size] for b in begins], 2) / scaling


@stage
def decode(vae: nn.Module, z: Tensor) -> Tensor:
    """A tile -> its frames, from -1 to 1."""
    made: Tensor = vae.decoder(vae.post_quant_conv(z))  # type: ignore[operator]
    return made


@stage
def blend(first: Tensor, second: Tensor | None = None, third: Tensor | None = None, *,
          sizes: Sequence[Sequence[int]], frames: int) -> Tensor:  # fmt: skip
    """Each tile fades in over the end of the one before it.

    Args:
        sizes: of each input, the frames of its tiles.
    """
    given = [t for t in (first, second, third) if t is not None]
    tiles = [x for t, each in zip(given, sizes, strict=True) for x in t.split(list(each), 2)]
    row = [tiles[0], *(t[:, :, 1:] for t in tiles[1:])]
    made = [row[0][:, :, : _STRIDE + 1]]
    for i in range(1, len(row)):
        n = min(_TILE - _STRIDE, row[i].shape[2])
        rise = (torch.arange(n) / n).reshape(1, 1, -1, 1, 1)
        mixed = row[i - 1][:, :, -n:] * (1 - rise) + row[i][:, :, :n] * rise
        row[i] = torch.cat([mixed, row[i][:, :, n:]], 2)
        made.append(row[i][:, :, :_STRIDE])
    return torch.cat(made, 2)[:, :, :frames]


def decoded(r: Recipe, z: Value) -> Value:
    """Latents (1, channels, n, h, w) -> frames (1, 3, m, height, width)."""
    vae = r.config("vae")
    ratio, space = vae["temporal_compression_ratio"], vae["spatial_compression_ratio"]
    _, channels, n, h, w = z.shape
    size, stride = _TILE // ratio + 1, _STRIDE // ratio
    begins = [0] if n < size else range(0, n, stride)
    # A tile of a single latent has nothing beside its first frame, which is the last tile's.
    lengths = [s for b in begins if (s := min(size, n - b)) > 1 or b == 0]
    made, sizes, at = dict[str, Value](), [], 0
    for port, (length, count) in zip(("first", "second", "third"), Counter(lengths).items(),
                                     strict=False):  # fmt: skip
        settings = {"begins": [stride * (at + k) for k in range(count)], "size": length,
                    "scaling": vae["scaling_factor"]}  # fmt: skip
        tiles = r.stage(cut, name=f"{port}_tiles", settings=settings, z=z,
                        tiles=(1, channels, count * length, h, w))  # fmt: skip
        frames = ratio * (length - 1) + 1
        each = {"map": {"port": "z", "axis": 2, "size": length}} if count > 1 else {}
        options: dict[str, Any] = {**each, **({"weights_of": "decode_first"} if made else {})}
        made[port] = r.stage(
            decode, "vae", name=f"decode_{port}", options=options,
            z=tiles.of(1, channels, length, h, w), frames=(1, 3, frames, h * space, w * space),
        ).of(1, 3, count * frames, h * space, w * space)  # fmt: skip
        sizes.append([frames] * count)
        at += count
    frames = ratio * (n - 1) + 1
    video: Value = r.stage(blend, settings={"sizes": sizes, "frames": frames}, **made,
                           video=(1, 3, frames, h * space, w * space))  # fmt: skip
    return video
