"""Mask strategies of Open-Sora: which latent frames are given, and how far each may be changed.

A strategy is groups `loop,reference,reference_start,target_start,length,edit_ratio`, separated by
`;` (`opensora/utils/inference_utils.py` of v1.2.0, `reference/systems.md` section 1.1). Latent
frames of a reference are copied into the clip; the edit ratio says at which time they begin to be
denoised: 0 never, 1 from the start on. Positions count latent frames, negative ones from the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

ALIGN = 5
"""Latent frames of one of the VAE's groups: positions are moved to where one begins."""
_FIELDS = ("loop", "reference", "reference_start", "target_start", "length", "edit_ratio")
_DEFAULTS = ("0", "0", "0", "0", "1", "0")
_TIMES = 1000.0
_WHERE = "pipeline.options.mask_strategy"


@dataclass(frozen=True, slots=True)
class Group:
    """What is copied from where to where; counted in latent frames."""

    loop: int = 0
    reference: int = 0
    reference_start: int = 0
    target_start: int = 0
    length: int = 1
    edit_ratio: float = 0.0


@dataclass(frozen=True, slots=True)
class Run:
    """Latent frames that lie side by side, in the clip and where they are from."""

    reference: int | None
    """None: of the noise."""
    start: int
    """Of the reference; of the noise where they lie in the clip."""
    length: int


@dataclass(frozen=True, slots=True)
class Masked:
    """A strategy that was applied to a clip.

    Attributes:
        sources: of each latent frame of the clip the reference and its latent frame; None where
            noise stays.
        ratios: of each the edit ratio; 1 where noise stays.
    """

    sources: tuple[tuple[int, int] | None, ...]
    ratios: tuple[float, ...]

    def runs(self) -> list[Run]:
        """What the clip begins with, from its first frame to its last."""
        whole = [(None, i) if s is None else s for i, s in enumerate(self.sources)]
        made = []
        for _, found in groupby(enumerate(whole), lambda p: (p[1][0], p[1][1] - p[0])):
            frames = [source for _, source in found]
            made.append(Run(frames[0][0], frames[0][1], len(frames)))
        return made


def parse_mask_strategy(text: str) -> tuple[Group, ...]:
    """Groups of a text; none of an empty one. Raises `ValueError`."""
    return tuple(_group(part) for part in text.split(";")) if text.strip() else ()


def _group(part: str) -> Group:
    words = [word.strip() for word in part.split(",")]
    known = f"a group is {','.join(_FIELDS)}, those left out at the end being 0,0,0,0,1,0"
    if len(words) > len(_FIELDS):
        raise ValueError(f"{_WHERE}: {part!r} has {len(words)} numbers; {known}")
    words += _DEFAULTS[len(words) :]
    try:
        loop, reference, start, target, length = map(int, words[:-1])
        ratio = float(words[-1])
    except ValueError:
        raise ValueError(
            f"{_WHERE}: {part!r}: the first five are whole numbers, the last is a number; {known}"
        ) from None
    return Group(loop, reference, start, target, length, ratio)


def apply_mask_strategy(
    groups: Sequence[Group],
    frames: int,
    references: Sequence[int],
    align: int | None = ALIGN,
    loop: int = 0,
) -> Masked:
    """What each latent frame of the clip begins with; later groups are written over earlier ones.

    Args:
        frames: latent frames of the clip.
        references: latent frames of each reference.
        align: multiples of so many latent frames begin a copy; None takes positions as they are.
        loop: groups of other loops are not read.

    Raises:
        ValueError: a reference that is not there, or a position that is outside.
    """
    sources: list[tuple[int, int] | None] = [None] * frames
    ratios = [1.0] * frames
    for group in (g for g in groups if g.loop == loop):
        if not 0 <= group.reference < len(references):
            raise ValueError(
                f"{_WHERE}: there is no reference {group.reference} (counted from 0); "
                f"{len(references)} are given: `references` has the frames of each"
            )
        of = references[group.reference]
        start = _position("reference_start", group.reference_start, of, align)
        target = _position("target_start", group.target_start, frames, align)
        for i in range(min(group.length, frames - target, of - start)):
            sources[target + i] = (group.reference, start + i)
            ratios[target + i] = group.edit_ratio
    return Masked(tuple(sources), tuple(ratios))


def _position(name: str, given: int, frames: int, align: int | None) -> int:
    """Counted from the start, and moved to the nearer multiple that a whole group follows."""
    at = given + frames if given < 0 else given
    if align:
        group, rest = divmod(at, align)
        at = (group + (rest > align / 2 and group < frames // align - 1)) * align
    if not 0 <= at < frames:
        raise ValueError(
            f"{_WHERE}: {name} {given} is outside; there are {frames} latent frames: give "
            f"{-frames} to {frames - 1}"
        )
    return at


def frame_tables(
    timesteps: np.ndarray, dt: np.ndarray, ratios: Sequence[float]
) -> dict[str, np.ndarray]:
    """Of each step and latent frame, float32.

    A frame is active from the step on whose timestep is at most 1000 times its ratio; before, it is
    not changed, and the model sees it at time 0. In the first of its steps noise is mixed in, as
    much as there is at that time. (With a ratio of 1 it begins as noise. Upstream compares in
    float32, where the first timestep may come out above 1000, and then leaves that step out: here
    such a frame is always active.)

    Args:
        timesteps: [steps], from 1000 down.
        dt: [steps], of the same steps.
        ratios: of each latent frame.

    Returns:
        `x_mask` [steps, frames]: 1 where a frame is active, else 0. As factors of latents,
        [steps, frames, 1, 1], `share`: of noise that is mixed in before the step, and `dt`: the
        step's length, 0 where a frame is not active.
    """
    own = np.asarray(ratios, np.float32)
    times = np.asarray(timesteps, np.float32)[:, None]
    active = (own * np.float32(_TIMES) >= times) | (own == 1)
    before = np.concatenate([(own == 1)[None], active[:-1]])
    share = np.where(active & ~before, np.asarray(timesteps)[:, None] / _TIMES, 0)
    length = np.where(active, np.asarray(dt)[:, None], 0)
    found = {"x_mask": active, "share": share[..., None, None], "dt": length[..., None, None]}
    return {name: table.astype(np.float32) for name, table in found.items()}
