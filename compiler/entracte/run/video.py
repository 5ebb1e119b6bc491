"""Pictures and videos as files: what `run/outputs.py` writes of both.

A piece of either becomes frames, uint8 (frames, height, width, 3), as it is made. Clips are encoded
frame by frame; sheets and GIFs when all is there. `metadata` is a comment in the file; empty: none.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entracte.run.comment import commented
from entracte.run.spool import Spool

if TYPE_CHECKING:
    import numpy as np

SMALL_SIDE = 256
"""Players blur smaller videos: whoever writes one is told that it can be enlarged."""


def to_frames(video: Any, low: float = 0.0, high: float = 1.0) -> "np.ndarray":
    """(1, 3, frames, height, width) -> uint8 (frames, height, width, 3); see `_levels`."""
    import numpy as np

    return _levels(np.asarray(video)[0].transpose(1, 2, 3, 0), low, high)


def to_pictures(images: Any, low: float = 0.0, high: float = 1.0) -> "np.ndarray":
    """(images, 3, height, width) -> uint8 (images, height, width, 3); see `_levels`."""
    import numpy as np

    return _levels(np.asarray(images).transpose(0, 2, 3, 1), low, high)


def _levels(array: "np.ndarray", low: float, high: float) -> "np.ndarray":
    """round(255 (x - low) / (high - low)) in fp32, half to even, within 0 to 255; NaN is 0."""
    import numpy as np

    unit = np.asarray(array, dtype=np.float32)
    if (low, high) != (0.0, 1.0):
        unit = (unit - np.float32(low)) / np.float32(high - low)
    levels: np.ndarray = np.clip(np.rint(np.nan_to_num(unit * 255.0)), 0, 255).astype(np.uint8)
    return levels


# ---------------------------------------------------------------- what a file can hold

_CLIPS = {
    # Its trees of macroblocks read memory that nobody wrote, at 64 x 64 as at 256 x 264: the same
    # frames would be other bytes each time.
    ".mp4": ("libx264", {"crf": "12", "x264-params": "mbtree=0"}),
    ".webm": ("libvpx-vp9", {"crf": "12", "b": "0"}),
}
_MOST_SIDE = {".mp4": 16384, ".webm": 16384, ".gif": 65535, ".png": 2**31 - 1, ".jpg": 65535,
              ".jpeg": 65535, ".webp": 16383, "/": 2**31 - 1}  # fmt: skip
"""Of libx264, of libvpx, of the formats."""
CLIPS = (".mp4", ".webm", ".gif")
"""What moves, and may be enlarged."""
_RATES = {".mp4": (0.01, 1000.0), ".webm": (0.01, 1000.0), ".gif": (0.01, 100.0)}
"""Frames per second: denominators are kept small, and a GIF counts hundredths of seconds."""


def video_fault(shape: tuple[int, ...], ending: str, fps: float, scale: int = 1) -> str | None:
    """What keeps a video of this shape out of a file with this ending; None where nothing does.

    `scale`: how many times clips and GIFs are enlarged.
    """
    frames, height, width = shape[2:]
    scale = scale if ending in CLIPS else 1
    if fault := _size_fault(frames, height, width, scale, ending):
        return fault
    if ending in _CLIPS and (height * scale % 2 or width * scale % 2):
        codec = "H.264" if ending == ".mp4" else "VP9 in 4:2:0"
        sides = f"{height * scale} x {width * scale}"
        return f"{codec} takes even sides only, not {sides} (--scale {2 * scale} makes them even)"
    low, high = _RATES.get(ending, (0.0, math.inf))
    if not low <= fps <= high:
        return f"{ending} holds {low:g} to {high:g} frames a second, not {fps:g}"
    return None


def image_fault(shape: tuple[int, ...], ending: str) -> str | None:
    """The same of images."""
    return _size_fault(shape[0], shape[2], shape[3], 1, ending)


def _size_fault(frames: int, height: int, width: int, scale: int, ending: str) -> str | None:
    if 0 in (frames, height, width):
        return f"there is nothing in {frames} frames of {height} x {width}"
    high, wide = height * scale, width * scale
    if ending not in CLIPS and ending != "/" and frames > 1:
        high, wide = _sheet_sides(frames, height, width)
    if max(high, wide) > _MOST_SIDE[ending]:
        sheet = "" if (high, wide) == (height * scale, width * scale) else f", a sheet of {frames}"
        return (
            f"{ending} holds at most {_MOST_SIDE[ending]} pixels a side, not {height} x {width}"
            f"{sheet}"
        )
    return None


def enlarged(frames: "np.ndarray", scale: int) -> "np.ndarray":
    """(frames, height, width, 3), each pixel `scale` times in both directions."""
    return frames if scale == 1 else frames.repeat(scale, axis=1).repeat(scale, axis=2)


# ---------------------------------------------------------------- writers


class Clip:
    """A clip that is encoded frame by frame."""

    def __init__(  # noqa: PLR0913 - what a clip is
        self,
        path: Path,
        ending: str,
        shape: tuple[int, ...],
        fps: float,
        *,
        scale: int = 1,
        metadata: str = "",
    ) -> None:
        from fractions import Fraction

        import av

        height, width = shape[3:]
        self._scale = scale
        # Without it a .webm holds numbers that are drawn anew each time.
        self._container = av.open(str(path), "w", container_options={"fflags": "+bitexact"})
        if metadata:
            self._container.metadata["comment"] = metadata
        codec, options = _CLIPS[ending]
        rate = Fraction(fps).limit_denominator(1000)
        stream: Any = self._container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = height * scale, width * scale
        stream.pix_fmt = "yuv420p"
        self._stream = stream

    def take(self, frames: "np.ndarray") -> None:
        """The next frames."""
        import av

        for frame in frames:
            (large,) = enlarged(frame[None], self._scale)
            image = av.VideoFrame.from_ndarray(large, format="rgb24")
            self._container.mux(self._stream.encode(image))

    def finish(self, _: Mapping[str, Spool]) -> None:
        """All frames came."""
        self._container.mux(self._stream.encode())
        self._container.close()

    def abandon(self) -> None:
        """It is not to be."""
        with suppress(Exception):
            self._container.close()


class Frames:
    """A folder of numbered pictures, each written as it is made."""

    def __init__(self, folder: Path, metadata: str = "") -> None:
        self._folder, self._metadata, self._count = folder, metadata, 0

    def take(self, frames: "np.ndarray") -> None:
        """The next pictures."""
        for frame in frames:
            data = _encoded(frame, ".png", self._metadata)
            (self._folder / f"{self._count:05}.png").write_bytes(data)
            self._count += 1

    def finish(self, _: Mapping[str, Spool]) -> None:
        """Nothing is left to do."""

    def abandon(self) -> None:
        """The folder goes as a whole."""


def write_gif(frames: "np.ndarray", path: Path, fps: float, metadata: str = "") -> None:
    """All frames, moving."""
    path.write_bytes(_encoded(frames, ".gif", metadata, duration=1000.0 / fps, loop=0))


def write_sheet(frames: "np.ndarray", path: Path, ending: str, metadata: str = "") -> None:
    """All frames on one sheet."""
    path.write_bytes(_encoded(contact_sheet(frames), ending, metadata))


def write_picture(frames: "np.ndarray", path: Path, ending: str, metadata: str = "") -> None:
    """One picture as it is; several on one sheet."""
    made = frames[0] if len(frames) == 1 else contact_sheet(frames)
    path.write_bytes(_encoded(made, ending, metadata))


_QUALITY: Mapping[str, Mapping[str, object]] = {
    ".jpg": {"quality": 95},
    ".jpeg": {"quality": 95},
    ".webp": {"lossless": True},
}


def _encoded(array: "np.ndarray", ending: str, metadata: str = "", **more: object) -> bytes:
    import imageio.v3 as iio

    # Into memory: a picture's writer that meets a full disk tries again when it is collected.
    options: dict[str, Any] = {**_QUALITY.get(ending, {}), **commented(ending, metadata), **more}
    data: bytes = iio.imwrite("<bytes>", array, extension=ending, **options)
    return data


def contact_sheet(frames: "np.ndarray", columns: int = 8) -> "np.ndarray":
    """All frames in rows of `columns`, left to right, with a thin grey border."""
    import numpy as np

    count, height, width, _ = frames.shape
    sheet = np.full((*_sheet_sides(count, height, width, columns), 3), 128, np.uint8)
    columns = min(columns, count)
    for i, frame in enumerate(frames):
        top = 2 + (i // columns) * (height + 2)
        left = 2 + (i % columns) * (width + 2)
        sheet[top : top + height, left : left + width] = frame
    return sheet


def _sheet_sides(count: int, height: int, width: int, columns: int = 8) -> tuple[int, int]:
    columns = min(columns, count)
    rows = -(-count // columns)
    return rows * (height + 2) + 2, columns * (width + 2) + 2
