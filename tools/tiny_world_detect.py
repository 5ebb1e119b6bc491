"""Says what a tiny-world clip shows, by plain image analysis (no learnt parts)."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from tools.train_tiny.world import COLOURS

# A motion must cover this many pixels, and growth this ratio of areas, to count.
LEAST_TRAVEL, LEAST_GROWTH = 8.0, 2.5
# Filled part of the bounding box: square 1, circle 0.785, triangle 0.5.
SQUARE_FILL, CIRCLE_FILL = 0.89, 0.65


@dataclass(frozen=True)
class Detection:
    """What a clip shows; "none" where it cannot be told."""

    shape: str
    colour: str
    motion: str
    background: str


@dataclass(frozen=True)
class Figure:
    """The figure in one frame."""

    x: float
    y: float
    area: float
    fill: float


def detect(clip: np.ndarray) -> Detection:
    """Analyse a clip [T, H, W, 3] in [0, 1] (or uint8)."""
    clip = clip.astype(np.float32) / (255.0 if clip.dtype == np.uint8 else 1.0)
    border = np.concatenate([clip[:, 0], clip[:, -1], clip[:, :, 0], clip[:, :, -1]], axis=1)
    ground = np.median(border.reshape(-1, 3), axis=0)
    background = _background(ground)
    contrast = np.abs(clip - ground).max(-1)
    colour, paint = _colour(clip, contrast)
    if paint is None:
        return Detection("none", "none", "none", background)
    # Coverage: how far each pixel lies on the way from the background to the paint.
    way = paint - ground
    coverage = ((clip - ground) @ way / max(float(way @ way), 1e-6)).clip(0, 1)
    figures = [figure for frame in coverage if (figure := _figure(frame)) is not None]
    if len(figures) < len(clip) // 2:
        return Detection("none", colour, "none", background)
    return Detection(_shape(figures), colour, _motion(figures), background)


def _background(ground: np.ndarray) -> str:
    """Black or white, if it is near either."""
    if ground.max() < 0.25:
        return "black"
    return "white" if ground.min() > 0.75 else "none"


def _colour(clip: np.ndarray, contrast: np.ndarray) -> tuple[str, np.ndarray | None]:
    """The name of the nearest hue and the mean colour of the figure's inside."""
    inside = contrast > max(0.3, 0.7 * np.quantile(contrast, 0.999))
    if inside.sum() < 20:
        return "none", None
    paint = np.median(clip[inside], axis=0)
    hue, saturation, _ = colorsys.rgb_to_hsv(*map(float, paint))
    if saturation < 0.35:
        return "none", paint
    hues = {n: colorsys.rgb_to_hsv(*(v / 255 for v in rgb))[0] for n, rgb in COLOURS.items()}
    return min(hues, key=lambda name: abs((hue - hues[name] + 0.5) % 1 - 0.5)), paint


def _figure(coverage: np.ndarray) -> Figure | None:
    """Centre, area and filled part of the bounding box of a frame's figure [H, W]."""
    solid = coverage > 0.5
    if solid.sum() < 12:
        return None
    soft = np.where(coverage > 0.15, coverage, 0)
    area = float(soft.sum())
    rows, columns = np.arange(len(soft)), np.arange(soft.shape[1])
    x, y = float(soft.sum(0) @ columns) / area, float(soft.sum(1) @ rows) / area
    # The box from the longest row and column, so that stray pixels cannot stretch it.
    width, height = float(soft.sum(1).max()), float(soft.sum(0).max())
    return Figure(x, y, area, area / (width * height))


def _shape(figures: list[Figure]) -> str:
    """By the filled part of the bounding box; the larger half of the frames votes."""
    large = sorted(figures, key=lambda figure: figure.area)[len(figures) // 2 :]
    fill = float(np.median([figure.fill for figure in large]))
    if fill > SQUARE_FILL:
        return "square"
    return "circle" if fill > CIRCLE_FILL else "triangle"


def _motion(figures: list[Figure]) -> str:
    """Growth if the area says so, else by the path of the centre."""
    start, end = figures[:3], figures[-3:]
    if np.mean([f.area for f in end]) > LEAST_GROWTH * np.mean([f.area for f in start]):
        return "grows"
    path = np.array([(f.x, f.y) for f in figures])
    length = float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
    spread = np.ptp(path, axis=0)
    move = path[-1] - path[0]
    if length < LEAST_TRAVEL:
        return "none"
    if spread.min() > LEAST_TRAVEL and float(np.linalg.norm(move)) < 0.5 * length:
        return "circles"
    if np.abs(move).max() < LEAST_TRAVEL:
        return "none"
    if abs(move[0]) > abs(move[1]):
        return "right" if move[0] > 0 else "left"
    return "down" if move[1] > 0 else "up"
