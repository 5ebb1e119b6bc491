"""What a run made, as a small strip of frames for the page: decoded, made small and encoded anew,
so that nothing of the file itself is in the page but its pixels and what it says of its making."""

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from entracte.errors import RunError
from entracte.ir import Plan
from entracte.plan.file import plan_sha256
from entracte.run.media import frames_of
from entracte.run.metadata import Metadata, read_metadata
from entracte.run.origin import plan_digest

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

MOST_FRAMES = 12
"""In the strip."""
MOST_READ = 4096
"""Frames of a file that are looked at."""
SIDE = 112
"""Pixels of the longer side in the strip; smaller frames stay as they are."""
MOST_BYTES = 120 * 1024
"""Of all frames of a strip together, as they stand in the page."""
_QUALITIES = (88, 75, 55, 30)


@dataclass(frozen=True, slots=True)
class Shot:
    """A frame: its number in the file, from 1, and a JPEG as a `data:` address."""

    number: int
    address: str


@dataclass(frozen=True, slots=True)
class Clip:
    """The strip. `frames`: how many the file has; of longer ones as many as were read.

    `width` and `height`: of the file's frames, in pixels. `inputs`: what it was made of, as the
    file says itself; `is_known`: it names this very plan (one of another plan is refused).
    """

    shots: tuple[Shot, ...]
    frames: int
    is_cut: bool
    width: int
    height: int
    inputs: tuple[tuple[str, str], ...]
    is_known: bool


def clip_of(plan: Plan, path: Path) -> Clip:
    """The strip of a clip, a picture or a folder of pictures. Raises `RunError`: it cannot be
    read, or says that another plan made it."""
    whose = "--clip"
    found = _said(path)
    if found is not None and found.plan not in (plan_digest(plan), plan_sha256(plan)):
        raise RunError(
            f"{whose}: {path}: was made by another plan (it names {_short(found.plan)}); give one "
            "of this plan, `plan whence FILE --build BUILD` tells"
        )
    kept, count, is_cut, (height, width) = _sampled(frames_of(whose, path))
    shots = _encoded(kept)
    told = tuple((name, str(value)) for name, value in found.inputs) if found else ()
    return Clip(shots, count, is_cut, width, height, told, found is not None)


def _said(path: Path) -> Metadata | None:
    try:
        return read_metadata(path)
    except RunError:
        return None


def _short(digest: str) -> str:
    """Of a text that may be anything, only what may be printed."""
    return digest[:12] if digest.isascii() and digest.isalnum() else "none"


def _sampled(
    frames: Iterable["np.ndarray"],
) -> "tuple[list[tuple[int, Image]], int, bool, tuple[int, int]]":
    """(number, small picture) of frames as far apart, and the last: of any number in little memory.
    Then how many there are, whether more were left unread, and (height, width) of the first."""
    kept: list[tuple[int, Image]] = []
    every, count, last, size = 1, 0, None, (0, 0)
    for frame in frames:
        if count == MOST_READ:
            return _chosen(kept, last), count, True, size
        count += 1
        size = size if size != (0, 0) else (frame.shape[0], frame.shape[1])
        last = (count, frame)
        if (count - 1) % every:
            continue
        kept.append((count, _small(frame)))
        if len(kept) > 4 * MOST_FRAMES:
            kept, every = kept[::2], 2 * every
    return _chosen(kept, last), count, False, size


def _chosen(
    kept: "list[tuple[int, Image]]", last: "tuple[int, np.ndarray] | None"
) -> "list[tuple[int, Image]]":
    if last is not None and kept[-1][0] != last[0]:
        kept.append((last[0], _small(last[1])))
    if len(kept) <= MOST_FRAMES:
        return kept
    return [kept[round(i * (len(kept) - 1) / (MOST_FRAMES - 1))] for i in range(MOST_FRAMES)]


def _small(frame: "np.ndarray") -> "Image":
    from PIL import Image

    image = Image.fromarray(frame)
    image.thumbnail((SIDE, SIDE))
    return image


def _encoded(kept: "list[tuple[int, Image]]") -> tuple[Shot, ...]:
    """In the best quality that is small enough; of frames that never are, only the first ones."""
    for quality in _QUALITIES:
        shots = [Shot(number, _address(image, quality)) for number, image in kept]
        if sum(len(s.address) for s in shots) <= MOST_BYTES:
            return tuple(shots)
    while sum(len(s.address) for s in shots) > MOST_BYTES:
        shots.pop()
    return tuple(shots)


def _address(image: "Image", quality: int) -> str:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
