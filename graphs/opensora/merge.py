"""Temporal dimension token merging: attention on half the frames.

Frames 2k and 2k + 1 are averaged before an attention and its result is given to both
(On-device Sora, arXiv 2502.04363v2, equations 6 to 9). A last frame without a partner is kept as
it is and gets its own result back; the published code drops it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def merged_count(frames: int) -> int:
    """Frames that are left of `frames`: pairs, and the odd one."""
    return (frames + 1) // 2


def merge_frames(x: Tensor, frames: int) -> Tensor:
    """Tokens [B, frames * S, C] -> the means of neighbouring frames, [B, merged * S, C]."""
    b, n, c = x.shape
    tokens = n // frames
    pairs = frames // 2
    even = x[:, : 2 * pairs * tokens].reshape(b, pairs, 2, tokens, c)
    merged = (even[:, :, 0] + even[:, :, 1]).reshape(b, pairs * tokens, c) * 0.5
    if frames % 2 == 0:
        return merged
    return torch.cat((merged, x[:, 2 * pairs * tokens :]), dim=1)


def unmerge_frames(x: Tensor, frames: int) -> Tensor:
    """Tokens of merged frames [B, merged * S, C] -> a copy for each frame, [B, frames * S, C]."""
    b, n, c = x.shape
    tokens = n // merged_count(frames)
    x = x.reshape(b, merged_count(frames), tokens, c)
    both = torch.stack((x, x), dim=2).reshape(b, 2 * n, c)
    return both if frames % 2 == 0 else both[:, : frames * tokens]
