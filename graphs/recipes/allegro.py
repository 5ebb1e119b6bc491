"""AllegroPipeline: text to video, decoded tile by tile."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from diffusers import AllegroPipeline
from torch import Tensor, nn

from entracte.graphs.recipes.allegro_decoder import covered, decoded
from entracte.graphs.recipes.parts import guided, twice
from entracte.graphs.recipes.parts_t5_masked import t5_states
from entracte.graphs.recipes.recipe import Recipe, image_scale, stage

_RATE = 15.0


@stage
def denoise(
    net: nn.Module, z: Tensor, time: Tensor, states: Tensor, negative_mask: Tensor, mask: Tensor,
    guidance: Tensor, *, scale: int,
) -> Tensor:  # fmt: skip
    """What the scheduler takes away. `scale`: pixels that a latent is wide."""
    of = SimpleNamespace(vae_scale_factor_spatial=scale, transformer=net)
    _, _, n, h, w = z.shape
    turns = AllegroPipeline._prepare_rotary_positional_embeddings(
        of, 1, h * scale, w * scale, n, z.device
    )
    made = net(twice(z), states[:, None], time.expand(2), image_rotary_emb=turns,
               encoder_attention_mask=torch.cat([negative_mask, mask]),
               return_dict=False)[0]  # fmt: skip
    return guided(made, guidance)


def allegro(r: Recipe) -> None:
    """T5, a transformer with guidance, a decoder of tiles."""
    net, vae = r.config("transformer"), r.config("vae")
    scale, ratio = image_scale(vae), vae["temporal_compression_ratio"]
    frames = covered(r, "frames", net["sample_frames"] * ratio, 0, ratio * net["patch_size_t"])
    height, width = (
        covered(r, name, net[f"sample_{name}"] * scale, axis, scale * net["patch_size"])
        for axis, name in ((1, "height"), (2, "width"))
    )
    length = r.option("length", 512)
    prompt = r.tokenize("tokenizer", r.text("prompt", "a red cat"), length, clean="caption")
    negative = r.tokenize("tokenizer", r.text("negative"), length, clean="caption")
    states, guidance = t5_states(r, prompt, negative), r.number("guidance", 7.5)
    z = r.noise((1, net["in_channels"], frames // ratio, height // scale, width // scale))
    with r.sampling(z, steps=100) as loop:
        loop.step(r.stage(denoise, "transformer", z=loop.input, time=loop.time, states=states,
                          negative_mask=negative.mask, mask=prompt.mask, guidance=guidance,
                          settings={"scale": scale}, output=z))  # fmt: skip
    r.video(decoded(r, loop.z), _RATE)
