"""AllegroPipeline: text to video, decoded tile by tile."""

from __future__ import annotations

from types import SimpleNamespace

from diffusers import AllegroPipeline
from torch import Tensor, nn

from entracte.graphs.recipes.allegro_decoder import covered, decoded
from entracte.graphs.recipes.parts import guided, twice
from entracte.graphs.recipes.parts_halves import in_halves
from entracte.graphs.recipes.parts_t5 import t5_masks
from entracte.graphs.recipes.parts_t5_masked import t5_states
from entracte.graphs.recipes.recipe import Recipe, image_scale, stage

_RATE = 15.0


@stage
def denoise(
    net: nn.Module, z: Tensor, time: Tensor, states: Tensor, mask: Tensor,
    guidance: Tensor | None = None, *, scale: int,
) -> Tensor:  # fmt: skip
    """What the scheduler takes away; without `guidance` of one text. `scale`: pixels that a latent
    is wide."""
    both = z if guidance is None else twice(z)
    of = SimpleNamespace(vae_scale_factor_spatial=scale, transformer=net)
    _, _, n, h, w = z.shape
    turns = AllegroPipeline._prepare_rotary_positional_embeddings(
        of, 1, h * scale, w * scale, n, z.device
    )
    made: Tensor = net(both, states[:, None], time.expand(len(both)), image_rotary_emb=turns,
                       encoder_attention_mask=mask, return_dict=False)[0]  # fmt: skip
    return made if guidance is None else guided(made, guidance)


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
    texts = {"states": t5_states(r, prompt, negative), "mask": t5_masks(r, [negative, prompt])}
    told = {"guidance": r.number("guidance", 7.5)}
    z = r.noise((1, net["in_channels"], frames // ratio, height // scale, width // scale))
    with r.sampling(z, steps=100) as loop:
        loop.step(in_halves(r, denoise, loop.input, told, sliced=texts, inside=True,
                            time=loop.time, settings={"scale": scale}))  # fmt: skip
    r.video(decoded(r, loop.z), _RATE)
