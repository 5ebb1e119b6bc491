"""The encoders of the shipped VAE, trained against its frozen decoders.

The demo ships decoders only. What needs latents of pictures (`tiny_sit`, `tiny_i2v`) needs the
encoders too. They learn the decoders' inverse in two ways at once: from pairs (latents that the
shipped denoiser makes, and what the decoders make of them), which hold them to the latents that
the denoiser knows, and from frames of the world that must come back.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from entracte.graphs.opensora.tiny import TINY_DENOISER, TINY_VAE, WEIGHTS
from entracte.graphs.opensora.vae import SPATIAL_SCALE, VAETemporal, spatial_vae
from tools.train_tiny import world
from tools.train_tiny.progress import LossLog, load_module, rate, save_module, set_rate
from tools.train_tiny.sample import TinyPipeline, denoise
from tools.train_tiny.vae_stage import TEMPORAL_NOISE, bf16, pixel_loss

CHANNELS = TINY_VAE.latent_channels
GROUP, SHORT = TINY_VAE.micro_frames, TINY_VAE.latent_frames(TINY_VAE.micro_frames)
STILL = TINY_VAE.time_factor
"""Frames that the latent of one picture stands for."""


@dataclass(frozen=True)
class Budget:
    """Optimiser steps and batch sizes of both encoders."""

    pair_clips: int = 432
    pair_steps: int = 20
    pair_guidance: float = 1.5
    spatial_steps: int = 480
    spatial_pair_steps: int = 280
    spatial_batch: int = 24
    clips: int = 128
    temporal_steps: int = 260
    temporal_pair_steps: int = 130
    temporal_pairs: int = 16
    temporal_batch: int = 6


class Encoders(nn.Module):
    """Both encoders, under upstream's names, and the frozen decoders they invert."""

    def __init__(self) -> None:
        super().__init__()
        spatial, temporal = spatial_vae(TINY_VAE), VAETemporal(TINY_VAE)
        self.spatial_vae = nn.ModuleDict({"module": nn.Module()})
        for name in ("encoder", "quant_conv"):
            setattr(self.spatial_vae["module"], name, getattr(spatial, name))
        self.temporal_vae = nn.Module()
        for name in ("encoder", "quant_conv"):
            setattr(self.temporal_vae, name, getattr(temporal, name))

    def encode_frames(self, pixels: Tensor) -> Tensor:
        """Pixels [N, 3, 64, 64] in [-1, 1] -> spatial latents [N, C, 8, 8], the mean, scaled."""
        module = self.spatial_vae["module"]
        moments = module.quant_conv(module.encoder(pixels))
        return moments[:, :CHANNELS].float() * SPATIAL_SCALE

    def encode_group(self, latents: Tensor) -> Tensor:
        """Spatial latents [B, C, n, 8, 8] -> video latents [B, C, ceil(n / 4), 8, 8], the mean,
        not normalised; what is missing to whole fours is zeros in front."""
        missing = -latents.shape[2] % TINY_VAE.time_factor
        if missing:
            latents = F.pad(latents, (0, 0, 0, 0, missing, 0))
        vae = self.temporal_vae
        return vae.quant_conv(vae.encoder(latents))[:, :CHANNELS].float()


@dataclass
class Pairs:
    """What the shipped pipeline makes: video latents [N, C, 2, 8, 8] of groups, not normalised,
    and the spatial latents [N, C, 8, 8, 8] of their frames."""

    video: Tensor
    spatial: Tensor


def pairs(pipeline: TinyPipeline, budget: Budget, out: Path, seed: int) -> Pairs:
    """Latents of generated clips; kept on disk."""
    path = out / "pairs.pt"
    if path.exists():
        return Pairs(**torch.load(path, weights_only=True))
    torch.manual_seed(seed + 20)
    rng = np.random.default_rng([seed, 20])
    made = []
    for start in range(0, budget.pair_clips, 24):
        cells = world.sample(min(24, budget.pair_clips - start), rng)
        prompts = [cell.plain_caption for cell in cells]
        noise = torch.randn(len(cells), CHANNELS, *TINY_DENOISER.latent)
        with bf16():
            made.append(denoise(pipeline, prompts, noise, budget.pair_steps, budget.pair_guidance))
    z = torch.cat(torch.cat(made).float().split(SHORT, dim=2))
    with torch.no_grad():
        spatial = torch.cat([pipeline.temporal(part) for part in z.split(64)])
    video = z * pipeline.temporal.scale + pipeline.temporal.shift
    torch.save({"video": video, "spatial": spatial}, path)
    return Pairs(video, spatial)


def frames(count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Random frames of the world: pixels [N, 3, 64, 64] in [-1, 1] and coverage [N, 64, 64]."""
    clips, coverage = world.draw(world.sample(count, rng), rng, frames=1)
    pixels = torch.from_numpy(clips[:, 0]).permute(0, 3, 1, 2).contiguous() * 2 - 1
    return pixels, torch.from_numpy(coverage[:, 0])


def decode_frames(pipeline: TinyPipeline, latents: Tensor) -> Tensor:
    """Spatial latents [N, C, 8, 8] -> pixels [N, 3, 64, 64], about [-1, 1], not limited."""
    module = pipeline.spatial.spatial_vae["module"]
    return module.decoder(module.post_quant_conv(latents / SPATIAL_SCALE))


def train_spatial(
    encoders: Encoders, pipeline: TinyPipeline, budget: Budget, out: Path, seed: int
) -> None:
    """The 2-D encoder: pairs of made frames, and frames of the world through the decoder."""
    rng = np.random.default_rng([seed, 21])
    torch.manual_seed(seed + 21)
    made = pairs(pipeline, budget, out, seed).spatial.transpose(1, 2).flatten(0, 1)
    with torch.no_grad(), bf16():
        pictures = torch.cat([decode_frames(pipeline, part).float() for part in made.split(64)])
    parameters = list(encoders.spatial_vae.parameters())
    # The mean is read times 0.18215: start it as if latents had unit variance.
    encoders.spatial_vae["module"].quant_conv.weight.data.div_(SPATIAL_SCALE)
    optimiser = torch.optim.AdamW(parameters, weight_decay=1e-3, betas=(0.9, 0.99))
    log = LossLog(out / "loss.jsonl", "spatial_encoder", every=25)
    for step in range(budget.spatial_steps):
        set_rate(optimiser, rate(step, budget.spatial_steps, 1e-3))
        index = torch.randint(len(made), (budget.spatial_batch,))
        true, coverage = frames(budget.spatial_batch, rng)
        with bf16():
            pair = F.mse_loss(encoders.encode_frames(pictures[index]), made[index])
            loss = pair
            # Only then: far from the decoder's own latents its gradients lead nowhere.
            if step >= budget.spatial_pair_steps:
                output = decode_frames(pipeline, encoders.encode_frames(true))
                loss = pair + pixel_loss(output, true, coverage)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        log.add(step, loss)


def _clip_latents(encoders: Encoders, count: int, still: int, rng: np.random.Generator) -> Tensor:
    """Spatial latents of random clips of the world, by groups: [count, 2, C, 8, 8, 8]."""
    clips, _ = world.draw(world.sample(count, rng), rng, still=still)
    pixels = torch.from_numpy(clips * 2 - 1).flatten(0, 1).permute(0, 3, 1, 2).contiguous()
    with torch.no_grad(), bf16():
        latents = encoders.encode_frames(pixels)
    return latents.unflatten(0, (count, -1, GROUP)).transpose(2, 3).contiguous()


def clip_cache(encoders: Encoders, budget: Budget, out: Path, seed: int) -> dict[str, Tensor]:
    """Latents of plain clips and of clips that begin with still frames; kept on disk."""
    path = out / "groups.pt"
    if path.exists():
        return torch.load(path, weights_only=True)
    rng, made = np.random.default_rng([seed, 22]), {}
    for name, still in (("plain", 0), ("still", STILL)):
        parts = [_clip_latents(encoders, 16, still, rng) for _ in range(budget.clips // 16)]
        made[name] = torch.cat(parts)
    torch.save(made, path)
    return made


def train_temporal(
    encoders: Encoders, pipeline: TinyPipeline, budget: Budget, out: Path, seed: int
) -> None:
    """The temporal encoder: pairs, groups of the world, and one picture for four still frames."""
    torch.manual_seed(seed + 23)
    made = pairs(pipeline, budget, out, seed)
    scale = pipeline.temporal.scale
    cached = clip_cache(encoders.eval(), budget, out, seed)
    plain, still = cached["plain"].flatten(0, 1), cached["still"][:, 0]
    parameters = list(encoders.temporal_vae.parameters())
    optimiser = torch.optim.AdamW(parameters, weight_decay=1e-3, betas=(0.9, 0.99))
    log = LossLog(out / "loss.jsonl", "temporal_encoder", every=25)

    for step in range(budget.temporal_steps):
        set_rate(optimiser, rate(step, budget.temporal_steps, 2e-3))
        with bf16():
            if step < budget.temporal_pair_steps:
                index = torch.randint(len(made.video), (budget.temporal_pairs,))
                z = encoders.encode_group(made.spatial[index])
                loss = F.mse_loss(z / scale, made.video[index] / scale)
            else:
                free = plain[torch.randint(len(plain), (budget.temporal_batch,))]
                held = still[torch.randint(len(still), (budget.temporal_batch,))]
                loss = _group_loss(encoders, pipeline, free, held)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        log.add(step, loss)


def _group_loss(encoders: Encoders, pipeline: TinyPipeline, free: Tensor, held: Tensor) -> Tensor:
    """Plain groups must come back, and groups that begin still: these with the latent of their
    first frame alone in the place of the first one, which it shall equal."""
    scale, count = pipeline.temporal.scale, len(free)
    z = encoders.encode_group(torch.cat((free, held)))
    one = encoders.encode_group(held[:, :, :1])
    used = torch.cat((z[:count], torch.cat((one, z[count:, :, 1:]), dim=2)))
    noisy = used + TEMPORAL_NOISE * scale * torch.randn_like(used)
    output = pipeline.temporal.temporal_vae.decode(noisy, GROUP)
    back = F.mse_loss(output.float(), torch.cat((free, held)))
    return back + 0.2 * F.mse_loss(one / scale, z[count:, :, :1] / scale)


STAGES = {"spatial": train_spatial, "temporal": train_temporal}


def run(out: Path, seed: int, budget: Budget | None = None) -> tuple[Encoders, TinyPipeline]:
    """The trained encoders, from `out` where they are there, and the pipeline they belong to."""
    budget = budget or Budget()
    pipeline = TinyPipeline.shipped(WEIGHTS)
    for module in (pipeline.text, pipeline.denoiser, pipeline.temporal, pipeline.spatial):
        module.requires_grad_(False)
    encoders = Encoders()
    for name, stage in STAGES.items():
        done = out / f"encoder_{name}.safetensors"
        if done.exists():
            load_module(encoders, done)
            continue
        stage(encoders, pipeline, budget, out, seed)
        save_module(encoders, done)
    return encoders.eval(), pipeline
