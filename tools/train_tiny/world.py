"""The tiny world: one coloured shape that moves on a plain background.

Every clip is [16, 64, 64, 3] and one of 3 shapes x 6 colours x 6 motions x 2 backgrounds. Clips
are drawn on the fly from signed distances (anti-aliased over one pixel), so a whole batch is a
handful of numpy operations and no data set is stored anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

FRAMES, SIZE, FPS = 16, 64, 8

SHAPES = ("circle", "square", "triangle")
COLOURS = {
    "red": (226, 38, 42),
    "yellow": (240, 205, 30),
    "green": (36, 176, 62),
    "cyan": (30, 205, 215),
    "blue": (42, 72, 232),
    "purple": (178, 52, 214),
}
MOTIONS = ("left", "right", "up", "down", "grows", "circles")
BACKGROUNDS = {"black": (0, 0, 0), "white": (255, 255, 255)}

SHAPE_WORDS = {
    "circle": ("circle", "disc", "ball"),
    "square": ("square", "box", "block"),
    "triangle": ("triangle",),
}
MOTION_WORDS = {
    "left": ("moves left", "moves to the left", "slides left", "goes left"),
    "right": ("moves right", "moves to the right", "slides right", "goes right"),
    "up": ("moves up", "rises", "goes up", "slides up"),
    "down": ("moves down", "falls", "goes down", "slides down"),
    "grows": ("grows", "gets bigger", "expands"),
    "circles": ("circles", "moves in a circle", "goes around", "orbits"),
}


@dataclass(frozen=True)
class Combination:
    """One cell of the world."""

    shape: str
    colour: str
    motion: str
    background: str

    @property
    def held_out(self) -> bool:
        """True for the ~20 % of the cells that training never shows.

        A fixed Latin-square-like rule, so that every pair of attribute values is still seen.
        """
        shape, colour = SHAPES.index(self.shape), tuple(COLOURS).index(self.colour)
        motion, ground = MOTIONS.index(self.motion), tuple(BACKGROUNDS).index(self.background)
        return (2 * shape + colour + 3 * motion + ground) % 5 == 0

    @property
    def plain_caption(self) -> str:
        """The canonical caption; black is the default background and is not named."""
        motion = MOTION_WORDS[self.motion][0]
        tail = "" if self.background == "black" else f" on a {self.background} background"
        return f"a {self.colour} {self.shape} {motion}{tail}"


COMBINATIONS = tuple(Combination(*c) for c in product(SHAPES, COLOURS, MOTIONS, BACKGROUNDS))
SEEN = tuple(c for c in COMBINATIONS if not c.held_out)
HELD_OUT = tuple(c for c in COMBINATIONS if c.held_out)


def caption(combination: Combination, rng: np.random.Generator) -> str:
    """A random wording of `combination`; the plain caption with probability 0.4."""
    if rng.random() < 0.4:
        return combination.plain_caption
    article = rng.choice(("a", "the", "one"))
    shape = rng.choice(SHAPE_WORDS[combination.shape])
    motion = rng.choice(MOTION_WORDS[combination.motion])
    subject = f"{article} {combination.colour} {shape}"
    ground = combination.background
    if ground == "black" and rng.random() < 0.5:
        return f"{subject} {motion}"
    place = rng.choice((f"on a {ground} background", f"on {ground}", f"in front of {ground}"))
    return f"{subject} {motion} {place}" if rng.random() < 0.8 else f"{place} {subject} {motion}"


def every_wording() -> list[str]:
    """All words of all templates, as sentences, for training the tokenizer."""
    lines = [c.plain_caption for c in COMBINATIONS]
    lines += [w for words in (*SHAPE_WORDS.values(), *MOTION_WORDS.values()) for w in words]
    return lines + ["a the one", "on a black background", "in front of white", "on in front of"]


def _paths(
    motions: np.ndarray, rng: np.random.Generator, still: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres x, y and radius, each [B, 16], in pixels, for motion indices [B].

    The first `still` frames are the same; the others go the whole way in the frames that are left.
    """
    count = len(motions)
    held = max(0, still - 1)
    s = np.concatenate((np.zeros(held), np.linspace(0.0, 1.0, FRAMES - held)))[None]
    radius = rng.uniform(7.5, 10.5, (count, 1)) * np.ones_like(s)
    centre = SIZE / 2 + rng.uniform(-5, 5, (count, 2))
    x, y = (centre[:, i : i + 1] * np.ones_like(s) for i in (0, 1))
    travel = rng.uniform(26, 32, (count, 1)) * (s - 0.5)
    turn = 2 * np.pi * (s * 15 / 16 + rng.random((count, 1)))
    orbit = rng.uniform(12, 15, (count, 1))
    kind = motions[:, None]
    x = np.where(kind == MOTIONS.index("left"), x - travel, x)
    x = np.where(kind == MOTIONS.index("right"), x + travel, x)
    y = np.where(kind == MOTIONS.index("up"), y - travel, y)
    y = np.where(kind == MOTIONS.index("down"), y + travel, y)
    growth = rng.uniform(4.0, 5.5, (count, 1)) * (1 - s) + rng.uniform(13, 16, (count, 1)) * s
    radius = np.where(kind == MOTIONS.index("grows"), growth, radius)
    circles = kind == MOTIONS.index("circles")
    x = np.where(circles, x + orbit * np.cos(turn), x)
    y = np.where(circles, y + orbit * np.sin(turn), y)
    return x, y, radius


def _coverage(shapes: np.ndarray, x: np.ndarray, y: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Anti-aliased coverage in [0, 1], [B, n, 64, 64], of the shapes [B] at x, y, r [B, n]."""
    grid = np.arange(SIZE, dtype=np.float32) + 0.5
    dx = grid[None, None, None, :] - x[:, :, None, None].astype(np.float32)
    dy = grid[None, None, :, None] - y[:, :, None, None].astype(np.float32)
    r = r[:, :, None, None].astype(np.float32)
    distance = np.empty(dx.shape[:2] + (SIZE, SIZE), np.float32)
    for index, name in enumerate(SHAPES):
        pick = shapes == index
        px, py, pr = dx[pick], dy[pick], r[pick]
        if name == "circle":
            distance[pick] = np.sqrt(px * px + py * py) - pr
        elif name == "square":
            distance[pick] = np.maximum(np.abs(px), np.abs(py)) - 0.9 * pr
        else:  # upright, base 2.3 r and height 2 r: clearly not a square at any size
            slope = np.hypot(2.0, 1.15)
            side = (2.0 * np.abs(px) - 1.15 * (py + pr)) / slope
            distance[pick] = np.maximum(side, py - pr)
    return np.clip(0.5 - distance, 0.0, 1.0)


def draw(
    combinations: list[Combination],
    rng: np.random.Generator,
    frames: int = FRAMES,
    still: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Clips [B, 16, 64, 64, 3] and foreground coverage [B, 16, 64, 64], float32 in [0, 1].

    With `frames` < 16 only that many random frames of each clip are drawn, in random order. The
    first `still` frames of a clip are the same.
    """
    shapes = np.array([SHAPES.index(c.shape) for c in combinations])
    motions = np.array([MOTIONS.index(c.motion) for c in combinations])
    path = _paths(motions, rng, still)
    if frames < FRAMES:
        chosen = rng.integers(0, FRAMES, (len(combinations), frames))
        path = tuple(np.take_along_axis(p, chosen, 1) for p in path)
    coverage = _coverage(shapes, *path)
    front = np.array([COLOURS[c.colour] for c in combinations], np.float32) / 255
    front = np.clip(front + rng.uniform(-0.03, 0.03, front.shape).astype(np.float32), 0, 1)
    back = np.array([BACKGROUNDS[c.background] for c in combinations], np.float32) / 255
    front, back = (v[:, None, None, None, :] for v in (front, back))
    return back + (front - back) * coverage[..., None], coverage


def sample(count: int, rng: np.random.Generator) -> list[Combination]:
    """`count` random training cells (never a held-out one)."""
    return [SEEN[i] for i in rng.integers(0, len(SEEN), count)]


CLASSES = tuple(product(COLOURS, SHAPES))
"""Colour and shape of every class of the class-conditional demo, by its number."""


def pictures(classes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pictures [B, 64, 64, 3] and coverage [B, 64, 64], float32 in [0, 1], of classes [B].

    Place, size and background are the picture's own: no class says them.
    """
    count = len(classes)
    shapes = np.array([SHAPES.index(CLASSES[c][1]) for c in classes])
    radius = rng.uniform(7.0, 14.0, (count, 1))
    room = SIZE / 2 - 1.15 * radius - 1  # the triangle is 1.15 radii wide
    x, y = (SIZE / 2 + room * rng.uniform(-1, 1, (count, 1)) for _ in range(2))
    coverage = _coverage(shapes, x, y, radius)[:, 0]
    front = np.array([COLOURS[CLASSES[c][0]] for c in classes], np.float32) / 255
    front = np.clip(front + rng.uniform(-0.03, 0.03, front.shape).astype(np.float32), 0, 1)
    grounds = np.array(list(BACKGROUNDS.values()), np.float32) / 255
    back = grounds[rng.integers(0, len(grounds), count)]
    front, back = (v[:, None, None, :] for v in (front, back))
    return back + (front - back) * coverage[..., None], coverage
