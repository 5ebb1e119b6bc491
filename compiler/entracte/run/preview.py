"""Previews while a loop runs: its latents as small pictures, by a linear map from channels to RGB.

An approximation: a pixel of a preview is a pixel of the latents, and no decoder has seen it. The
map's factors are of a pipeline's decoder: published ones, or fitted to a build's own clips
(`fitted`). They lie beside the plan (`preview.json`), which does not speak of them: what a preview
shows changes nothing that a run makes.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entracte.codec import decode, encode, parse_json
from entracte.disk.write import write_text
from entracte.errors import ConfigError, PlanError, RunError
from entracte.ir import Plan, Segment
from entracte.store.tensor_file import reading, whole_file

if TYPE_CHECKING:
    import numpy as np

FILE = "preview.json"
MOST_BYTES = 2**20
_LARGEST = 1e6
_RANKS = (4, 5)

Rgb = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearPreview:
    """`preview.json`. RGB from 0 to 1 is `bias` plus the sum of each channel times its factors.

    Attributes:
        tensor: a state of a loop: (1, channels, frames, height, width), or without frames.
        factors: (red, green, blue) of each channel.
        bias: (red, green, blue) of latents that are 0.
        source: where the factors are from, in words.
    """

    tensor: str
    factors: tuple[Rgb, ...]
    bias: Rgb
    source: str = ""

    def frames(self, latents: Any) -> "np.ndarray":
        """Latents as the tensor has them -> uint8 (frames, height, width, 3)."""
        import numpy as np

        rgb = np.tensordot(_pixels(latents), np.array(self.factors, np.float32), 1) + np.array(
            self.bias, np.float32
        )
        made: np.ndarray = np.rint(255 * np.clip(np.nan_to_num(rgb), 0, 1)).astype(np.uint8)
        return made


def _pixels(latents: Any) -> "np.ndarray":
    """(frames, height, width, channels) in fp32."""
    import numpy as np

    array = np.asarray(latents).astype(np.float32)
    array = array[:, :, None] if array.ndim == 4 else array
    return np.moveaxis(array[0], 0, -1)


# ---------------------------------------------------------------- which latents


def latents_of(plan: Plan, tensor: str = "") -> str:
    """The state of a loop that can be previewed: the one named, or the only one. Raises
    `RunError`."""
    shapes = {t.name: t.port.shape for t in plan.program.tensors}
    loops = [s for s in plan.program.segments if s.is_loop and not s.sliced]
    states = [name for s in loops for name, _, _ in s.state]
    fit = [n for n in states if len(shapes[n]) in _RANKS and shapes[n][0] == 1]
    if tensor:
        fit = [n for n in fit if n == tensor]
    if len(fit) == 1:
        return fit[0]
    has = f"{len(fit)}: {', '.join(fit)}; name one" if fit else "none"
    what = f"no state of a loop is {tensor!r}" if tensor else f"of such states there is {has}"
    raise RunError(
        "preview: needs a state of a loop of shape (1, channels, frames, height, width) or "
        f"(1, channels, height, width); {what}"
    )


def read_preview(path: Path, plan: Plan) -> LinearPreview:
    """Factors from a file that may be anybody's, held against the plan. Raises `RunError`."""
    try:
        with reading(path):
            raw = whole_file(path, MOST_BYTES)
        if raw is None:
            raise PlanError(f"larger than {MOST_BYTES} bytes")
        made: LinearPreview = decode(LinearPreview, parse_json(raw), FILE)
    except (ConfigError, ValueError, OverflowError) as error:
        raise RunError(
            f"preview: {path}: {error}; `plan preview BUILD` fits factors and writes them"
        ) from None
    latents_of(plan, made.tensor)
    channels = {t.name: t.port.shape for t in plan.program.tensors}[made.tensor][1]
    if len(made.factors) != channels:
        raise RunError(
            f"preview: {path}: has factors of {len(made.factors)} channels, {made.tensor} has "
            f"{channels}; fit them anew with `plan preview BUILD`"
        )
    if any(abs(x) > _LARGEST for row in (*made.factors, made.bias) for x in row):
        raise RunError(f"preview: {path}: a factor is beyond {_LARGEST:g}; fit them anew")
    return made


def write_preview(preview: LinearPreview, path: Path) -> None:
    """Whole or not at all. Raises `WriteError`."""
    body = encode(preview)
    del body["type"]
    write_text(path, json.dumps(body, indent=1) + "\n", durable=True)


# ---------------------------------------------------------------- while it runs


@dataclass(frozen=True, slots=True)
class Preview:
    """What a loop has so far.

    Attributes:
        loop: its name.
        iteration: that is done, from 1.
        count: of all.
        frames: uint8 (frames, height, width, 3): one pixel for each of the latents.
    """

    loop: str
    iteration: int
    count: int
    frames: "np.ndarray"


class Previewer:
    """Told at the end of each iteration; tells a preview of each `every`-th and of the last."""

    def __init__(
        self, linear: LinearPreview, told: Callable[[Preview], None], every: int = 1
    ) -> None:
        if every < 1:
            raise RunError(f"every: {every} is no number of iterations; give 1 or more")
        self._linear, self._told, self._every = linear, told, every

    def iterated(self, segment: Segment, done: int, fetch: Callable[[str], Any]) -> None:
        """See `Listeners.iterated`."""
        if self._linear.tensor not in {name for name, _, _ in segment.state}:
            return
        if done % self._every and done != segment.count:
            return
        frames = self._linear.frames(fetch(self._linear.tensor))
        self._told(Preview(segment.name, done, segment.count, frames))


# ---------------------------------------------------------------- fitting


def shrunk(clip: Any, like: Sequence[int]) -> "np.ndarray":
    """A clip (frames, height, width, 3) as the mean over each of `like`'s (frames, height, width)
    boxes. Where one frame more than a multiple is decoded (causal in time), the first box is the
    first frame alone. Raises `RunError` where it is no multiple."""
    import numpy as np

    frames, height, width = like
    array: np.ndarray = np.asarray(clip, np.float32)
    f, h, w, _ = array.shape
    whole = frames > 0 and f % frames == 0
    causal = frames > 1 and (f - 1) % (frames - 1) == 0
    if h % height or w % width or not (whole or causal):
        raise RunError(
            f"preview: a clip of {f} x {h} x {w} is no multiple of latents of "
            f"{frames} x {height} x {width}"
        )
    array = array.reshape(f, height, h // height, width, w // width, 3).mean((2, 4))
    if whole:
        means: np.ndarray = array.reshape(frames, f // frames, height, width, 3).mean(1)
        return means
    rest = array[1:].reshape(frames - 1, -1, height, width, 3).mean(1)
    return np.concatenate((array[:1], rest))


def fitted(tensor: str, latents: Sequence[Any], clips: Sequence[Any], source: str) -> LinearPreview:
    """Least squares between the latents after a loop and what was decoded of them.

    Args:
        latents: of several runs, as the tensor has them.
        clips: of the same runs: (frames, height, width, 3), 0 is black and 1 is white.
    """
    import numpy as np

    rows, wanted = [], []
    for z, clip in zip(latents, clips, strict=True):
        pixels = _pixels(z)
        rows.append(pixels.reshape(-1, pixels.shape[-1]))
        wanted.append(shrunk(clip, pixels.shape[:3]).reshape(-1, 3))
    x = np.concatenate(rows).astype(np.float64)
    x = np.concatenate((x, np.ones((len(x), 1))), 1)
    solution = np.linalg.lstsq(x, np.concatenate(wanted).astype(np.float64), rcond=None)[0]
    *factors, bias = (_rgb(row) for row in solution)
    return LinearPreview(tensor=tensor, factors=tuple(factors), bias=bias, source=source)


def _rgb(row: Any) -> Rgb:
    red, green, blue = (round(float(x), 6) for x in row)
    return red, green, blue
