"""OpenSoraPlanInpaintPipeline, Open-Sora Plan 1.3: some frames are given, the others are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from entracte.graphs.opensora_plan.given import BLACK, clip_of, folded, frame_mask, places
from entracte.graphs.opensora_plan.resize import Size, centre, scaled, scaled_size, stride_size
from entracte.graphs.recipes.open_sora_plan import STRIDE, clip_frames, latent_shape, sampled
from entracte.graphs.recipes.recipe import Recipe, Shape, Value, stage
from entracte.graphs.recipes.wfvae import encoded

CONDITIONS = ("i2v", "transition", "continuation", "t2iv", "clear")
MOST_PIXELS = 236544
"""Of a frame, where the picture says how large the clip is."""


@stage
def prepare(picture: Tensor, first: Sequence[int], size: Sequence[int]) -> Tensor:
    """A picture, or frames, (1, 3, ..., rows, columns): scaled to `first`, then cut to `size`."""
    return centre(scaled(picture, (first[0], first[1])), (size[0], size[1]))


@stage
def clip(*pictures: Tensor, given: list[int], frames: int) -> Tensor:
    """Pictures (1, 3, height, width), or frames (1, 3, n, height, width), as the whole clip."""
    parts = [p if p.dim() == 5 else p[:, :, None] for p in pictures]
    return clip_of(torch.cat(parts, 2), given, frames)


@stage
def black(zeros: Tensor, frames: int, size: Sequence[int]) -> Tensor:
    """A clip of which nothing is given."""
    return zeros.expand(1, 3, frames, *size) + BLACK


@stage
def see(transformer: Any, latents: Tensor, given: list[int], frames: int) -> Tensor:
    """What given frames add to the tokens of every step: their latents, and which they are."""
    mask = folded(frame_mask(given, frames)).expand(-1, -1, -1, *latents.shape[3:])
    made: Tensor = transformer.see(latents, mask)
    return made


def open_sora_plan_i2v(r: Recipe) -> None:
    """As `open_sora_plan`; the transformer also reads the given frames, encoded, and which those
    are.

    Options:
        condition: `i2v` the first frame (input `image`), `transition` the first and the last
            (`image`, `last_image`), `continuation` the first `condition_frames` of a `video` (half
            of them where it is 0), `clear` all of a `video`, `t2iv` none.
        condition_indices: instead, places of frames, of which each is an input `image_0`, ...;
            below 0 they count from the end.
        source_height, source_width: of what is given, which is then prepared as upstream does; 0:
            it is given in the clip's size, to which the host brings it.
        crop_for_hw: whether the clip has `height` and `width`; else the largest size in which
            what is given fits `max_hxw` pixels, in multiples of 32.
    """
    frames, source = clip_frames(r), _source(r)
    given, (first, size) = _given(r, frames), _sizes(r, source)
    values = _inputs(r, frames, given, source or size)
    if source:
        values = [_prepared(r, value, first, size) for value in values]
    shape = latent_shape(r, frames, size)
    pixels = _clip(r, values, given, (1, 3, frames, *size))
    latents = encoded(r, pixels, r.noise(shape, "given_noise", salt=2))
    net = r.config("transformer")
    tokens = shape[2] * shape[3] * shape[4] // net["patch_size"] ** 2
    width = net["num_attention_heads"] * net["attention_head_dim"]
    seen = r.stage(see, "transformer", latents=latents, seen=(1, tokens, width),
                   settings={"given": list(given), "frames": frames})  # fmt: skip
    sampled(r, frames, size, seen)


def _prepared(r: Recipe, value: Value, first: Size, size: Size) -> Value:
    made: Value = r.stage(
        prepare, name=f"prepare_{value.name}", picture=value, options={"precision": "fp32"},
        settings={"first": first, "size": size}, prepared=(*value.shape[:-2], *size),
    )  # fmt: skip
    return made


def _clip(r: Recipe, values: Sequence[Value], given: Sequence[int], shape: Shape) -> Value:
    """The whole clip, black where nothing is given."""
    made: Value
    if values:
        ports: dict[str, Any] = {f"pictures{k}": value for k, value in enumerate(values)}
        made = r.stage(clip, **ports, pixels=shape,
                       settings={"given": list(given), "frames": shape[2]})  # fmt: skip
        return made
    one = (1, 3, 1, 1, 1)
    zeros = Value(f"{r.constant('zeros', 'nothing', shape=list(one))}.zeros", one)
    made = r.stage(black, zeros=zeros, pixels=shape,
                   settings={"frames": shape[2], "size": shape[3:]})  # fmt: skip
    return made


def _given(r: Recipe, frames: int) -> tuple[int, ...]:
    """Places of the frames that are given, in their order."""
    condition, listed = r.option("condition", CONDITIONS[0]), r.option("condition_indices", [])
    many = r.option("condition_frames", 0) or frames // 2
    if condition not in CONDITIONS:
        raise ValueError(
            f"pipeline.options.condition: {condition!r} is none of {', '.join(CONDITIONS)}"
        )
    if listed:
        known = all(isinstance(k, int) and -frames <= k < frames for k in listed)
        if not known or len({k % frames for k in listed}) < len(listed):
            raise ValueError(
                f"pipeline.options.condition_indices: {listed}: give different places among "
                f"{frames} frames"
            )
        return tuple(sorted(k % frames for k in listed))
    if condition == "continuation" and not 0 < many <= frames:
        raise ValueError(
            f"pipeline.options.condition_frames: {many} of {frames} frames; give 1 to {frames}"
        )
    if condition == "transition" and frames == 1:
        raise ValueError("pipeline.options.frames: 1 has no last frame; give 5 for a transition")
    return places(condition, frames, many)


def _source(r: Recipe) -> Size | None:
    """The size of what is given; None: that of the clip."""
    source = (r.option("source_height", 0), r.option("source_width", 0))
    if any(source) and min(source) < 1:
        raise ValueError(
            f"pipeline.options.source_height and source_width: {source[0]} x {source[1]}: give both"
        )
    return source if any(source) else None


def _sizes(r: Recipe, source: Size | None) -> tuple[Size, Size]:
    """What is given is scaled to the first size, and cut to the second, the clip's."""
    most, by_source = r.option("max_hxw", MOST_PIXELS), not r.option("crop_for_hw", False)
    size = (r.size("height", 352, STRIDE), r.size("width", 640, STRIDE))
    if source is None or not by_source:
        return size, size
    first = scaled_size(source, most)
    size = stride_size(first, STRIDE)
    if not all(size):
        raise ValueError(
            f"pipeline.options.source_height and source_width: {source[0]} x {source[1]} in at "
            f"most {most} pixels is less than {STRIDE} high or wide; give larger ones"
        )
    return first, size


def _inputs(r: Recipe, frames: int, given: Sequence[int], source: Size) -> list[Value]:
    """What a user gives, in the order of the clip: pictures, or a video."""
    listed = [k % frames for k in r.option("condition_indices", [])]
    if listed:
        made = [r.image(f"image_{k}", *source) for k in range(len(listed))]
        return [made[listed.index(place)] for place in given]
    condition = r.option("condition", CONDITIONS[0])
    if condition in ("i2v", "transition"):
        names = ("image", "last_image")[: len(given)]
        return [r.image(name, *source) for name in names]
    if condition == "t2iv":
        return []
    shape = (1, 3, len(given), *source)
    return [r.given("video", shape, kind="video", range=[-1.0, 1.0])]
