"""Mochi's decoder, a latent frame at a time: the same numbers as of a whole clip.

Its convolutions read the past alone and its norms one frame, so what a frame needs of those before
it is the last frames of each convolution's input.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from entracte.graphs.recipes.recipe import Recipe, Shape, Value, stage


@stage
def decode(vae: nn.Module, z: Tensor, *seen: Tensor, scaling: float, mean: Sequence[float] = (),
           std: Sequence[float] = (), drop: int = 0) -> tuple[Tensor, ...]:  # fmt: skip
    """Latents (1, channels, 1, h, w) -> frames from -1 to 1, and what the convolutions are to see
    of them when the next ones are decoded. Nothing seen: the first frame stands for those before.
    """
    z = z * torch.tensor(std).reshape(-1, 1, 1, 1) if mean and std else z
    z = z / scaling
    z = z + torch.tensor(mean).reshape(-1, 1, 1, 1) if mean and std else z
    decoder: Any = vae.decoder
    after: list[Tensor] = []
    before = iter(seen)
    for conv in _convolutions(decoder):
        conv.forward = partial(_convolved, conv, before, after)
    return (decoder(z)[0][:, :, drop:], *after)


def _convolutions(decoder: nn.Module) -> list[Any]:
    return [m for m in decoder.modules() if hasattr(m, "time_causal_padding")]


def _convolved(
    conv: Any, before: Any, after: list[Tensor], x: Tensor, **_: None
) -> tuple[Tensor, None]:
    """In place of its own `forward`; convolutions are called in one order always."""
    first = next(before, None)
    first = x[:, :, :1].expand(-1, -1, conv.time_pad, -1, -1) if first is None else first
    x = torch.cat([first, x], 2)
    after.append(x[:, :, -conv.time_pad :])
    return conv.conv(pad(x, conv.time_causal_padding[:4] + (0, 0), mode="replicate")), None


def decoded(r: Recipe, z: Value) -> list[Value]:
    """Frames (1, 3, 1, height, width) and (1, 3, more, height, width)."""
    vae, (_, channels, n, h, w) = r.config("vae"), z.shape
    frames, wide = prod(vae["temporal_expansions"]), prod(vae["spatial_expansions"])
    settings = {"scaling": vae["scaling_factor"], "mean": vae["latents_mean"] or (),
                "std": vae["latents_std"] or ()}  # fmt: skip
    seen = _seen(vae, h, w)
    made = {f"next{k}": shape for k, shape in enumerate(seen)}
    first, *after = r.stage(
        decode, "vae", name="first", settings={**settings, "drop": frames - 1},
        z=z.of(1, channels, 1, h, w), frames=(1, 3, 1, h * wide, w * wide), **made,
        options={"map": {"port": "z", "axis": 2, "size": 1, "count": 1}},
    )  # fmt: skip
    if n == 1:
        return [first]
    carry = {f"seen{k}": f"next{k}" for k in range(len(seen))}
    later = {"port": "z", "axis": 2, "size": 1, "start": 1, "carry": carry}
    rest, *_ = r.stage(
        decode, "vae", name="decode", settings=settings, z=z.of(1, channels, 1, h, w),
        **{f"seen{k}": value for k, value in enumerate(after)},
        frames=(1, 3, frames, h * wide, w * wide), **made,
        options={"weights_of": "first", "map": later},
    )  # fmt: skip
    return [first, rest]


def _seen(vae: dict[str, Any], h: int, w: int) -> list[Shape]:
    """Of each convolution in order: two of each residual block."""
    widths, layers = vae["decoder_block_out_channels"][::-1], vae["layers_per_block"][::-1]
    made, at = list[Shape](), 1
    for k, width in enumerate([widths[0], *widths]):
        at *= vae["spatial_expansions"][1 - k] if k > 1 else 1
        made += [(1, width, 2, h * at, w * at)] * (2 * layers[k])
    return made
