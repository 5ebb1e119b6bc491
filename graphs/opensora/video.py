"""Sizes of a clip and of its latents, with the faults a user can make (`pipeline.video.*`)."""

from __future__ import annotations

from dataclasses import dataclass

from entracte.graphs.opensora.vae import VAEConfig

SPACE_FACTOR = 8
"""Pixels per latent row and column. A rest is cut off: 426 columns are decoded to 424."""
_LEAST_PIXELS = 2 * SPACE_FACTOR
"""One token of 2 x 2 latents."""


@dataclass(frozen=True)
class Video:
    """A clip: frames, rows and columns of pixels, frames per second."""

    frames: int
    height: int
    width: int
    fps: float


def latent_size(video: Video, vae: VAEConfig) -> tuple[int, int, int]:
    """Latent frames, rows and columns of a clip (`reference/systems.md` section 1.1).

    Raises:
        ValueError: the clip is no whole number of the VAE's groups of frames, which a map over
            equal groups needs, or smaller than a token, or its rate is not positive.
    """
    group = vae.micro_frames
    if video.frames < 1 or video.frames % group:
        near = max(1, round(video.frames / group)) * group
        raise ValueError(
            f"pipeline.video.frames: {video.frames} frames are no whole number of the VAE's groups "
            f"of {group}; give a multiple of {group}, for instance {near}"
        )
    for key, size in (("height", video.height), ("width", video.width)):
        if size < _LEAST_PIXELS:
            raise ValueError(
                f"pipeline.video.{key}: {size} pixels; give at least {_LEAST_PIXELS} (multiples of "
                f"{SPACE_FACTOR} are decoded whole, the rest of others is cut off)"
            )
    if not video.fps > 0:
        raise ValueError(f"pipeline.video.fps: {video.fps} is not positive")
    rows, columns = video.height // SPACE_FACTOR, video.width // SPACE_FACTOR
    return vae.latent_frames(video.frames), rows, columns


def check_batch(batch: int, frames: int) -> None:
    """The spatial decoder runs on equal batches of frames; raises `ValueError` if it cannot."""
    if batch < 1 or frames % batch:
        allowed = ", ".join(str(n) for n in range(1, frames + 1) if frames % n == 0)
        raise ValueError(
            f"map.size: batches of {batch} do not make {frames} frames; give one of {allowed}"
        )
