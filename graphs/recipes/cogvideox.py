"""CogVideoXPipeline: 1.0 (2B, 5B) and 1.5, text to video."""

from __future__ import annotations

from typing import Any

from diffusers.models.embeddings import get_3d_rotary_pos_embed
from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid
from torch import Tensor, nn

from entracte.graphs.recipes.parts import guided
from entracte.graphs.recipes.parts_cogvideox import decode_video
from entracte.graphs.recipes.parts_t5 import t5_text
from entracte.graphs.recipes.recipe import Recipe, Value, image_scale, stage


@stage
def denoise(transformer: nn.Module, z: Tensor, time: Tensor, states: Tensor) -> Tensor:
    """What one half of guidance gives; z is (1, frames, channels, rows, columns)."""
    made: Tensor = transformer(z, states, time, image_rotary_emb=rotary(transformer, z),
                               return_dict=False)[0]  # fmt: skip
    return made


@stage
def guide(both: Tensor, guidance: Tensor) -> Tensor:
    """Of [without, with]."""
    return guided(both, guidance)


def rotary(transformer: Any, z: Tensor) -> tuple[Tensor, Tensor] | None:
    """Tables of the tokens' places; 2B has another embedding inside."""
    of = transformer.config
    if not of.use_rotary_positional_embeddings:
        return None
    grid = (z.shape[3] // of.patch_size, z.shape[4] // of.patch_size)
    base = (of.sample_height // of.patch_size, of.sample_width // of.patch_size)
    if of.patch_size_t is None:
        crops = get_resize_crop_region_for_grid(grid, base[1], base[0])
        return get_3d_rotary_pos_embed(of.attention_head_dim, crops, grid, z.shape[1])
    frames = -(-z.shape[1] // of.patch_size_t)
    return get_3d_rotary_pos_embed(of.attention_head_dim, None, grid, frames, grid_type="slice",
                                   max_size=base)  # fmt: skip


def cogvideox(r: Recipe) -> None:
    """T5, a transformer over text and frames, a causal decoder two latent frames at a time."""
    of = r.config("transformer")
    scale = image_scale(r.config("vae"))
    height = r.size("height", of["sample_height"] * scale, scale * of["patch_size"])
    width = r.size("width", of["sample_width"] * scale, scale * of["patch_size"])
    frames, padded = latent_frames(r)
    z = r.noise((1, padded, of["in_channels"], height // scale, width // scale))
    sample(r, z, padded - frames)


def latent_frames(r: Recipe) -> tuple[int, int]:
    """Of the clip, and how many the transformer sees: 1.5 joins them in pairs."""
    of = r.config("transformer")
    ratio, pairs = of["temporal_compression_ratio"], of["patch_size_t"] or 1
    frames = (r.size("frames", of["sample_frames"], ratio, 1) - 1) // ratio + 1
    return frames, -(-frames // pairs) * pairs


def sample(r: Recipe, z: Value, drop: int, **image: Value) -> None:
    """The loop with guidance, and the video without its first `drop` latent frames."""
    of = r.config("transformer")
    texts = [r.text("negative"), r.text("prompt", "a panda plays a guitar")]
    states, _ = t5_text(r, texts, of["max_text_seq_length"])
    guidance = r.number("guidance", 6.0)
    halves = {"map": {"port": "states", "axis": 0, "size": 1}}
    with r.sampling(z, steps=50) as loop:
        both = r.stage(denoise, "transformer", z=loop.input, time=loop.time, **image,
                       states=states.of(1, *states.shape[1:]), output=z, options=halves)  # fmt: skip
        loop.step(r.stage(guide, both=both.of(2, *z.shape[1:]), guidance=guidance, output=z))
    decode_video(r, loop.z, drop, 16.0 if of["patch_size_t"] else 8.0)
