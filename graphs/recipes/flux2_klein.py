"""Flux2KleinPipeline: FLUX.2 klein, distilled, or guided where model_index.json does not say so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle

from entracte.graphs.recipes.parts import guided, twice
from entracte.graphs.recipes.parts_flow import even_sigmas, places, within_fp16
from entracte.graphs.recipes.parts_halves import in_halves
from entracte.graphs.recipes.parts_language import causal
from entracte.graphs.recipes.parts_rows import token_rows
from entracte.graphs.recipes.recipe import Recipe, image_scale, stage

_CHAT = {"prefix": "<|im_start|>user\n", "suffix": "<|im_end|>\n<|im_start|>assistant\n<think>\n\n"
         "</think>\n\n"}  # fmt: skip
"""Qwen3's chat template around one message, without thinking."""


@stage
def read(
    qwen: nn.Module, prompt: Tensor, mask: Tensor, negative: Tensor | None = None,
    negative_mask: Tensor | None = None, *, layers: Sequence[int],
) -> Tensor:  # fmt: skip
    """Rows of the table (1, L, width), masks (1, L) -> some layers' features side by side."""
    rows = prompt if negative is None else torch.cat([negative, prompt])
    mask = mask if negative_mask is None else torch.cat([negative_mask, mask])
    made = qwen.model(inputs_embeds=rows, attention_mask=causal(mask), use_cache=False,
                      output_hidden_states=True).hidden_states  # type: ignore[operator] # fmt: skip
    return torch.cat([made[k] for k in layers], -1)


@stage
def denoise(
    net: nn.Module, z: Tensor, time: Tensor, states: Tensor, guidance: Tensor | None = None, *,
    precision: str,
) -> Tensor:  # fmt: skip
    """The velocity."""
    both, length = z if guidance is None else twice(z), states.shape[1]
    ids = {"txt_ids": places(1, length, before=2),
           "img_ids": places(z.shape[2], z.shape[3], after=1)}  # fmt: skip
    with within_fp16(net, precision):
        made: Tensor = net(both.flatten(2).transpose(1, 2), states, **ids, return_dict=False,
                           timestep=(time / 1000).expand(len(both)))[0]  # fmt: skip
    made = made.transpose(1, 2).reshape(both.shape)
    return made if guidance is None else guided(made, guidance)


@stage
def decode(vae: nn.Module, z: Tensor, epsilon: float) -> Tensor:
    """Normalised latents, 2 x 2 in a place -> (1, 3, height, width), from -1 to 1."""
    mean, variance = (x.reshape(1, -1, 1, 1) for x in (vae.bn.running_mean, vae.bn.running_var))  # type: ignore[union-attr,operator]
    z = pixel_shuffle(z * torch.sqrt(variance + epsilon) + mean, 2)
    made: Tensor = vae.decode(z, return_dict=False)[0]  # type: ignore[operator]
    return made


def flux2_klein(r: Recipe) -> None:
    """Layers of Qwen3, a transformer over 2 x 2 latents, flow matching, a VAE."""
    net, vae, qwen = r.config("transformer"), r.config("vae"), r.config("text_encoder")
    scale, flow = image_scale(vae), r.config("scheduler")
    height, width = (r.size(name, 128 * scale, 2 * scale) for name in ("height", "width"))
    length, layers = r.size("length", 512), list(r.option("layers", [9, 18, 27]))
    texts = {"prompt": r.text("prompt", "a red cat")}
    is_guided = not r.folder.index.get("is_distilled", False) and r.option("guided", True)
    texts |= {"negative": r.text("negative")} if is_guided else {}
    wide, ports = qwen["hidden_size"], dict[str, Any]()
    for name, text in texts.items():
        tokens = r.tokenize("tokenizer", text, length, **_CHAT)
        ports[name] = token_rows(r, "text_encoder", "model.embed_tokens.weight", wide, tokens)
        ports["mask" if name == "prompt" else "negative_mask"] = tokens.mask
    states = r.stage(read, "text_encoder", name="text", **ports, settings={"layers": layers},
                     states=(len(texts), length, wide * len(layers)))  # fmt: skip
    more: dict[str, Any] = {"guidance": r.number("guidance", 4.0)} if is_guided else {}
    z = r.noise((1, net["in_channels"], height // (2 * scale), width // (2 * scale)))
    count = r.sampling_steps(50)
    mu = compute_empirical_mu(z.shape[2] * z.shape[3], count)
    with r.sampling(z, steps=count, given={**even_sigmas(flow, count), "mu": mu}) as loop:
        loop.step(in_halves(r, denoise, loop.input, more, sliced={"states": states}, inside=True,
                            time=loop.time,
                            settings={"precision": "${pipeline.precision}"}))  # fmt: skip
    r.picture(r.stage(decode, "vae", z=loop.z, settings={"epsilon": vae["batch_norm_eps"]},
                      image=(1, 3, height, width)))  # fmt: skip
