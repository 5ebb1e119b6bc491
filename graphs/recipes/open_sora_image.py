"""Open-Sora's image to video, and all else that a mask strategy says: latent frames of pictures and
clips are given, the others are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from entracte.graphs.opensora.mask import (
    ALIGN,
    Group,
    Masked,
    apply_mask_strategy,
    parse_mask_strategy,
)
from entracte.graphs.opensora.vae import VAEConfig
from entracte.graphs.recipes.open_sora_encoder import Latents, Reference, encode_reference
from entracte.graphs.recipes.recipe import Loop, Recipe, Value, stage

_ENCODE = ("sample", "mean")
SALT = 1
"""Tells the noise of steps from that which the sampler begins with."""


@stage
def begin(*parts: Tensor, runs: Sequence[Sequence[int]]) -> Tensor:
    """What the sampler begins with: of each run its part, the first latent frame of it, and how
    many."""
    return torch.cat([parts[k][:, :, first : first + n] for k, first, n in runs], 2)


@stage
def mix(z: Tensor, noise: Tensor, share: Tensor) -> Tensor:
    """Into each latent frame that begins to move as much noise as there is at this time; share
    (1, T, 1, 1)."""
    return z + (noise - z) * share


@dataclass(frozen=True, slots=True)
class Given:
    """What a mask strategy gives to the sampler: the latents that it begins with, and which of
    their frames are denoised when."""

    z: Value
    masked: Masked


def given_frames(r: Recipe, cfg: VAEConfig, noise: Value, sides: tuple[int, int]) -> Given | None:
    """Noise in which latent frames are replaced as the option `mask_strategy` says; None where it
    is empty.

    Args:
        noise: (1, C, T, h, w).
        sides: height and width of the clip, to which references are fitted.

    Raises:
        ValueError: the strategy, or another of the options, cannot be.
    """
    groups = parse_mask_strategy(r.option("mask_strategy", ""))
    if not groups:
        return None
    _check_groups(groups)
    counts, align = _counts(r), r.size("align", ALIGN)
    latents = [cfg.latent_frames(n) for n in counts]
    masked = apply_mask_strategy(groups, noise.shape[2], latents, align)
    references = [_reference(r, masked, k, n, sides) for k, n in enumerate(counts)]
    found = {of.number: encode_reference(r, cfg, of) for of in references}
    return Given(_begun(r, noise, masked, found), masked)


def with_noise(r: Recipe, loop: Loop, given: Given, z: Value) -> Value:
    """What the denoiser reads: frames that begin to move in this step get their noise."""
    if not any(0 < ratio < 1 for ratio in given.masked.ratios):
        return z
    noise = r.noise(z.shape, "noise_of_step", salt=SALT)
    share = loop.scan("share", "schedule.share", (1, z.shape[2], 1, 1))
    made: Value = r.stage(mix, z=z, noise=noise, share=share, options={"precision": "fp32"},
                          mixed=z)  # fmt: skip
    return made


def _check_groups(groups: Sequence[Group]) -> None:
    """What a clip by itself, and an edit ratio, can be."""
    for group in groups:
        if group.loop:
            raise ValueError(
                f"pipeline.options.mask_strategy: a group is of loop {group.loop}; one clip is "
                "made, which is loop 0 (docs/image-to-video.md says how the next one is)"
            )
        if not 0 <= group.edit_ratio <= 1:
            raise ValueError(
                f"pipeline.options.mask_strategy: the edit ratio {group.edit_ratio} is not within "
                "0 (as it is given) and 1 (made)"
            )


def _counts(r: Recipe) -> list[int]:
    """Frames of each reference."""
    counts = list(r.option("references", [1]))
    if not counts or not all(isinstance(n, int) and n > 0 for n in counts):
        raise ValueError(
            f"pipeline.options.references: {counts}: give the frames of each reference, 1 for a "
            "picture: [1], or [1, 51]"
        )
    return counts


def _reference(
    r: Recipe, masked: Masked, number: int, frames: int, sides: tuple[int, int]
) -> Reference:
    """A picture, or a clip's first frames."""
    name = f"reference_{number + 1}" if number else "reference"
    used = [source[1] for source in masked.sources if source and source[0] == number]
    if not used:
        raise ValueError(
            f"pipeline.options.references: nothing of reference {number} (counted from 0) is in "
            "the clip; leave it out, or name it in `mask_strategy`"
        )
    usual = {"kind": "video", "range": [-1.0, 1.0]}
    shape = (1, 3, frames, *sides)
    pixels = r.image(name, *sides) if frames == 1 else r.given(name, shape, **usual)
    encode = r.option("encode", _ENCODE[0])
    if encode not in _ENCODE:
        raise ValueError(f"pipeline.options.encode: {encode!r} is not one of {', '.join(_ENCODE)}")
    return Reference(number, pixels, range(min(used), max(used) + 1), encode == _ENCODE[0])


def _begun(r: Recipe, noise: Value, masked: Masked, found: dict[int, Latents]) -> Value:
    """Latents of the whole clip, of the parts that are in it."""
    runs = masked.runs()
    order = sorted({run.reference for run in runs}, key=lambda k: -1 if k is None else k)
    values = [noise if k is None else found[k].value for k in order]
    rows = [
        [order.index(run.reference),
         run.start - (0 if run.reference is None else found[run.reference].first), run.length]
        for run in runs
    ]  # fmt: skip
    parts: dict[str, Any] = {f"parts{i}": value for i, value in enumerate(values)}
    made: Value = r.stage(begin, **parts, settings={"runs": rows}, z=noise)
    return made
