"""CogVideoX's decoder as diffusers calls it: two latent frames at a time, each convolution with the
last two frames of its input from before; so memory does not grow with the clip."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from entracte.graphs.recipes.recipe import Recipe, Shape, Value, image_scale, stage

AT_ONCE = 2
"""`num_latent_frames_batch_size` of AutoencoderKLCogVideoX, which no configuration says; norms over
what is decoded at once make it a part of the result. The first slice takes an odd frame more."""
SEEN = 2
"""Frames from before that a convolution over three reads."""


@stage
def decode_frames(vae: nn.Module, z: Tensor, *caches: Tensor, scaling: float) -> tuple[Tensor, ...]:
    """Latents, (1, frames, channels, rows, columns), to frames of a video and the next caches."""
    decoder: Any = vae.decoder
    paths = [_path(name) for name, module in decoder.named_modules()
             if getattr(module, "time_kernel_size", 1) > 1]  # fmt: skip
    before = _nested(paths, caches) if caches else None
    frames, after = decoder(z.transpose(1, 2) / scaling, conv_cache=before)
    return (frames, *(_found(after, path) for path in paths))


def decode_video(r: Recipe, z: Value, drop: int, rate: int) -> None:
    """The output `video` of latents, (1, frames, channels, rows, columns), without `drop` ones."""
    vae, many = r.config("vae"), z.shape[1] - drop
    first = min(many, AT_ONCE + many % AT_ONCE)
    rest = (many - first) // AT_ONCE
    if not rest:
        r.video(_decoded(r, z, "decode", {"start": drop, "size": first}), rate)
        return
    caches = {f"caches{k}": Value(f"first.next{k}", shape)
              for k, shape in enumerate(_caches(vae, *z.shape[3:]))}  # fmt: skip
    carry = {name: name.replace("caches", "next") for name in caches}
    later = {"start": drop + first, "size": AT_ONCE, "count": rest, "carry": carry}
    frames = _decoded(r, z, "decode", later, caches=caches)
    begin = {"start": drop, "size": first, "count": 1}
    r.video([_decoded(r, z, "first", begin, weights_of="decode"), frames], rate)


def _decoded(
    r: Recipe,
    z: Value,
    name: str,
    slices: dict[str, Any],
    weights_of: str = "",
    caches: Mapping[str, Value] | None = None,
) -> Value:
    """A stage that decodes `size` latent frames at once."""
    vae = r.config("vae")
    rows, columns = z.shape[3:]
    size, wide = slices["size"], image_scale(vae)
    made = {f"next{k}": shape for k, shape in enumerate(_caches(vae, rows, columns))}
    options = {"map": {"port": "z", "axis": 1, "output_axis": 2, **slices}}
    found = r.stage(
        decode_frames, "vae", name=name, settings={"scaling": vae["scaling_factor"]},
        z=z.of(1, size, *z.shape[2:]), **(caches or {}),
        frames=(1, vae["out_channels"], _frames(vae, size), rows * wide, columns * wide), **made,
        options=options | ({"weights_of": weights_of} if weights_of else {}),
    )  # fmt: skip
    return found[0]


def _frames(vae: Mapping[str, Any], latents: int) -> int:
    """What latent frames that are decoded at once become: of an odd number the first is one."""
    ratio = int(vae["temporal_compression_ratio"])
    return latents * ratio - (ratio - 1 if latents % 2 else 0)


def _caches(vae: Mapping[str, Any], rows: int, columns: int) -> list[Shape]:
    """Of each convolution over time, in the module's order."""
    widths: Sequence[int] = vae["block_out_channels"][::-1]
    found = [(vae["latent_channels"], 0), *[(widths[0], 0)] * 4]
    before = widths[0]
    for level, width in enumerate(widths):
        found += [(before, level), (width, level), *[(width, level)] * 2 * vae["layers_per_block"]]
        before = width
    found.append((widths[-1], len(widths) - 1))
    return [(1, wide, SEEN, rows << level, columns << level) for wide, level in found]


def _path(name: str) -> list[str]:
    """`up_blocks.0.resnets.1.conv1` is kept as up_block_0, resnet_1, conv1."""
    return re.sub(r"s\.(\d+)", r"_\1", name).split(".")


def _found(caches: Any, path: Sequence[str]) -> Tensor:
    for key in path:
        caches = caches[key]
    found: Tensor = caches
    return found


def _nested(paths: Sequence[Sequence[str]], caches: Sequence[Tensor]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for path, cache in zip(paths, caches, strict=True):
        inner = made
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        inner[path[-1]] = cache
    return made
