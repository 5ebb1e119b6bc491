"""Wan's VAE encoder for a clip that is a picture and then nothing, four frames at a time: each
convolution over time keeps the last frames that it read, as in `wan_decoder.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from entracte.graphs.recipes.recipe import Recipe, Value, stage
from entracte.graphs.recipes.wan_decoder import KEPT

Shapes = list[tuple[int, ...]]


@stage
def encode_first(vae: Any, image: Tensor) -> tuple[Tensor, ...]:
    """(1, 3, height, width) -> the first latent frame, and what convolutions keep."""
    kept: list[Any] = [None] * vae._cached_conv_counts["encoder"]
    is_halving = [conv.stride[0] > 1 for conv in _over_time(vae.encoder)]
    latent = _encoded(vae, image[:, :, None], kept)
    wide = (nn.functional.pad(k, (0, 0, 0, 0, 0 if one else KEPT - 1, 0))
            for k, one in zip(filter(_is_kept, kept), is_halving, strict=True))  # fmt: skip
    return latent, *wide


@stage
def encode(vae: Any, nothing: Tensor, *kept: Tensor, height: int, width: int) -> tuple[Tensor, ...]:
    """Zeros (1, 1, 4, 1, 1), and what was kept before them -> a latent frame, and what is kept."""
    after = list(kept)
    frames = nothing.expand(1, vae.config.in_channels, -1, height, width)
    return _encoded(vae, frames, after), *after


@stage
def condition(first: Tensor, rest: Tensor | None = None, *, mean: Sequence[float],
              std: Sequence[float]) -> Tensor:  # fmt: skip
    """Latents as the transformer takes them, below four channels: which frames are given."""
    shape = (1, -1, 1, 1, 1)
    z = first if rest is None else torch.cat([first, rest], 2)
    z = (z - torch.tensor(mean).view(shape)) * (1 / torch.tensor(std).view(shape))
    one = torch.ones_like(z[:, :4, :1])
    mask = one if rest is None else torch.cat([one, torch.zeros_like(rest[:, :4])], 2)
    return torch.cat([mask, z], 1)


def _encoded(vae: Any, frames: Tensor, kept: list[Any]) -> Tensor:
    """The mean, as `AutoencoderKLWan._encode` encodes each part; `kept` is replaced in place."""
    made = vae.quant_conv(vae.encoder(frames, feat_cache=kept, feat_idx=[0]))
    return made.chunk(2, dim=1)[0]


def _is_kept(value: object) -> bool:
    """The library counts convolutions that keep nothing too."""
    return value is not None


def _over_time(encoder: nn.Module) -> list[nn.Conv3d]:
    """Those of its convolutions that keep frames, in their order."""
    return [m for n, m in encoder.named_modules()
            if isinstance(m, nn.Conv3d) and not n.endswith("conv_shortcut")]  # fmt: skip


def kept_by_encoder(config: Mapping[str, Any], rows: int, columns: int) -> Shapes:
    """What its convolutions keep, in the order in which they run; rows and columns of pixels."""
    widths = [config["base_dim"] * m for m in (1, *config["dim_mult"])]
    found: Shapes = [(1, config.get("in_channels", 3), KEPT, rows, columns)]
    halving = [*config["temperal_downsample"], None]
    for i, (inside, outside) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        count = 2 * config["num_res_blocks"] - 1
        found += [(1, c, KEPT, rows, columns) for c in (inside, *[outside] * count)]
        if halving[i] is not None:
            rows, columns = rows // 2, columns // 2
        if halving[i]:
            found.append((1, outside, 1, rows, columns))
    return found + [(1, widths[-1], KEPT, rows, columns)] * 5


def encode_image(r: Recipe, image: Value, sizes: tuple[int, int, int]) -> Value:
    """(1, 20, frames, rows, columns) of a picture and the frames behind it, which are zeros."""
    config, (frames, rows, columns) = r.config("vae"), sizes
    time, width = config.get("scale_factor_temporal", 4), config["z_dim"]
    kept = kept_by_encoder(config, *image.shape[2:])
    shapes: dict[str, Any] = {f"next{i}": s for i, s in enumerate(kept)}
    own = {"weights_of": "encode"} if frames > 1 else {}
    first = r.stage(encode_first, "vae", image=image, latent=(1, width, 1, rows, columns), **shapes,
                    options=own)[0]  # fmt: skip
    settings = {"mean": config["latents_mean"], "std": config["latents_std"]}
    parts: dict[str, Any] = {"first": first}
    if frames > 1:
        before: dict[str, Any] = {
            f"kept{i}": Value(f"encode_first.next{i}", s) for i, s in enumerate(kept)
        }
        shape = [1, 1, time * (frames - 1), 1, 1]
        nothing = Value(f"{r.constant('zeros', 'nothing', shape=shape)}.zeros")
        carry = {f"kept{i}": f"next{i}" for i in range(len(kept))}
        latent = r.stage(
            encode, "vae", nothing=nothing.of(1, 1, time, 1, 1),
            **before,
            settings={"height": image.shape[2], "width": image.shape[3]},
            options={"map": {"port": "nothing", "axis": 2, "size": time, "carry": carry}},
            latent=(1, width, 1, rows, columns), **shapes,
        )[0]  # fmt: skip
        parts["rest"] = latent.of(1, width, frames - 1, rows, columns)
    made: Value = r.stage(condition, **parts, settings=settings, condition=(1, width + 4, *sizes))
    return made
