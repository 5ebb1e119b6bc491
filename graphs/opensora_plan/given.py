"""Frames that are given: which they are, and the mask that says so.

Source: Open-Sora Plan 1.3, `opensora/utils/mask_utils.py` (MaskProcessor, MaskCompressor) and
`opensora/sample/pipeline_inpaint.py`, in our words.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

TIME, SPACE = 4, 8
"""Frames and pixels that a latent is of."""
BLACK = -1.0
"""What frames are, before the VAE, that are not given: they are masked while black is 0 of 255."""


def places(condition: str, frames: int, many: int = 0) -> tuple[int, ...]:
    """The frames that a condition gives; `many` of a continuation."""
    found = {
        "t2iv": (),
        "i2v": (0,),
        "transition": (0, frames - 1),
        "continuation": range(many),
        "clear": range(frames),
    }
    return tuple(sorted(set(found[condition])))


def frame_mask(given: Sequence[int], frames: int) -> Tensor:
    """(1, 1, frames, 1, 1): 0 where a frame is given, 1 where it is to be made."""
    known = set(given)
    return torch.tensor([float(k not in known) for k in range(frames)]).view(1, 1, -1, 1, 1)


def masked(frames: Tensor, mask: Tensor) -> Tensor:
    """Frames from -1 to 1 as the VAE gets them: black wherever something is to be made."""
    return frames * (1 - mask) + BLACK * mask


def clip_of(pictures: Tensor, given: Sequence[int], frames: int) -> Tensor:
    """Of the given frames (1, 3, given, height, width), in their order, the whole clip, black
    where none is given."""
    black = torch.full_like(pictures[:, :, :1], BLACK)
    parts, after = [], 0
    for k, place in enumerate(given):
        parts.append(black.expand(-1, -1, place - after, -1, -1))
        parts.append(pictures[:, :, k : k + 1])
        after = place + 1
    parts.append(black.expand(-1, -1, frames - after, -1, -1))
    return torch.cat([p for p in parts if p.shape[2]], 2)


def folded(mask: Tensor) -> Tensor:
    """(1, 1, frames, height, width) of latents' rows and columns -> (1, 4, latents, ...): channels
    are the frames of a latent; those of the first latent are the first frame."""
    first = mask[:, :, :1].expand(-1, -1, TIME, -1, -1)
    whole = torch.cat([first, mask[:, :, 1:]], 2)
    return whole.reshape(-1, TIME, *whole.shape[3:])[None].transpose(1, 2)


def compressed(mask: Tensor) -> Tensor:
    """The same of a mask of pixels, which is scaled down between pixels (not averaged)."""
    size = (mask.shape[3] // SPACE, mask.shape[4] // SPACE)
    small = functional.interpolate(mask[0].transpose(0, 1), size, mode="bilinear")
    return folded(small.transpose(0, 1)[None])
