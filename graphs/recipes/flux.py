"""FluxPipeline: FLUX.1 schnell, and dev, which is told of guidance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from entracte.graphs.recipes.parts import decode_image
from entracte.graphs.recipes.parts_flow import (
    even_sigmas,
    packed,
    places,
    shift_of,
    unpacked,
    within_fp16,
)
from entracte.graphs.recipes.parts_t5 import t5_text
from entracte.graphs.recipes.recipe import Recipe, image_scale, stage


@stage
def pooled_text(clip: nn.Module, prompt: Tensor) -> Tensor:
    """The text as one vector."""
    made: Tensor = clip(prompt).pooler_output
    return made


@stage
def denoise(
    transformer: nn.Module, z: Tensor, time: Tensor, states: Tensor, pooled: Tensor,
    guidance: Tensor | None = None, *, precision: str,
) -> Tensor:  # fmt: skip
    """The velocity."""
    ids = {"txt_ids": torch.zeros(states.shape[1], 3),
           "img_ids": places(z.shape[2] // 2, z.shape[3] // 2)}  # fmt: skip
    with within_fp16(transformer, precision):
        made: Tensor = transformer(packed(z), states, pooled, time / 1000, guidance=guidance,
                                   **ids, return_dict=False)[0]  # fmt: skip
    return unpacked(made, z)


def flux(r: Recipe) -> None:
    """CLIP and T5, a transformer over 2 x 2 latents, flow matching, a VAE."""
    transformer, vae, clip = r.config("transformer"), r.config("vae"), r.config("text_encoder")
    scheduler, scale = r.config("scheduler"), image_scale(vae)
    height, width = (r.size(name, 128 * scale, 2 * scale) for name in ("height", "width"))
    prompt, length = r.text("prompt", "a red cat"), r.size("length", 512, most=512)
    tokens = r.tokenize("tokenizer", prompt, clip["max_position_embeddings"], name="clip_tokens")
    pooled = r.stage(
        pooled_text, "text_encoder", prompt=tokens.ids, pooled=(1, clip["hidden_size"])
    )
    states, _ = t5_text(r, [prompt], length, "_2")
    is_told = transformer.get("guidance_embeds", False)
    told: dict[str, Any] = {"guidance": r.number("guidance", 3.5)} if is_told else {}
    z = r.noise((1, transformer["in_channels"] // 4, height // scale, width // scale))
    count = r.sampling_steps(28)
    mu = shift_of(scheduler, z.shape[2] * z.shape[3] // 4, 1.15)
    given = {**even_sigmas(scheduler, count), "mu": mu}
    with r.sampling(z, steps=count, given=given) as loop:
        loop.step(r.stage(denoise, "transformer", z=loop.input, time=loop.time, states=states,
                          pooled=pooled, **told, output=z,
                          settings={"precision": "${pipeline.precision}"}))  # fmt: skip
    settings = {"scaling": vae["scaling_factor"], "shift": vae["shift_factor"]}
    r.picture(r.stage(decode_image, "vae", z=loop.z, settings=settings,
                      image=(1, 3, height, width)))  # fmt: skip
