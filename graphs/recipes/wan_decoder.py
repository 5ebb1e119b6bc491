"""Wan's VAE decoder, a latent frame at a time: each convolution over time keeps the last two frames
that it read. diffusers' own decoder is called, with these frames as its inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from entracte.graphs.recipes.recipe import Recipe, Value, stage

KEPT = 2
"""Frames: what a kernel of three in time sees before a frame."""


@stage
def decode_first(
    vae: Any, z: Tensor, mean: Sequence[float], std: Sequence[float]
) -> tuple[Tensor, ...]:
    """The first latent frame -> one frame, and what convolutions keep of it. Those that double
    frames have not run."""
    kept: list[Any] = [None] * vae._cached_conv_counts["decoder"]
    frames = _decoded(vae, _scaled(z, mean, std), kept, first_chunk=True)
    found = [k for k in kept if isinstance(k, Tensor)]
    return frames, *(nn.functional.pad(k, (0, 0, 0, 0, KEPT - k.shape[2], 0)) for k in found)


@stage
def decode(
    vae: Any, z: Tensor, *kept: Tensor, mean: Sequence[float], std: Sequence[float]
) -> tuple[Tensor, ...]:
    """A latent frame, and what was kept before it -> four frames, and what is kept."""
    after = list(kept)
    frames = _decoded(vae, _scaled(z, mean, std), after)
    return frames, *after


def _scaled(z: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    shape = (1, -1, 1, 1, 1)
    return z * torch.tensor(std).view(shape) + torch.tensor(mean).view(shape)


def _decoded(vae: Any, z: Tensor, kept: list[Any], **more: Any) -> Tensor:
    """As `AutoencoderKLWan._decode` decodes each frame; `kept` is replaced in place."""
    x = vae.post_quant_conv(z)
    made: Tensor = vae.decoder(x, feat_cache=kept, feat_idx=[0], **more)
    return made.clamp(-1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a convolution over time keeps."""

    shape: tuple[int, ...]
    doubles: bool = False
    """Whether it makes two frames of one; nothing of the first frame reaches it."""


def kept_by(config: Mapping[str, Any], rows: int, columns: int) -> list[Kept]:
    """By the decoder's convolutions in the order in which they run; rows and columns of latents."""
    base = config.get("decoder_base_dim") or config["base_dim"]
    widths = [base * m for m in (config["dim_mult"][-1], *config["dim_mult"][::-1])]
    found: list[Kept] = []

    def keep(*channels: int, doubles: bool = False) -> None:
        found.extend(Kept((1, c, KEPT, rows, columns), doubles) for c in channels)

    keep(config["z_dim"], *[widths[0]] * 4)
    doubling = [*config["temperal_downsample"][::-1], None]
    for i, (inside, outside) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        first = inside // 2 if i else inside
        keep(first, *[outside] * (2 * config["num_res_blocks"] + 1))
        if doubling[i]:
            keep(outside, doubles=True)
        if doubling[i] is not None:
            rows, columns = 2 * rows, 2 * columns
    keep(widths[-1])
    return found


def decode_video(r: Recipe, z: Value) -> None:
    """The output `video` of latents: their first frame alone, then `slice` of them at a time."""
    config = r.config("vae")
    if config.get("is_residual") or config.get("patch_size"):
        raise ValueError(f"{r.folder.path}: its VAE is of Wan 2.2; the recipe is of Wan 2.1")
    _, channels, frames, rows, columns = z.shape
    space, time = config.get("scale_factor_spatial", 8), config.get("scale_factor_temporal", 4)
    size, kept = (rows * space, columns * space), kept_by(config, rows, columns)
    shapes: dict[str, Any] = {f"next{i}": k.shape for i, k in enumerate(kept)}
    settings = {"mean": config["latents_mean"], "std": config["latents_std"]}
    cut: dict[str, Any] = {"port": "z", "axis": 2}
    own = {"weights_of": "decode"} if frames > 1 else {}
    values = [r.stage(
        decode_first, "vae", z=z.of(1, channels, 1, rows, columns), settings=settings,
        options={**own, "map": {**cut, "size": 1, "count": 1}}, frames=(1, 3, 1, *size),
        **{n: s for (n, s), k in zip(shapes.items(), kept, strict=True) if not k.doubles},
    )[0]]  # fmt: skip
    if frames > 1:
        count = r.option("slice", 1)
        carry = {f"kept{i}": f"next{i}" for i in range(len(kept))}
        cut |= {"size": count, "start": 1, "carry": carry}
        values.append(r.stage(
            decode, "vae", z=z.of(1, channels, count, rows, columns), settings=settings,
            options={"map": cut}, frames=(1, 3, time * count, *size), **shapes,
            **_begun(r, kept),
        )[0])  # fmt: skip
    r.video(values, r.option("fps", 16))


def _begun(r: Recipe, kept: Sequence[Kept]) -> dict[str, Any]:
    """What the second slice reads of the first latent frame, by port."""
    begun = {}
    for i, k in enumerate(kept):
        first = f"decode_first.next{i}"
        if k.doubles:
            first = f"{r.constant('zeros', f'nothing{i}', shape=list(k.shape))}.zeros"
        begun[f"kept{i}"] = Value(first, k.shape)
    return begun
