"""CogVideoXPipeline and CogVideoXImageToVideoPipeline: 1.0 (2B, 5B) and 1.5."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from entracte.graphs.recipes.parts_cogvideox import decode_video
from entracte.graphs.recipes.parts_cogvideox_places import check_learned, factors, rotary
from entracte.graphs.recipes.parts_halves import in_halves, texts_of
from entracte.graphs.recipes.parts_t5 import t5_text
from entracte.graphs.recipes.recipe import Recipe, Value, image_scale, stage


@stage
def denoise(
    transformer: Any, z: Tensor, time: Tensor, states: Tensor, image: Tensor | None = None
) -> Tensor:
    """What one half of guidance gives, or both; z and image are (1, frames, channels, rows,
    columns)."""
    x = z if image is None else torch.cat([z, image], 2)
    x = x.expand(len(states), -1, -1, -1, -1)
    ofs = None if transformer.config.ofs_embed_dim is None else z.new_full((1,), 2.0)
    places = rotary(transformer.config, x.shape)
    made: Tensor = transformer(x, states, time.expand(len(states)), ofs=ofs, return_dict=False,
                               image_rotary_emb=places)[0]  # fmt: skip
    return made


@stage
def encode_image(vae: Any, image: Tensor, noise: Tensor, frames: int, scaling: float) -> Tensor:
    """Latents of a picture, (1, 3, height, width), as the first of `frames`; the others are 0."""
    drawn = vae.encode(image[:, :, None]).latent_dist
    z = (drawn.mean + drawn.std * noise) * scaling
    return pad(z.transpose(1, 2), (0, 0, 0, 0, 0, 0, 0, frames - 1))


@stage
def dynamic(guidance: Tensor, time: Tensor, *, times: list[float], factors: list[float]) -> Tensor:
    """The step's guidance: more of the user's, the later it is."""
    is_now = (torch.tensor(times) - time).abs() < 0.5
    return 1 + guidance * (torch.tensor(factors) * is_now).sum(0, keepdim=True)


def cogvideox(r: Recipe) -> None:
    """T5, a transformer over text and frames, a causal decoder two latent frames at a time."""
    _cogvideox(r, has_image=False)


def cogvideox_image_to_video(r: Recipe) -> None:
    """The same with a picture, whose latents stand beside those of the first frame."""
    _cogvideox(r, has_image=True)


def _cogvideox(r: Recipe, *, has_image: bool) -> None:
    of, vae = r.config("transformer"), r.config("vae")
    scale, ratio = image_scale(vae), vae["temporal_compression_ratio"]
    pairs = of.get("patch_size_t") or 1
    height = r.size("height", of["sample_height"] * scale, scale * of["patch_size"])
    width = r.size("width", of["sample_width"] * scale, scale * of["patch_size"])
    check_learned(of, scale, height, width)
    frames = (r.size("frames", of["sample_frames"], ratio, 1) - 1) // ratio + 1
    # 1.5 joins latent frames in pairs; what fills the first pair up is dropped in the end.
    padded = -(-frames // pairs) * pairs
    shape = (1, padded, vae["latent_channels"], height // scale, width // scale)
    texts = texts_of(r, "a panda plays a guitar")
    states, _ = t5_text(r, texts, r.option("length", of["max_text_seq_length"]))
    told = {"guidance": r.number("guidance", 6.0)} if len(texts) > 1 else {}
    image: dict[str, Value] = {}
    if has_image:
        scaling = vae["scaling_factor"]
        image["image"] = r.stage(
            encode_image, "vae", image=r.image("image", height, width),
            noise=r.noise((1, shape[2], 1, *shape[3:]), "encode_noise", salt=4), latents=shape,
            settings={"frames": padded,
                      "scaling": 1 / scaling if vae.get("invert_scale_latents") else scaling},
        )  # fmt: skip
    is_dynamic = r.option("dynamic_guidance", False)
    with r.sampling(r.noise(shape), steps=50) as loop:
        if told and is_dynamic:
            settings = {"times": loop.times, "factors": factors(loop.times, r.sampling_steps(50))}
            told = {"guidance": r.stage(dynamic, None, **told, time=loop.time, now=(1,),
                                        settings=settings,
                                        options={"precision": "fp32"})}  # fmt: skip
        loop.step(in_halves(r, denoise, loop.input, told, sliced={"states": states},
                            time=loop.time, **image))  # fmt: skip
    decode_video(r, loop.z, padded - frames, r.option("fps", 16 if pairs > 1 else 8))
