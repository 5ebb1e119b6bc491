"""StableCascadeDecoderPipeline, and StableCascadeCombinedPipeline: with the prior before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from entracte.graphs.recipes import stable_cascade
from entracte.graphs.recipes.parts import guided, twice
from entracte.graphs.recipes.parts_halves import in_halves
from entracte.graphs.recipes.recipe import Recipe, Value, stage

_CHANNELS = 4
"""Of the latents: the pipeline says this number."""


@stage
def denoise(
    decoder: nn.Module, z: Tensor, time: Tensor, embedding: Tensor, pooled: Tensor,
    guidance: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """What the scheduler takes away; with `guidance` of [without the embedding, with it]. Without
    it of one: where `pooled` has another text's row before the prompt's, that is left out."""
    if guidance is None:
        pooled = pooled[-1:]
    both = z if guidance is None else twice(z)
    made: Tensor = decoder(both, time.expand(len(both)), pooled, effnet=embedding,
                           return_dict=False)[0]  # fmt: skip
    return made if guidance is None else guided(made, guidance)


@stage
def beside_zeros(given: Tensor) -> Tensor:
    """[without, with] of a condition."""
    return torch.cat([torch.zeros_like(given), given])


@stage
def decode(vqgan: nn.Module, z: Tensor, scaling: float) -> Tensor:
    """Latents -> (1, 3, height, width), from 0 to 1."""
    made: Tensor = vqgan.decode(z * scaling, return_dict=False)[0]  # type: ignore[operator]
    return made


def _check(r: Recipe, name: str, n: int, over: float, patch: int) -> None:
    """Raises `ValueError` for a size whose latents cannot be cut into patches."""
    fits = [m for m in range(1, n + 2 * patch + 8) if int(m * over) % patch == 0]
    if n not in fits:
        near = [max(m for m in fits if m < n)] if fits[0] < n else []
        near += [min(m for m in fits if m > n)]
        pixels = " or ".join(str(int(m * stable_cascade.multiple(r))) for m in near)
        raise ValueError(
            f"pipeline.options.{name}: it makes {int(n * over)} latents, no multiple of {patch}; "
            f"give {pixels}"
        )


def painted(
    r: Recipe, embedding: Value, pooled: Value, steps: int, guidance: dict[str, Value]
) -> None:
    """The output `image`."""
    model, vqgan = r.config("decoder"), r.config("vqgan")
    over = r.folder.index.get("latent_dim_scale", 10.67)
    sides = [int(n * over) for n in embedding.shape[2:]]
    for name, n in zip(("height", "width"), embedding.shape[2:], strict=True):
        _check(r, name, n, over, model["patch_size"])
    shape = (1, _CHANNELS, *sides)
    stable_cascade.check_scheduler(r, "scheduler")
    z = r.noise(shape, "noise_decoder", salt=2)
    if guidance:
        embedding = r.stage(beside_zeros, name="embeddings", given=embedding,
                            both=(2, *embedding.shape[1:]))  # fmt: skip
    with r.sampling(z, steps=steps, name="decoding", salt=3) as loop:
        loop.step(in_halves(r, denoise, loop.input, guidance, component="decoder", inside=True,
                            sliced={"embedding": embedding, "pooled": pooled},
                            time=loop.time))  # fmt: skip
    pixels = vqgan["up_down_scale_factor"] * 2 ** (vqgan["levels"] - 1)
    image = r.stage(decode, "vqgan", z=loop.z, settings={"scaling": vqgan["scale_factor"]},
                    image=(1, 3, *(n * pixels for n in shape[2:])))  # fmt: skip
    r.output("image", "image", image)


def stable_cascade_decoder(r: Recipe) -> None:
    """An embedding and its text become a picture: CLIP, a UNet, a VQGAN."""
    is_guided = r.option("guided", False)
    _, pooled = stable_cascade.encoded(r, "", is_guided=is_guided)
    channels = r.config("decoder")["effnet_in_channels"]
    shape = stable_cascade.embedding_shape(r, channels, 1024)
    guidance = {"guidance": r.number("guidance", 4.0)} if is_guided else {}
    painted(r, r.tensor("image_embeddings", shape), pooled, 10, guidance)


def stable_cascade_combined(r: Recipe) -> None:
    """Both: the decoder reads what the prior's CLIP says of the text. `sampler.steps` are the
    decoder's, the prior's are the option `prior_steps`."""
    steps = r.size("prior_steps", 60)
    embedding, pooled = stable_cascade.prior(r, "prior_", size=512, steps=steps)
    has = r.option("guided", True) and r.option("decoder_guided", False)
    guidance = {"guidance": r.number("decoder_guidance", 4.0)} if has else {}
    painted(r, embedding, pooled, 12, guidance)
