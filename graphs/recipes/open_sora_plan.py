"""OpenSoraPlanPipeline, Open-Sora Plan 1.3: text to video, or to a picture."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from entracte.graphs.recipes.parts_halves import in_halves
from entracte.graphs.recipes.parts_rows import token_rows
from entracte.graphs.recipes.parts_t5 import LARGE, divided, t5_masks
from entracte.graphs.recipes.parts_umt5 import text
from entracte.graphs.recipes.recipe import Recipe, Value, stage
from entracte.graphs.recipes.refiner import refined
from entracte.graphs.recipes.wfvae import Scale, decode_video, decode_whole

SPACE, TIME = 8, 4
"""Pixels and frames that a latent is of."""
STRIDE = 32
"""Sizes of clips are multiples of it."""
BEFORE, BEHIND = "\n    high quality, high aesthetic, ", "\n    "
"""Around each prompt, as upstream's `positive_prompt` has it."""
NEGATIVE = (
    "\n    nsfw, lowres, bad anatomy, bad hands, text, error, missing fingers, extra digit, fewer "
    "digits, cropped, worst quality, \n    low quality, normal quality, jpeg artifacts, signature, "
    "watermark, username, blurry.\n    "
)


@stage
def denoise(
    transformer: nn.Module, z: Tensor, time: Tensor, states: Tensor, mask: Tensor,
    seen: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The velocity that each text asks for; `seen` is of the frames that are given."""
    count = len(states)
    seen = None if seen is None else seen.expand(count, *seen.shape[1:])
    made: Tensor = transformer(
        z.expand(count, -1, -1, -1, -1), time.expand(count), states, mask, seen
    )
    return made


@stage
def decode_image(vae: nn.Module, z: Tensor, scale: Scale, shift: Scale) -> Tensor:
    """One latent -> (1, 3, height, width), from -1 to 1."""
    return decode_whole(vae, z, scale, shift)[:, :, 0]


def open_sora_plan(r: Recipe) -> None:
    """mT5, a skiparse transformer over all frames, Euler ancestral, a causal VAE."""
    size = (r.size("height", 352, STRIDE), r.size("width", 640, STRIDE))
    sampled(r, clip_frames(r), size)


def clip_frames(r: Recipe) -> int:
    """Frames of the clip; 1: a picture."""
    return r.size("frames", 93, TIME, rest=1)


def latent_shape(r: Recipe, frames: int, size: tuple[int, int]) -> tuple[int, ...]:
    """Of a clip."""
    channels = r.config("transformer")["in_channels"]
    return (1, channels, (frames - 1) // TIME + 1, size[0] // SPACE, size[1] // SPACE)


def sampled(r: Recipe, frames: int, size: tuple[int, int], seen: Value | None = None) -> None:
    """The output of the texts, and of what is seen."""
    texts = _texts(r)
    told = {"guidance": r.number("guidance", 7.5)} if texts["states"].shape[0] == 2 else {}
    z = r.noise(latent_shape(r, frames, size))
    more = {"seen": seen} if seen else {}
    with r.sampling(z, steps=100) as loop:
        # What the halves differ by is multiplied, and then by sigmas of up to 4096.
        velocity = in_halves(r, denoise, loop.input, told, sliced=texts, precise=True,
                             time=loop.time, **more)  # fmt: skip
        loop.step(velocity)
    _decoded(r, loop.z)


def _decoded(r: Recipe, z: Value) -> None:
    rate = float(r.option("fps", 18))
    if z.shape[2] > 1:
        decode_video(r, z, rate)
        return
    r.option("slice", 1)  # of which a single latent has one
    vae, size = r.config("vae"), (z.shape[3] * SPACE, z.shape[4] * SPACE)
    settings = {"scale": vae["scale"], "shift": vae["shift"]}
    r.picture(r.stage(decode_image, "vae", z=z, settings=settings, image=(1, 3, *size)))


def _texts(r: Recipe) -> dict[str, Value]:
    """Features of the texts, [negative, prompt], and their masks."""
    config = r.config("text_encoder")
    length, width = r.size("length", 512), config["d_model"]
    ports: dict[str, Any] = {}
    prompt = r.text("prompt", "a red cat walks")
    reads = partial(refined, r) if r.option("refiner", False) else r.tokenize
    tokens = [reads("tokenizer", prompt, length, prefix=BEFORE, suffix=BEHIND)]
    if r.option("guided", True):
        tokens.insert(0, r.tokenize("tokenizer", r.text("negative", NEGATIVE), length))
    for name, one in zip(("prompt", "negative"), tokens[::-1], strict=False):
        ports[name] = token_rows(r, "text_encoder", "shared.weight", width, one)
        ports[f"{name}_mask"] = one.mask
    states: Value = r.stage(text, "text_encoder", options=divided(config, LARGE), **ports,
                            states=(len(tokens), length, width))  # fmt: skip
    return {"states": states, "mask": t5_masks(r, tokens)}
