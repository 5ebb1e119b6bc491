"""Batched generation with the torch modules alone, without the compiler."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from entracte.graphs.opensora.denoiser import GuidedDenoiser, mask_to_bias
from entracte.graphs.opensora.sampler import rflow_timesteps
from entracte.graphs.opensora.text import TextEncoder
from entracte.graphs.opensora.tiny import (
    FRAMES,
    HEIGHT,
    TIMESTEP_SHIFT,
    TINY_VAE,
    WEIGHTS,
    WIDTH,
    load_shipped,
    tiny_decoders,
    tiny_denoiser,
    tiny_text_encoder,
)
from entracte.graphs.opensora.vae import SpatialDecoder, TemporalDecoder


@dataclass
class TinyPipeline:
    """The embedded pipeline's torch modules."""

    tokenizer: Tokenizer
    text: TextEncoder
    denoiser: GuidedDenoiser
    temporal: TemporalDecoder
    spatial: SpatialDecoder

    @classmethod
    def shipped(cls, folder: Path = WEIGHTS) -> TinyPipeline:
        """Load the weights in `folder`."""
        temporal, spatial = tiny_decoders()
        return cls(
            Tokenizer.from_file(str(folder / "tokenizer.json")),
            load_shipped(tiny_text_encoder(), "text_encoder.safetensors", folder),
            load_shipped(tiny_denoiser(), "denoiser.safetensors", folder),
            load_shipped(temporal, "vae.safetensors", folder),
            load_shipped(spatial, "vae.safetensors", folder),
        )


@torch.no_grad()
def denoise(
    pipeline: TinyPipeline,
    prompts: list[str],
    z: Tensor,
    steps: int,
    guidance: float,
    given: Tensor | None = None,
) -> Tensor:
    """Latents for the prompts from noise z [B, C, T, H, W]: Euler steps with guidance. A first
    latent frame that is `given` [B, C, 1, H, W] stays as it is."""
    encoded = pipeline.tokenizer.encode_batch(prompts)
    ids = torch.tensor([e.ids for e in encoded], dtype=torch.int32)
    mask = torch.tensor([e.attention_mask for e in encoded], dtype=torch.float32)
    model = pipeline.denoiser.model
    text = pipeline.text(ids, mask)
    null = model.y_embedder.y_embedding.expand_as(text)
    text, bias = torch.cat((text, null)), mask_to_bias(mask).repeat(2, 1, 1, 1)
    moves = None
    if given is not None:
        z, moves = torch.cat((given, z[:, :, 1:]), dim=2), torch.ones(2 * len(z), z.shape[2])
        moves[:, 0] = 0
    timesteps, lengths = rflow_timesteps(steps, FRAMES, HEIGHT, WIDTH, TIMESTEP_SHIFT)
    for timestep, length in zip(timesteps, lengths, strict=True):
        now = torch.full((2 * len(z),), float(timestep))
        v = model(torch.cat((z, z)), now, text, bias, moves)[:, : z.shape[1]]
        conditional, unconditional = v.chunk(2)
        z = z + (unconditional + guidance * (conditional - unconditional)) * float(length)
        z = z if given is None else torch.cat((given, z[:, :, 1:]), dim=2)
    return z


@torch.no_grad()
def decode(pipeline: TinyPipeline, z: Tensor) -> np.ndarray:
    """Latents [B, C, T, H, W] -> clips [B, 16, 64, 64, 3] in [0, 1]."""
    step = TINY_VAE.latent_frames(TINY_VAE.micro_frames)
    groups = [pipeline.temporal(part) for part in z.split(step, dim=2)]
    latents = torch.cat(groups, dim=2)
    clips = [
        torch.cat([pipeline.spatial(part[None]) for part in clip.split(TINY_VAE.micro_batch, 1)], 2)
        for clip in latents
    ]
    return torch.cat(clips).permute(0, 2, 3, 4, 1).numpy()


def generate(
    pipeline: TinyPipeline,
    prompts: list[str],
    noise: Tensor,
    steps: int = 30,
    guidance: float = 4.0,
    batch: int = 72,
) -> np.ndarray:
    """Clips [N, 16, 64, 64, 3] in [0, 1] from noise [N, C, T, H, W], `batch` at a time."""
    clips = []
    for start in range(0, len(prompts), batch):
        some = slice(start, start + batch)
        z = denoise(pipeline, prompts[some], noise[some], steps, guidance)
        clips.append(decode(pipeline, z))
    return np.concatenate(clips)
