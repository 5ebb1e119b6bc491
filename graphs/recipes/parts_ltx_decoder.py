"""LTX Video's decoder: its last block, where memory is, in slices of frames with what they see.

Its convolutions look ahead as well as back, and nothing else joins frames: so a slice is exact but
for as many frames at an end as convolutions lie behind, and those are left to the slice that has
what they see. Each slice hands its last frames on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from entracte.graphs.recipes.parts_ltx import latents
from entracte.graphs.recipes.recipe import Recipe, Value, stage


@stage
def lower(
    vae: Any, z: Tensor, first: Tensor | None = None, time: Tensor | None = None,
    amount: Tensor | None = None, noise: Tensor | None = None, added: Tensor | None = None, *,
    sizes: list[int],
) -> Tensor:  # fmt: skip
    """Tokens of all frames, or of those behind `first`, through all blocks but the last.

    Args:
        time: that the decoder is told, (1,), where it is conditioned so.
        amount: how much of `noise`, (1, channels, frames, rows, columns), is in the latents then.
        added: normal numbers for layers that add some, (1, numbers), in the layers' order.
        sizes: of the latents: frames, rows, columns.
    """
    x = latents(vae, z if first is None else torch.cat([first, z], 1), sizes)
    if amount is not None and noise is not None:
        x = (1 - amount) * x + amount * noise
    decoder = vae.decoder
    told = None if time is None else time * decoder.timestep_scale_multiplier
    with _drawing(added):
        x = decoder.mid_block(decoder.conv_in(x), told)
        for block in decoder.up_blocks[:-1]:
            x = block(x, told)
    return x


@stage
def upper(
    vae: Any, x: Tensor, before: Tensor | None = None, time: Tensor | None = None,
    added: Tensor | None = None, *, drop: list[int], keep: int,
) -> tuple[Tensor, ...]:  # fmt: skip
    """The last block: frames of the video without `drop` at the ends, and the last `keep` that
    were read, for the next slice's `before`."""
    seen = x if before is None else torch.cat([before, x], 2)
    decoder: Any = vae.decoder
    with _drawing(added):
        made = type(decoder).forward(_Upper(decoder), seen, time)
    frames = made[:, :, drop[0] : made.shape[2] - drop[1]]
    return (frames, seen[:, :, seen.shape[2] - keep :]) if keep else (frames,)


class _Upper:
    """A decoder as if its last block were all."""

    def __init__(self, decoder: Any) -> None:
        self._decoder, self.up_blocks = decoder, decoder.up_blocks[-1:]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)

    def conv_in(self, x: Tensor) -> Tensor:
        return x

    def mid_block(self, x: Tensor, _: Tensor | None) -> Tensor:
        return x


@contextmanager
def _drawing(numbers: Tensor | None) -> Iterator[None]:
    """Inside, `torch.randn` gives these one after the other."""
    if numbers is None:
        yield
        return
    before, rest = torch.randn, [numbers[0]]

    def randn(shape: Any, **_: Any) -> Tensor:
        taken, rest[0] = rest[0].split([prod(shape), len(rest[0]) - prod(shape)])
        return taken.reshape(shape)

    torch.randn = randn  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.randn = before


_KEYS = ("decoder_layers_per_block", "decoder_inject_noise", "decoder_spatio_temporal_scaling",
         "decoder_block_out_channels", "upsample_factor")  # fmt: skip
"""Of the decoder's blocks, of the first two for the one in the middle too; all from the end."""


@dataclass(frozen=True, slots=True)
class LastBlock:
    """Of the last block, all in what it reads.

    Attributes:
        shape: (1, channels, frames, rows, columns).
        sees: frames at an end that are not exact.
        grows: whether it doubles frames and pixels.
        below, above: how many numbers the blocks before it, and it, draw.
    """

    shape: tuple[int, int, int, int, int]
    sees: int
    grows: bool
    below: int
    above: int


def decode_video(
    r: Recipe, z: Value, sizes: tuple[int, int, int], rate: int, **first: Value
) -> None:
    """The output `video`."""
    vae = r.config("vae")
    last, noise, told = last_block(vae, sizes), {}, {}
    if vae["timestep_conditioning"]:
        told["time"] = r.number("decode_timestep", 0.0)
        noise["amount"] = r.number("decode_noise_scale", 0.0)
        noise["noise"] = r.noise((1, vae["latent_channels"], *sizes), "decode_noise", salt=2)
    noise |= _added(r, "lower_noise", last.below, salt=3)
    x = r.stage(lower, "vae", name="decode_lower", settings={"sizes": list(sizes)}, z=z, **first,
                **told, **noise, x=last.shape)  # fmt: skip
    r.video(_slices(r, x, last, told | _added(r, "upper_noise", last.above, salt=5)), rate)


def _added(r: Recipe, name: str, count: int, salt: int) -> dict[str, Value]:
    return {"added": r.noise((1, count), name, salt=salt)} if count else {}


def _slices(r: Recipe, x: Value, last: LastBlock, more: Mapping[str, Value]) -> list[Value]:
    """The first slice has no frames before it, the last none behind; those between are alike."""
    frames, keep = x.shape[2], 2 * last.sees
    many = (frames - 2 * keep - 1) // keep
    if many < 1:
        return [_upper(r, x, last, "decode", (frames, 0, 1), (0, 0), more)]
    left, right = (keep - 1, keep) if last.grows else (last.sees, last.sees)
    begun = Value("decode_first.next", (*x.shape[:2], keep, *x.shape[3:]))
    rest = frames - keep * (many + 2)
    middle = _upper(r, x, last, "decode", (keep, 2 * keep, many), (left, right),
                    {"before": begun, **more}, carry={"before": "next"})  # fmt: skip
    start = _upper(r, x, last, "decode_first", (2 * keep, 0, 1), (0, right), more, keep=keep)
    before = {"before": Value("decode.next", begun.shape), **more}
    end = _upper(r, x, last, "decode_last", (rest, frames - rest, 1), (left, 0), before)
    return [start, middle, end]


def _upper(
    r: Recipe, x: Value, last: LastBlock, name: str, slices: tuple[int, int, int],
    drop: tuple[int, int], ports: Mapping[str, Value], carry: Mapping[str, str] | None = None,
    keep: int = 0,
) -> Value:  # fmt: skip
    """A stage over slices, (size, start, count)."""
    vae, (size, start, count) = r.config("vae"), slices
    kept = ports["before"].shape[2] if "before" in ports else 0
    keep = kept if carry else keep
    scale = 1 + last.grows
    frames = (size + kept - 1) * scale + 1 - sum(drop)
    wide = [n * scale * vae["patch_size"] for n in x.shape[3:]]
    more = {"next": (*x.shape[:2], keep, *x.shape[3:])} if keep else {}
    map_ = {"port": "x", "axis": 2, "size": size, "start": start, "count": count}
    made = r.stage(
        upper, "vae", name=name, settings={"drop": list(drop), "keep": keep},
        x=x.of(*x.shape[:2], size, *x.shape[3:]), **ports,
        frames=(1, vae["out_channels"], frames, *wide), **more,
        options={"map": map_ | ({"carry": dict(carry)} if carry else {}),
                 **({} if name == "decode" else {"weights_of": "decode"})},
    )  # fmt: skip
    found: Value = made[0] if keep else made
    return found


def last_block(vae: Mapping[str, Any], sizes: tuple[int, int, int]) -> LastBlock:
    """Of latents of these frames, rows, columns."""
    layers, adds, grows, widths, factors = (list(reversed(vae[key])) for key in _KEYS)
    frames, rows, columns = sizes
    blocks = len(widths)
    by = 2 ** sum(grows[: blocks - 1])
    width = widths[-2] // factors[blocks - 2]
    # Frames that a convolution sees on one side.
    reach = 2 if vae["decoder_causal"] else 1
    own = reach * (2 * layers[blocks] + 1)
    inner = 2 * reach if width != widths[-1] else 0
    places, counts = rows * columns, list[int]()
    for k in range(blocks + 1):
        places *= 4 if k and grows[k - 1] else 1
        counts.append(2 * layers[k] * places if adds[k] else 0)
    return LastBlock(
        shape=(1, width, (frames - 1) * by + 1, rows * by, columns * by),
        sees=inner + (reach + -(-own // 2) if grows[blocks - 1] else own),
        grows=bool(grows[blocks - 1]),
        below=sum(counts[:-1]),
        above=counts[-1],
    )
