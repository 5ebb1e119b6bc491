"""StableDiffusion3Pipeline: 3 and 3.5, with T5 or without."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from entracte.graphs.recipes.parts import decode_image, guided, twice
from entracte.graphs.recipes.parts_flow import shift_of
from entracte.graphs.recipes.parts_halves import in_halves
from entracte.graphs.recipes.parts_t5 import t5_text
from entracte.graphs.recipes.recipe import Recipe, image_scale, stage
from entracte.graphs.recipes.stable_diffusion_xl import text


@stage
def join(
    first: Tensor, second: Tensor, pooled: Tensor, pooled_2: Tensor, long: Tensor | None = None,
    *, width: int, length: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """What both CLIPs say of a text, side by side, then what T5 says; without it, zeros."""
    short = torch.cat([first, second], -1)
    short = pad(short, (0, width - short.shape[-1]))
    both = pad(short, (0, 0, 0, length)) if long is None else torch.cat([short, long], 1)
    return both, torch.cat([pooled, pooled_2], -1)


@stage
def denoise(
    transformer: nn.Module, z: Tensor, time: Tensor, states: Tensor, pooled: Tensor,
    guidance: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The velocity."""
    both = z if guidance is None else twice(z)
    made: Tensor = transformer(both, states, pooled, time.expand(len(both)), return_dict=False)[0]
    return made if guidance is None else guided(made, guidance)


def stable_diffusion_3(r: Recipe) -> None:
    """Two CLIPs and T5, a transformer with guidance (`guided`), flow matching, a VAE."""
    net, vae, flow = r.config("transformer"), r.config("vae"), r.config("scheduler")
    scale, patch = image_scale(vae), net["patch_size"]
    most = net["pos_embed_max_size"] * patch * scale
    height, width = (r.size(name, net["sample_size"] * scale, patch * scale, most=most)
                     for name in ("height", "width"))  # fmt: skip
    length, is_guided = r.size("length", 256, most=512), r.option("guided", True)
    texts = {"negative": r.text("negative")} if is_guided else {}
    texts["prompt"] = r.text("prompt", "a red cat")
    ports, batch, short = dict[str, Any](), len(texts), 0
    for n, result in (("", ("first", "pooled")), ("_2", ("second", "pooled_2"))):
        clip = r.config(f"text_encoder{n}")
        short = short or clip["max_position_embeddings"]
        ids: dict[str, Any] = {
            key: r.tokenize(f"tokenizer{n}", value, short, name=f"{key}_tokens{n}").ids
            for key, value in texts.items()
        }
        made = r.stage(text, f"text_encoder{n}", name=f"text{n}", **ids,
                       states=(batch, short, clip["hidden_size"]),
                       pooled=(batch, clip["projection_dim"]))  # fmt: skip
        ports |= dict(zip(result, made, strict=True))
    if r.folder.has("text_encoder_3"):
        ports["long"], _ = t5_text(r, list(texts.values()), length, "_3")
    wide, many = net["joint_attention_dim"], ports["pooled"].shape[1] + ports["pooled_2"].shape[1]
    states, pooled = r.stage(join, settings={"width": wide, "length": length}, **ports,
                             states=(batch, short + length, wide), both=(batch, many))  # fmt: skip
    more: dict[str, Any] = {"guidance": r.number("guidance", 7.0)} if is_guided else {}
    z = r.noise((1, net["in_channels"], height // scale, width // scale))
    mu = shift_of(flow, z.shape[2] * z.shape[3] // patch**2, 1.16)
    given = {"mu": mu} if flow.get("use_dynamic_shifting") else {}
    with r.sampling(z, steps=28, given=given) as loop:
        loop.step(in_halves(r, denoise, loop.input, more, inside=True, time=loop.time,
                            sliced={"states": states, "pooled": pooled}))  # fmt: skip
    settings = {"scaling": vae["scaling_factor"], "shift": vae["shift_factor"]}
    r.picture(r.stage(decode_image, "vae", z=loop.z, settings=settings,
                      image=(1, 3, height, width)))  # fmt: skip
