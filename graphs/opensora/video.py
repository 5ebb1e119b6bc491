"""Sizes of a clip and of its latents, with the faults a user can make (`pipeline.video.*`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeGuard

from entracte.graphs.opensora.published import PUBLISHED
from entracte.graphs.opensora.vae import VAEConfig

_LEAST_LATENTS = 2
"""Rows and columns: one token of 2 x 2; an odd rest of latents is padded to a token."""


@dataclass(frozen=True)
class Video:
    """A clip: frames, rows and columns of pixels, frames per second."""

    frames: int
    height: int
    width: int
    fps: float


def latent_size(video: Video, vae: VAEConfig, whole_groups: bool = True) -> tuple[int, int, int]:
    """Latent frames, rows and columns of a clip (`reference/systems.md` section 1.1).

    Args:
        whole_groups: whether one map over equal groups of frames decodes the clip.

    Raises:
        ValueError: the clip is no whole number of the VAE's groups of frames where it has to be; or
            no whole number of latents, and no published size; or its rate is not positive.
    """
    _check_frames(video.frames, vae.micro_frames if whole_groups else 1)
    _check_pixels(video, vae.space_factor)
    if not _is_number(video.fps) or not video.fps > 0:
        raise ValueError(f"pipeline.video.fps: {video.fps} is not positive; give frames a second")
    rows, columns = video.height // vae.space_factor, video.width // vae.space_factor
    return vae.latent_frames(video.frames), rows, columns


def _check_frames(frames: object, group: int) -> None:
    if _is_whole(frames) and frames >= 1 and frames % group == 0:
        return
    if group == 1:
        raise ValueError(f"pipeline.video.frames: {frames!r}; give a whole number, at least 1")
    below = int(frames) // group * group if _is_number(frames) and frames >= group else 0
    near = " or ".join(str(n) for n in (below, below + group) if n)
    raise ValueError(
        f"pipeline.video.frames: {frames} frames are no whole number of the VAE's groups of "
        f"{group}; give a multiple of {group}, for instance {near}"
    )


def _check_pixels(video: Video, factor: int) -> None:
    """Rows and columns are made in eights (`factor`). Upstream's own sizes may have a rest, which
    is cut off: 426 columns are decoded to 424."""
    if (video.height, video.width) in PUBLISHED:
        return
    least = _LEAST_LATENTS * factor
    for key, size in (("height", video.height), ("width", video.width)):
        if _is_whole(size) and size >= least and size % factor == 0:
            continue
        below = int(size) // factor * factor if _is_number(size) else 0
        near = sorted({max(least, n) for n in (below, below + factor)})
        raise ValueError(
            f"pipeline.video.{key}: {size} pixels are no multiple of {factor} from "
            f"{least} on; give {' or '.join(map(str, near))} (or height and width of a "
            "published size of Open-Sora, like 240x426)"
        )


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_batch(batch: int, frames: int) -> None:
    """The spatial decoder runs on equal batches of frames; raises `ValueError` if it cannot."""
    if batch < 1 or frames % batch:
        allowed = ", ".join(str(n) for n in range(1, frames + 1) if frames % n == 0)
        raise ValueError(
            f"map.size: batches of {batch} do not make {frames} frames; give one of {allowed}"
        )
