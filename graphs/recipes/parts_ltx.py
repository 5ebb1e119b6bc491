"""LTX Video's latents as tokens, one for each place of each frame: from a picture, to a video."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor

from entracte.graphs.recipes.recipe import Recipe, Value, stage


@stage
def encode_frame(vae: Any, image: Tensor, noise: Tensor) -> Tensor:
    """A picture, (1, 3, height, width), as the tokens of a first frame, (1, tokens, channels)."""
    drawn = vae.encode(image[:, :, None]).latent_dist
    mean, std = (x.view(1, -1, 1, 1, 1) for x in (vae.latents_mean, vae.latents_std))
    made: Tensor = ((drawn.mean + drawn.std * noise - mean) / std).flatten(2).transpose(1, 2)
    return made


@stage
def decode(
    vae: Any, z: Tensor, first: Tensor | None = None, time: Tensor | None = None,
    amount: Tensor | None = None, noise: Tensor | None = None, added: Tensor | None = None, *,
    sizes: list[int],
) -> Tensor:  # fmt: skip
    """Tokens of all frames, or of those behind `first`, to a video.

    Args:
        time: that the decoder is told, (1,), where it is conditioned so.
        amount: how much of `noise`, (1, channels, frames, rows, columns), is in the latents then.
        added: normal numbers for layers that add some, (1, numbers), in the layers' order.
        sizes: of the latents: frames, rows, columns.
    """
    tokens = z if first is None else torch.cat([first, z], 1)
    mean, std = (x.view(1, -1, 1, 1, 1) for x in (vae.latents_mean, vae.latents_std))
    x = tokens.transpose(1, 2).unflatten(2, sizes) * std / vae.config.scaling_factor + mean
    if amount is not None and noise is not None:
        x = (1 - amount) * x + amount * noise
    with _drawing(added):
        made: Tensor = vae.decode(x, time, return_dict=False)[0]
    return made


@contextmanager
def _drawing(numbers: Tensor | None) -> Iterator[None]:
    """Inside, `torch.randn` gives these one after the other."""
    if numbers is None:
        yield
        return
    before, rest = torch.randn, [numbers[0]]

    def randn(shape: Any, **_: Any) -> Tensor:
        taken, rest[0] = rest[0].split([prod(shape), len(rest[0]) - prod(shape)])
        return taken.reshape(shape)

    torch.randn = randn
    try:
        yield
    finally:
        torch.randn = before


def ratios(vae: Mapping[str, Any]) -> tuple[int, int]:
    """Pixels to a latent's width, frames of the video to a latent frame."""
    halvings = 2 ** sum(vae["spatio_temporal_scaling"])
    wide, long = vae.get("spatial_compression_ratio"), vae.get("temporal_compression_ratio")
    return wide or vae["patch_size"] * halvings, long or vae["patch_size_t"] * halvings


def decoded(r: Recipe, z: Value, sizes: tuple[int, int, int], rate: int, **first: Value) -> None:
    """The output `video`."""
    vae = r.config("vae")
    more = dict(first)
    frames, rows, columns = sizes
    if vae["timestep_conditioning"]:
        more["time"] = r.number("decode_timestep", 0.0)
        more["amount"] = r.number("decode_noise_scale", 0.0)
        more["noise"] = r.noise((1, vae["latent_channels"], *sizes), "decode_noise", salt=2)
        count = _added(vae, rows * columns)
        more |= {"added": r.noise((1, count), "decoder_noise", salt=3)} if count else {}
    wide, long = ratios(vae)
    shape = (1, vae["out_channels"], (frames - 1) * long + 1, rows * wide, columns * wide)
    r.video(
        r.stage(decode, "vae", settings={"sizes": list(sizes)}, z=z, **more, frames=shape), rate
    )


def _added(vae: Mapping[str, Any], places: int) -> int:
    """How many numbers the decoder's layers draw: two pictures each where they do."""
    keys = ("decoder_inject_noise", "decoder_layers_per_block", "decoder_spatio_temporal_scaling")
    adds, layers, grows = (list(reversed(vae[key])) for key in keys)
    count = 0
    for add, many, grow in zip(adds, layers, [False, *grows], strict=True):
        places *= 4 if grow else 1
        count += 2 * many * places if add else 0
    return count
