"""HunyuanVideoPipeline: text to video by a model that is told its guidance."""

from __future__ import annotations

import torch
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from torch import Tensor, nn

from entracte.graphs.opensora.denoiser import MASKED
from entracte.graphs.recipes.hunyuan_video_decoder import decoded
from entracte.graphs.recipes.parts import guided, twice
from entracte.graphs.recipes.parts_halves import in_halves
from entracte.graphs.recipes.parts_rows import token_rows
from entracte.graphs.recipes.recipe import Recipe, stage

_SKIPPED, _RATE = 2, 15.0
"""Last layers of the language model that are left out; frames a second."""


@stage
def read(
    llama: nn.Module, prompt: Tensor, prompt_mask: Tensor, negative: Tensor | None = None,
    negative_mask: Tensor | None = None, *, start: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Embeddings (1, L, width) and masks (1, L) of texts behind their instruction -> features and
    masks of the texts alone, [without, with]."""
    rows = prompt if negative is None else torch.cat([negative, prompt])
    mask = prompt_mask if negative_mask is None else torch.cat([negative_mask, prompt_mask])
    seen = torch.ones(1, mask.shape[1], mask.shape[1]).tril() * mask[:, None]
    made = llama(inputs_embeds=rows, attention_mask=((1 - seen) * MASKED)[:, None],
                 output_hidden_states=True, use_cache=False).hidden_states  # fmt: skip
    return made[-(_SKIPPED + 1)][:, start:], mask[:, start:]


@stage
def pool(clip: nn.Module, prompt: Tensor, negative: Tensor | None = None) -> Tensor:
    """What CLIP says of whole texts, [without, with]."""
    ids = prompt if negative is None else torch.cat([negative, prompt])
    made: Tensor = clip(ids).pooler_output
    return made


@stage
def denoise(
    net: nn.Module, z: Tensor, time: Tensor, states: Tensor, mask: Tensor, pooled: Tensor,
    told: Tensor | None = None, guidance: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """What the scheduler takes away. `told`: the guidance that the model is told; with `guidance`
    it is guided by a second text too, else of one text."""
    many = len(states)
    told = None if told is None else told.expand(many) * 1000
    made: Tensor = net(twice(z) if many == 2 else z, time.expand(many), states, mask, pooled,
                       guidance=told, return_dict=False)[0]  # fmt: skip
    return made if guidance is None else guided(made, guidance)


def hunyuan_video(r: Recipe) -> None:
    """A language model and CLIP, a transformer, a decoder of tiles of time."""
    net, vae, start = (
        r.config("transformer"),
        r.config("vae"),
        DEFAULT_PROMPT_TEMPLATE["crop_start"],
    )
    before, _, after = str(DEFAULT_PROMPT_TEMPLATE["template"]).partition("{}")
    scale, ratio = vae["spatial_compression_ratio"], vae["temporal_compression_ratio"]
    height, width = (r.size(n, v, 16) for n, v in (("height", 720), ("width", 1280)))
    n = (r.size("frames", 129, ratio, 1) - 1) // ratio + 1
    length, wide = r.option("length", 256), r.config("text_encoder")["hidden_size"]
    texts = {"prompt": r.text("prompt", "a red cat")}
    texts |= {"negative": r.text("negative")} if r.option("guided", False) else {}
    rows, ids = {}, {}
    for name, text in texts.items():
        tokens = r.tokenize("tokenizer", text, start + length, prefix=before, suffix=after)
        rows[name] = token_rows(r, "text_encoder", "embed_tokens.weight", wide, tokens)
        rows[f"{name}_mask"] = tokens.mask
        ids[name] = r.tokenize("tokenizer_2", text, 77, name=f"short_{name}").ids
    many = len(texts)
    states, mask = r.stage(read, "text_encoder", settings={"start": start}, **rows,
                           states=(many, length, wide), mask=(many, length))  # fmt: skip
    pooled = r.stage(pool, "text_encoder_2", **ids, pooled=(many, net["pooled_projection_dim"]))
    guidance = {"guidance": r.number("true_guidance", 6.0)} if many == 2 else {}
    told = {"told": r.number("guidance", 6.0)} if net["guidance_embeds"] else {}
    z = r.noise((1, net["in_channels"], n, height // scale, width // scale))
    steps = r.sampling_steps(50)
    sigmas = [1 - i / steps for i in range(steps)]
    with r.sampling(z, steps=50, given={"sigmas": sigmas}) as loop:
        loop.step(in_halves(r, denoise, loop.input, guidance, inside=True, time=loop.time, **told,
                            sliced={"states": states, "mask": mask, "pooled": pooled}))  # fmt: skip
    r.video(decoded(r, loop.z), _RATE)
