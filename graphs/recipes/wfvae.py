"""WFVAE of Open-Sora Plan, decoded and encoded in slices: what each layer over time keeps is
carried from slice to slice, and the result is that of the whole clip
(`graphs/opensora_plan/wfvae.py`).

Decoding, the first call has two latents and makes three frames, each other latent makes four, and
the end two more of what was kept: the decoder runs one frame late behind its doubling of time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from entracte.graphs.models import build_model
from entracte.graphs.opensora_plan.wfvae_layers import Frames
from entracte.graphs.recipes.parts_latents import sampled
from entracte.graphs.recipes.recipe import Recipe, Value, stage

SPACE, TIME = 8, 4
"""Pixels and frames for each latent."""
Shapes = list[tuple[int, ...]]
Scale = Sequence[float] | float


@stage
def decode_whole(vae: Any, z: Tensor, scale: Scale, shift: Scale) -> Tensor:
    """All latents at once, to frames from -1 to 1."""
    frames: Tensor = vae.decode(_unscaled(z, scale, shift))
    return frames.clamp(-1.0, 1.0)


@stage
def decode_first(vae: Any, z: Tensor, scale: Scale, shift: Scale) -> tuple[Tensor, ...]:
    """Two latents -> three frames, and what is kept."""
    return _decoded(vae, z, Frames(is_last=False), scale, shift)


@stage
def decode(vae: Any, z: Tensor, *kept: Tensor, scale: Scale, shift: Scale) -> tuple[Tensor, ...]:
    """Latents, and what was kept before them -> four frames for each, and what is kept."""
    return _decoded(vae, z, Frames(kept, is_last=False), scale, shift)


@stage
def decode_rest(vae: Any, z: Tensor, *kept: Tensor, scale: Scale, shift: Scale) -> Tensor:
    """The last latents, and what was kept -> four frames for each, and two more."""
    return _decoded(vae, z, Frames(kept), scale, shift)[0]


@stage
def decode_end(vae: Any, *kept: Tensor) -> Tensor:
    """What was kept at and behind the doubling -> the last two frames."""
    frames = Frames(kept)
    x: Tensor = vae.decoder.pixels(vae.decoder.high(None, None, frames), frames)
    return x.clamp(-1.0, 1.0)


@stage
def encode_first(vae: Any, pixels: Tensor) -> tuple[Tensor, ...]:
    """The first frame -> the moments of a latent, and what is kept."""
    frames = Frames()
    return vae.encoder(pixels, frames), *frames.after


@stage
def encode(vae: Any, pixels: Tensor, *kept: Tensor) -> tuple[Tensor, ...]:
    """Frames, and what was kept before them -> moments of a latent for four, and what is kept."""
    frames = Frames(kept)
    return vae.encoder(pixels, frames), *frames.after


@stage
def sample_moments(noise: Tensor, *moments: Tensor, scale: Scale, shift: Scale) -> Tensor:
    """Latents as the denoiser has them: (mean + deviation x noise - shift) x scale. Logarithms of
    variances lie between -30 and 20, as in diffusers."""
    return (sampled(torch.cat(moments, 2), noise) - _each(shift)) * _each(scale)


def _each(value: Scale) -> Tensor:
    """For each channel."""
    return torch.tensor(value).view(1, -1, 1, 1, 1)


def _unscaled(z: Tensor, scale: Scale, shift: Scale) -> Tensor:
    return z * (1 / _each(scale)) + _each(shift)


def _decoded(vae: Any, z: Tensor, frames: Frames, scale: Scale, shift: Scale) -> tuple[Tensor, ...]:
    coefficients = vae.decoder(_unscaled(z, scale, shift), frames)
    pixels: Tensor = vae.decoder.pixels(coefficients, frames)
    return pixels.clamp(-1.0, 1.0), *frames.after


def kept_by_decoder(config: Mapping[str, Any], rows: int, columns: int) -> tuple[Shapes, int]:
    """What is kept between two slices of latents of so many rows and columns, and how many of these
    tensors are kept before the doubling."""
    with torch.device("meta"), torch.no_grad():
        decoder, frames = build_model("WFVAEModel", config).decoder, Frames(is_last=False)
        low = decoder.low(torch.empty(1, config["latent_dim"], 2, rows, columns), frames)
        before = len(frames.after)
        decoder.high(*low, frames)
    return [tuple(k.shape) for k in frames.after], before


def kept_by_encoder(config: Mapping[str, Any], rows: int, columns: int) -> Shapes:
    """What is kept between two slices of frames of so many rows and columns of pixels."""
    with torch.device("meta"), torch.no_grad():
        encoder, frames = build_model("WFVAEModel", config).encoder, Frames()
        encoder(torch.empty(1, 3, 1, rows, columns), frames)
    return [tuple(k.shape) for k in frames.after]


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    return {"scale": config["scale"], "shift": config["shift"]}


def decode_video(r: Recipe, z: Value, rate: float) -> None:
    """The output `video` of latents as the denoiser has them: option `slice` says how many are
    decoded in a call.

    Args:
        z: (1, latent_dim, latents, rows, columns).
        rate: frames a second.
    """
    config = r.config("vae")
    count = r.option("slice", 1)
    if count < 1:
        raise ValueError(f"pipeline.options.slice: {count} is not positive; give 1 or more latents")
    frames, size = z.shape[2], (z.shape[3] * SPACE, z.shape[4] * SPACE)
    if frames == 1:
        video = r.stage(decode_whole, "vae", z=z, settings=_settings(config),
                        frames=(1, 3, 1, *size))  # fmt: skip
        r.video([video], rate)
        return
    shapes, before = kept_by_decoder(config, *z.shape[3:])
    made = _first(r, z, shapes, size)
    values, kept = [made[0]], made[1:]
    whole, rest = divmod(frames - 2, count)
    if whole:
        made = _middle(r, z, kept, count, whole, size)
        values, kept = [*values, made[0]], made[1:]
    options: dict[str, Any] = {"weights_of": "decode_first"}
    if rest:
        options["map"] = {"port": "z", "axis": 2, "start": frames - rest, "size": rest, "count": 1}
        values.append(r.stage(
            decode_rest, "vae", z=_part(z, rest), settings=_settings(config), options=options,
            frames=(1, 3, TIME * rest + 2, *size), **_ports(kept),
        ))  # fmt: skip
    else:
        values.append(r.stage(decode_end, "vae", options=options, frames=(1, 3, 2, *size),
                              **_ports(kept[before:])))  # fmt: skip
    r.video(values, rate)


def _first(r: Recipe, z: Value, shapes: Shapes, size: tuple[int, int]) -> tuple[Value, ...]:
    made: tuple[Value, ...] = r.stage(
        decode_first, "vae", z=_part(z, 2), settings=_settings(r.config("vae")),
        options={"map": {"port": "z", "axis": 2, "size": 2, "count": 1}},
        frames=(1, 3, 3, *size), **_next(shapes),
    )  # fmt: skip
    return made


def _middle(
    r: Recipe, z: Value, kept: Sequence[Value], count: int, slices: int, size: tuple[int, int]
) -> tuple[Value, ...]:
    carry = {f"kept{i}": f"next{i}" for i in range(len(kept))}
    cut = {"port": "z", "axis": 2, "start": 2, "size": count, "count": slices, "carry": carry}
    made: tuple[Value, ...] = r.stage(
        decode, "vae", z=_part(z, count), settings=_settings(r.config("vae")),
        options={"weights_of": "decode_first", "map": cut},
        frames=(1, 3, TIME * count, *size), **_ports(kept), **_next([k.shape for k in kept]),
    )  # fmt: skip
    return made


def encoded(r: Recipe, pixels: Value, noise: Value) -> Value:
    """Latents as the denoiser has them, of a clip; option `encode_slice` says of how many latents
    the frames are that are encoded in a call.

    Args:
        pixels: (1, 3, 4n + 1, rows, columns) from -1 to 1.
        noise: (1, latent_dim, n + 1, rows / 8, columns / 8): what is drawn of the moments.
    """
    config = r.config("vae")
    shapes = kept_by_encoder(config, *pixels.shape[3:])
    made = r.stage(
        encode_first, "vae", pixels=_part(pixels, 1),
        options={"map": {"port": "pixels", "axis": 2, "size": 1, "count": 1}},
        moments=_moments(noise, 1), **_next(shapes),
    )  # fmt: skip
    moments = [made[0], *_later_moments(r, pixels, noise, made[1:])]
    named = {f"moments{i}": one for i, one in enumerate(moments)}
    z: Value = r.stage(sample_moments, noise=noise, settings=_settings(config),
                       options={"precision": "fp32"}, latents=noise.shape, **named)  # fmt: skip
    return z


def _later_moments(r: Recipe, pixels: Value, noise: Value, kept: Sequence[Value]) -> list[Value]:
    """Of all frames but the first: slices, and a rest."""
    latents, count = noise.shape[2] - 1, r.option("encode_slice", 1)
    if count < 1:
        raise ValueError(f"pipeline.options.encode_slice: {count} is not positive; give 1 or more")
    count, found, start = min(count, max(latents, 1)), list[Value](), 1
    parts = ("encode", count, latents // count), ("encode_rest", latents % count, 1)
    for name, part, slices in parts:
        if not part * slices:
            continue
        carry = {f"kept{i}": f"next{i}" for i in range(len(kept))}
        cut = {"port": "pixels", "axis": 2, "start": start, "size": TIME * part, "count": slices}
        made, *kept = r.stage(
            encode, "vae", name=name, pixels=_part(pixels, TIME * part),
            options={"weights_of": "encode_first", "map": cut | {"carry": carry}},
            moments=_moments(noise, part), **_ports(kept), **_next([k.shape for k in kept]),
        )  # fmt: skip
        found.append(made.of(*_moments(noise, part * slices)))
        start += TIME * part * slices
    return found


def _moments(noise: Value, count: int) -> tuple[int, ...]:
    """The shape of those of so many latents."""
    return (1, 2 * noise.shape[1], count, *noise.shape[3:])


def _part(value: Value, count: int) -> Value:
    """A slice of so many frames."""
    return value.of(*value.shape[:2], count, *value.shape[3:])


def _ports(values: Sequence[Value]) -> dict[str, Any]:
    return {f"kept{i}": v for i, v in enumerate(values)}


def _next(shapes: Shapes) -> dict[str, Any]:
    return {f"next{i}": s for i, s in enumerate(shapes)}
