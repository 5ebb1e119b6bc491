"""Cropping, and sampling at given coordinates: crop_resize, affine, resample."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from entracte.reference.bind import Bind
from entracte.reference.registry import Compute, Kind, op


@op("crop", "x", Kind.MOVE)
def crop(bind: Bind) -> Compute:
    """Cut the borders of the last two axes of x [n, c, h, w]."""
    (top, bottom), (left, right) = bind.ints("crop_height"), bind.ints("crop_width")
    return lambda x: x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


def _points(mode: str, low: torch.Tensor, high: torch.Tensor, count: int) -> torch.Tensor:
    """[boxes, count] positions from `low` to `high` (pixels, inclusive), on `resize`'s grids."""
    index = torch.arange(count, dtype=low.dtype)
    span = (high - low)[:, None]
    if mode == "ALIGN_CORNERS" and count == 1:
        offset = span / 2
    elif mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        offset = index * span / max(count - 1, 1)
    elif mode == "DEFAULT":
        offset = index * (span + 1) / count
    elif mode == "OFFSET_CORNERS":
        offset = (index + 0.5) * span.clamp(min=1) / count
    elif mode == "UNALIGN_CORNERS":
        offset = (index + 0.5) * (span + 1) / count - 0.5
    else:
        raise ValueError(f"unknown sampling mode {mode!r}")
    first, last = torch.minimum(low, high), torch.maximum(low, high)
    return torch.clamp(low[:, None] + offset, first[:, None], last[:, None])


def _corners(boxes: torch.Tensor, mode: str) -> tuple[torch.Tensor, ...]:
    """(top, left, bottom, right) of [n, 4] boxes in one of four conventions."""
    a, b, c, d = boxes.unbind(-1)
    if mode.endswith("WIDTH_FIRST"):
        a, b, c, d = b, a, d, c
    if mode.startswith("CENTER_SIZE"):
        return a - c / 2, b - d / 2, a + c / 2, b + d / 2
    return a, b, c, d


def _whole_if_outside(boxes: torch.Tensor, mode: str) -> torch.Tensor:
    """iOS15 takes the whole image for a box outside [0, 1]: Apple's expected value says so."""
    outside = ((boxes < 0) | (boxes > 1)).any(-1, keepdim=True)
    whole = [0.5, 0.5, 1.0, 1.0] if mode.startswith("CENTER_SIZE") else [0.0, 0.0, 1.0, 1.0]
    return torch.where(outside, torch.tensor(whole, dtype=boxes.dtype), boxes)


def _bilinear(images: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, outside: float
              ) -> torch.Tensor:  # fmt: skip
    """Sample [n, c, h, w] at rows [n, i] and columns [n, j]; beyond the border is `outside`."""
    height, width = images.shape[-2:]
    out = ((rows < 0) | (rows > height - 1))[:, None, :, None]
    out = out | ((columns < 0) | (columns > width - 1))[:, None, None, :]
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    top, left = rows.floor(), columns.floor()
    down, across = (rows - top)[:, None, :, None], (columns - left)[:, None, None, :]
    high = [top.long(), (top + 1).clamp(max=height - 1).long()]
    wide = [left.long(), (left + 1).clamp(max=width - 1).long()]
    batch = torch.arange(images.shape[0])[:, None, None]

    def at(i: int, j: int) -> torch.Tensor:
        picked = images[batch, :, high[i][:, :, None], wide[j][:, None, :]]
        return picked.movedim(-1, 1)

    upper = torch.lerp(at(0, 0), at(0, 1), across.to(images.dtype))
    lower = torch.lerp(at(1, 0), at(1, 1), across.to(images.dtype))
    result = torch.lerp(upper, lower, down.to(images.dtype))
    return torch.where(out, torch.full_like(result, outside), result)


@op("crop_resize", "x roi? boxes? box_indices?")
def crop_resize(bind: Bind) -> Compute:
    """Cut b boxes out of images x [n, c, h, w] and resize each to height by width.

    iOS17: boxes [b, 4], box_indices [b] to [b, c, height, width]. Before: roi [b, 1, 4, 1, 1] to
    [b, n, c, height, width], or [b, 1, 5, 1, 1] with the image's number first to
    [b, 1, c, height, width].
    """
    height, width = bind.const("target_height", 1), bind.const("target_width", 1)
    normalized = bind.const("normalized_coordinates", False)
    scale = bind.const("spatial_scale", 1.0)
    boxes_mode = bind.const("box_coordinate_mode", "CORNERS_HEIGHT_FIRST")
    mode = bind.const("sampling_mode", "DEFAULT")
    outside = bind.const("pad_value", 0.0)
    oldest = bind.opset < 16

    def cut(x: torch.Tensor, boxes: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        boxes = boxes * scale
        if oldest and normalized:
            boxes = _whole_if_outside(boxes, boxes_mode)
        top, left, bottom, right = _corners(boxes, boxes_mode)
        if normalized:
            top, bottom = top * (x.shape[2] - 1), bottom * (x.shape[2] - 1)
            left, right = left * (x.shape[3] - 1), right * (x.shape[3] - 1)
        rows = _points(mode, top, bottom, height)
        columns = _points(mode, left, right, width)
        return _bilinear(x[which.long()], rows, columns, outside)

    def run(
        x: torch.Tensor, roi: torch.Tensor | None, boxes: torch.Tensor | None,
        which: torch.Tensor | None,
    ) -> torch.Tensor:  # fmt: skip
        if boxes is not None:
            count = torch.arange(boxes.shape[0])
            return cut(x, boxes.to(x.dtype), count if which is None else which)
        assert roi is not None, "the builder checked that one of them is given"
        rows = roi.reshape(roi.shape[0], roi.shape[2])
        if rows.shape[1] == 5:
            return cut(x, rows[:, 1:], rows[:, 0])[:, None]
        number, batch = rows.shape[0], x.shape[0]
        many = cut(x, rows.repeat_interleave(batch, 0), torch.arange(batch).repeat(number))
        return many.reshape(number, batch, *many.shape[1:])

    if not bind.has("roi") and not bind.has("boxes"):
        raise bind.fail("needs boxes")
    return run


_PADDING = {"constant": "zeros", "border": "border", "reflection": "reflection"}


def _unit(points: torch.Tensor, size: int, align: bool) -> torch.Tensor:
    """Pixel positions to torch's [-1, 1]."""
    if align:
        return points * (2 / max(size - 1, 1)) - 1
    return (points * 2 + 1) / size - 1


def _sampler(bind: Bind) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Sampling at coordinates [n, h, w, (x, y)] in torch's [-1, 1] convention."""
    sampling = bind.const("sampling_mode").lower()
    padding = bind.const("padding_mode").lower()
    value = bind.const("padding_value", 0.0)
    align = bind.const("align_corners", True)
    if sampling not in ("bilinear", "nearest"):
        raise bind.fail(f"unknown sampling_mode {sampling!r}")
    if padding not in (*_PADDING, "symmetric"):
        raise bind.fail(f"unknown padding_mode {padding!r}")

    def run(x: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        # Filling with a value is filling the shifted image with zeros.
        shifted = x - value if padding == "constant" and value else x
        torch_mode = _PADDING.get(padding, "border")
        result = functional.grid_sample(shifted, points, sampling, torch_mode, align)
        return result + value if shifted is not x else result

    return run


@op("affine", "x transform_matrix")
def affine(bind: Bind) -> Compute:
    """Sample x [n, c, h, w] at linearly transformed coordinates: [n, c, height, width].

    transform_matrix [n or 1, 6]: a0 a1 a2 b0 b1 b2 of each image.
    """
    height, width = bind.const("output_height"), bind.const("output_width")
    align = bind.const("align_corners", True)
    sample = _sampler(bind)

    def run(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        theta = matrix.reshape(-1, 2, 3).expand(x.shape[0], 2, 3)
        size = [x.shape[0], x.shape[1], height, width]
        return sample(x, functional.affine_grid(theta, size, align_corners=align))

    return run


@op("resample", "x coordinates")
def resample(bind: Bind) -> Compute:
    """Sample x [n, c, h, w] at coordinates [n, h', w', (x, y)], in pixels or normalised.

    Result [n, c, h', w'].
    """
    mode = bind.const("coordinates_mode").lower()
    align = bind.const("align_corners", True)
    padding = bind.const("padding_mode").lower()
    sample = _sampler(bind)
    modes = ("unnormalized", "normalized_minus_one_to_one", "normalized_zero_to_one")
    if mode not in modes:
        raise bind.fail(f"unknown coordinates_mode {mode!r}")

    def pixels(x: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        sizes = torch.tensor([x.shape[3], x.shape[2]], dtype=points.dtype)
        if mode == "unnormalized":
            return points
        unit = points if mode == "normalized_zero_to_one" else (points + 1) / 2
        return unit * (sizes - 1) if align else unit * sizes - 0.5

    def run(x: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        place = pixels(x, points.float())
        if padding == "symmetric":
            sizes = torch.tensor([x.shape[3], x.shape[2]], dtype=place.dtype)
            folded = torch.remainder(place + 0.5, 2 * sizes)
            place = torch.where(folded > sizes, 2 * sizes - folded, folded) - 0.5
        across = _unit(place[..., 0], x.shape[3], align)
        down = _unit(place[..., 1], x.shape[2], align)
        return sample(x.float(), torch.stack((across, down), -1))

    return run
