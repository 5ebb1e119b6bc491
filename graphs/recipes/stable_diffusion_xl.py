"""StableDiffusionXLPipeline: two text encoders, the picture's sizes as a condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from entracte.graphs.recipes.parts import guided, twice
from entracte.graphs.recipes.parts_halves import in_halves
from entracte.graphs.recipes.parts_latents import guidance_embedding, upcast
from entracte.graphs.recipes.recipe import Recipe, image_scale, stage


@stage
def text(
    clip: nn.Module, prompt: Tensor, negative: Tensor | None = None, mask: Tensor | None = None
) -> tuple[Tensor, ...]:
    """Features of the last layer but one, [without, with]; with a projection what that gives too.
    Where `mask` is given, an empty text's are 0."""
    ids = prompt if negative is None else torch.cat([negative, prompt])
    made = clip(ids, output_hidden_states=True)
    results = [made.hidden_states[-2], *([made[0]] if made[0].dim() == 2 else [])]
    if mask is not None:
        said = (mask.sum() - 2).clamp(0, 1)  # both marks are there always
        kept = torch.cat([said[None], torch.ones_like(said)[None]])
        results = [x * kept.reshape(2, *[1] * (x.dim() - 1)) for x in results]
    return tuple(results)


@stage
def denoise(
    unet: nn.Module, z: Tensor, time: Tensor, first: Tensor, second: Tensor, pooled: Tensor,
    guidance: Tensor | None = None, *, sizes: Sequence[float],
) -> Tensor:  # fmt: skip
    """What the scheduler takes away; without `guidance` of the text alone."""
    ids = torch.tensor([list(sizes)]).expand(len(pooled), -1)
    dim: int | None = unet.config.time_cond_proj_dim  # type: ignore[union-attr,assignment]
    both = twice(z) if guidance is not None and not dim else z
    made: Tensor = unet(
        both, time, torch.cat([first, second], -1), return_dict=False,
        timestep_cond=None if guidance is None or not dim else guidance_embedding(guidance, dim),
        added_cond_kwargs={"text_embeds": pooled, "time_ids": ids},
    )[0]  # fmt: skip
    return made if guidance is None or dim else guided(made, guidance)


@stage
def decode(
    vae: nn.Module, z: Tensor, scaling: float, mean: Sequence[float] = (), std: Sequence[float] = ()
) -> Tensor:
    """Latents -> (1, 3, height, width), from -1 to 1."""
    z = z / scaling
    if mean and std:
        z = z * torch.tensor(std).reshape(1, -1, 1, 1) + torch.tensor(mean).reshape(1, -1, 1, 1)
    made: Tensor = vae.decode(z, return_dict=False)[0]  # type: ignore[operator]
    return made


def stable_diffusion_xl(r: Recipe) -> None:
    """Two CLIPs, a UNet with or without guidance (`guided`; SDXL-Turbo: without), a VAE."""
    unet, vae = r.config("unet"), r.config("vae")
    is_told = bool(unet.get("time_cond_proj_dim"))  # as those of latent consistency models are
    is_guided = not is_told and r.option("guided", True)
    scale, batch = image_scale(vae), 2 if is_guided else 1
    height = r.size("height", unet["sample_size"] * scale, scale)
    width = r.size("width", unet["sample_size"] * scale, scale)
    texts = {"prompt": r.text("prompt", "a red cat")}
    texts |= {"negative": r.text("negative")} if is_guided else {}
    is_zeroed = is_guided and r.folder.index.get("force_zeros_for_empty_prompt", True)
    made = []
    for n in ("", "_2"):
        clip = r.config(f"text_encoder{n}")
        length = clip["max_position_embeddings"]
        tokens = {key: r.tokenize(f"tokenizer{n}", value, length, name=f"{key}_tokens{n}")
                  for key, value in texts.items()}  # fmt: skip
        ports: dict[str, Any] = {key: both.ids for key, both in tokens.items()}
        ports |= {"mask": tokens["negative"].mask} if is_zeroed else {}
        ports |= {"states": (batch, length, clip["hidden_size"])}
        ports |= {"pooled": (batch, clip["projection_dim"])} if n else {}
        made.append(r.stage(text, f"text_encoder{n}", name=f"text{n}", **ports))
    first, (second, pooled) = made
    guidance = {"guidance": r.number("guidance", 5.0)} if is_guided or is_told else {}
    told, alone = (guidance, {}) if is_guided else ({}, guidance)
    texts_read = {"first": first, "second": second, "pooled": pooled}
    sizes = {"sizes": [height, width, 0, 0, height, width]}
    z = r.noise((1, unet["in_channels"], height // scale, width // scale))
    with r.sampling(z, steps=50) as loop:
        loop.step(in_halves(r, denoise, loop.input, told, sliced=texts_read, inside=True,
                            component="unet", time=loop.time, **alone, settings=sizes))  # fmt: skip
    settings = {"scaling": vae["scaling_factor"], "mean": vae.get("latents_mean") or [],
                "std": vae.get("latents_std") or []}  # fmt: skip
    r.picture(r.stage(decode, "vae", z=loop.z, settings=settings, options=upcast(vae),
                      image=(1, 3, height, width)))  # fmt: skip
