"""A video as .mp4, .gif, or a contact sheet as .png: the writer of `run/outputs.py`'s video."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_SMALLEST_SIDE = 256
"""Smaller videos are enlarged by whole numbers: players blur 64 pixels beyond recognition."""


def to_frames(video: Any) -> "np.ndarray":
    """(1, 3, frames, height, width) in [0, 1] -> uint8 (frames, height, width, 3)."""
    import numpy as np

    array: np.ndarray = np.asarray(video, dtype=np.float32)[0].transpose(1, 2, 3, 0)
    frames: np.ndarray = np.clip(np.rint(array * 255.0), 0, 255).astype(np.uint8)
    return frames


_MOST_SIDE = {".mp4": 16384, ".gif": 65535, ".png": 2**31 - 1}
"""Of libx264, of the format, of the format."""
_RATES = {".mp4": (0.01, 1000.0), ".gif": (0.01, 100.0), ".png": (0.0, math.inf)}
"""Frames per second: denominators are kept small, and a GIF counts hundredths of seconds."""


def video_fault(shape: tuple[int, ...], ending: str, fps: float) -> str | None:
    """What keeps a video of this shape out of a file with this ending; None where nothing does."""
    frames, height, width = shape[2:]
    if 0 in (frames, height, width):
        return f"there is nothing in {frames} frames of {height} x {width}"
    scale = _scale(height, width)
    if max(height, width) * scale > _MOST_SIDE[ending]:
        return f"{ending} holds at most {_MOST_SIDE[ending]} pixels a side, not {height} x {width}"
    if ending == ".mp4" and (height * scale % 2 or width * scale % 2):
        return f"H.264 takes even sides only, not {height} x {width}"
    low, high = _RATES[ending]
    if not low <= fps <= high:
        return f"{ending} holds {low:g} to {high:g} frames a second, not {fps:g}"
    return None


def _scale(height: int, width: int) -> int:
    return max(1, -(-_SMALLEST_SIDE // max(1, min(height, width))))


def write_video(video: Any, path: Path, fps: float) -> None:
    """Write (1, 3, frames, height, width) in [0, 1] in the format of the suffix."""
    frames = to_frames(video)
    suffix = path.suffix.lower()
    if suffix == ".png":
        _write_sheet(frames, path)
        return
    scale = _scale(*frames.shape[1:3])
    large = frames.repeat(scale, axis=1).repeat(scale, axis=2)
    write = {".mp4": _write_mp4, ".gif": _write_gif}[suffix]
    write(large, path, fps)


def _write_mp4(frames: "np.ndarray", path: Path, fps: float) -> None:
    from fractions import Fraction

    import av

    with av.open(str(path), "w") as container:
        rate = Fraction(fps).limit_denominator(1000)
        stream = container.add_stream("libx264", rate=rate, options={"crf": "12"})
        stream.height, stream.width = frames.shape[1], frames.shape[2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            image = av.VideoFrame.from_ndarray(frame, format="rgb24")
            container.mux(stream.encode(image))
        container.mux(stream.encode())


def _write_gif(frames: "np.ndarray", path: Path, fps: float) -> None:
    import imageio.v3 as iio

    # Into memory: a picture's writer that meets a full disk tries again when it is collected.
    data = iio.imwrite("<bytes>", frames, extension=".gif", duration=1000.0 / fps, loop=0)
    path.write_bytes(data)


def _write_sheet(frames: "np.ndarray", path: Path) -> None:
    import imageio.v3 as iio

    path.write_bytes(iio.imwrite("<bytes>", contact_sheet(frames), extension=".png"))


def contact_sheet(frames: "np.ndarray", columns: int = 8) -> "np.ndarray":
    """All frames in rows of `columns`, left to right, with a thin grey border."""
    import numpy as np

    count, height, width, _ = frames.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    sheet = np.full((rows * (height + 2) + 2, columns * (width + 2) + 2, 3), 128, np.uint8)
    for i, frame in enumerate(frames):
        top = 2 + (i // columns) * (height + 2)
        left = 2 + (i % columns) * (width + 2)
        sheet[top : top + height, left : left + width] = frame
    return sheet
