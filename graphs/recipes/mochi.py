"""MochiPipeline: text to video by a transformer in which only a text's own tokens take part."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.pipelines.mochi.pipeline_mochi import linear_quadratic_schedule
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from entracte.graphs.opensora.denoiser import MASKED
from entracte.graphs.recipes.mochi_decoder import decoded
from entracte.graphs.recipes.parts import guided, twice
from entracte.graphs.recipes.parts_halves import in_halves
from entracte.graphs.recipes.parts_t5 import t5_masks
from entracte.graphs.recipes.parts_t5_masked import t5_states
from entracte.graphs.recipes.recipe import Recipe, stage

_LENGTH, _NOISE, _RATE = 256, 0.025, 30.0
"""Tokens of a text; the noise up to which steps are equal; frames a second."""


def attend(
    attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, attention_mask: Tensor,
    image_rotary_emb: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """In place of MochiAttnProcessor2_0, which selects tokens by `nonzero`: scores of what fills
    texts up are masked, and its results are 0."""
    length = hidden_states.shape[1]

    def heads(linear: nn.Module, norm: nn.Module | None, x: Tensor) -> Tensor:
        made: Tensor = linear(x).unflatten(2, (attn.heads, -1))
        return made if norm is None else norm(made)  # type: ignore[no-any-return]

    def turned(x: Tensor) -> Tensor:
        cos, sin = image_rotary_emb
        even, odd = x[..., 0::2], x[..., 1::2]
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)

    x, y = hidden_states, encoder_hidden_states
    q = torch.cat([turned(heads(attn.to_q, attn.norm_q, x)),
                   heads(attn.add_q_proj, attn.norm_added_q, y)], 1)  # fmt: skip
    k = torch.cat([turned(heads(attn.to_k, attn.norm_k, x)),
                   heads(attn.add_k_proj, attn.norm_added_k, y)], 1)  # fmt: skip
    v = torch.cat([heads(attn.to_v, None, x), heads(attn.add_v_proj, None, y)], 1)
    bias = torch.cat([torch.zeros(len(x), length), (1 - attention_mask) * MASKED], 1)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    made = scaled_dot_product_attention(q, k, v, attn_mask=bias[:, None, None])
    x, y = made.transpose(1, 2).flatten(2).split([length, y.shape[1]], 1)
    y = y * attention_mask[:, :, None]
    return attn.to_out[0](x), attn.to_add_out(y) if hasattr(attn, "to_add_out") else y


@stage
def denoise(
    net: nn.Module, z: Tensor, time: Tensor, states: Tensor, mask: Tensor,
    guidance: Tensor | None = None, *, is_zeroed: bool,
) -> Tensor:  # fmt: skip
    """What the scheduler takes away; without `guidance` of one text. `is_zeroed`: of an empty text,
    which is its end mark alone, no token takes part."""
    both = z if guidance is None else twice(z)
    if is_zeroed:
        mask = mask * (mask.sum(1, keepdim=True) - 1).clamp(0, 1)
    for block in net.transformer_blocks:  # type: ignore[union-attr]
        block.attn1.processor = attend
    made: Tensor = net(both, states, time.expand(len(both)), mask, return_dict=False)[0]
    return made if guidance is None else guided(made, guidance)


def mochi(r: Recipe) -> None:
    """T5, a transformer with guidance, a decoder that goes frame by frame."""
    net, steps = r.config("transformer"), r.sampling_steps(64)
    if steps < 2:
        raise ValueError(f"sampler.steps: {steps}: the pipeline's schedule has 2 steps at least")
    height, width = (
        r.size(n, v, 8 * net["patch_size"]) for n, v in (("height", 480), ("width", 848))
    )
    n = (r.size("frames", 19, 6, 1) - 1) // 6 + 1
    prompt = r.tokenize("tokenizer", r.text("prompt", "a red cat"), _LENGTH)
    negative = r.tokenize("tokenizer", r.text("negative"), _LENGTH)
    texts = {"states": t5_states(r, prompt, negative), "mask": t5_masks(r, [negative, prompt])}
    told = {"guidance": r.number("guidance", 4.5)}
    z = r.noise((1, net["in_channels"], n, height // 8, width // 8))
    sigmas = [float(s) for s in linear_quadratic_schedule(steps, _NOISE)]
    settings = {"is_zeroed": bool(r.folder.index.get("force_zeros_for_empty_prompt"))}
    with r.sampling(z, steps=64, given={"sigmas": sigmas}) as loop:
        loop.step(in_halves(r, denoise, loop.input, told, sliced=texts, inside=True,
                            time=loop.time, settings=settings))  # fmt: skip
    r.video(decoded(r, loop.z), _RATE)
