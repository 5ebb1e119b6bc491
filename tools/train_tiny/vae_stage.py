"""Stages 1 to 3: the spatial VAE, the temporal VAE on its latents, both decoders on pixels.

The latents are deterministic and whitened by a BatchNorm without parameters (its statistics end up
in the shipped `scale`, `shift` and nowhere else); noise added while training plays the part of the
KL term and makes the decoders forgive the denoiser's errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from entracte.graphs.opensora.vae import SPATIAL_SCALE, VAEConfig, VAETemporal, spatial_vae
from tools.train_tiny import world
from tools.train_tiny.config import Budget
from tools.train_tiny.progress import LossLog, load_module, rate, save_module, set_rate

SPATIAL_NOISE, TEMPORAL_NOISE = 0.05, 0.1


class TrainableVAE(nn.Module):
    """Both VAEs with their encoders; latents have zero mean and unit variance per channel."""

    def __init__(self, cfg: VAEConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.spatial = spatial_vae(cfg)
        self.temporal = VAETemporal(cfg)
        self.white_spatial = nn.BatchNorm2d(cfg.latent_channels, affine=False, momentum=0.02)
        self.white_temporal = nn.BatchNorm3d(cfg.latent_channels, affine=False, momentum=0.02)
        # The decoder is given latents / 0.18215; start it as if they had unit variance.
        self.spatial.post_quant_conv.weight.data.mul_(SPATIAL_SCALE)

    def encode_frames(self, pixels: Tensor) -> Tensor:
        """Pixels [N, 3, 64, 64] in [-1, 1] -> whitened spatial latents [N, C, 8, 8]."""
        moments = self.spatial.quant_conv(self.spatial.encoder(pixels))
        return self.white_spatial(moments[:, : self.cfg.latent_channels].float())

    def decode_frames(self, latents: Tensor) -> Tensor:
        """Spatial latents [N, C, 8, 8] -> pixels [N, 3, 64, 64], about [-1, 1]."""
        return self.spatial.decoder(self.spatial.post_quant_conv(latents / SPATIAL_SCALE))

    def encode_group(self, latents: Tensor) -> Tensor:
        """Spatial latents of a group [B, C, 8, 8, 8] -> whitened video latents [B, C, 2, 8, 8]."""
        moments = self.temporal.encode(latents)
        return self.white_temporal(moments[:, : self.cfg.latent_channels].float())

    def decode_group(self, z: Tensor) -> Tensor:
        """Video latents [B, C, 2, 8, 8] -> spatial latents [B, C, 8, 8, 8]."""
        return self.temporal.decode(z, self.cfg.micro_frames)

    def encode_clips(self, clips: Tensor) -> Tensor:
        """Clips [B, 16, 64, 64, 3] in [0, 1] -> spatial latents of groups [2B, C, 8, 8, 8]."""
        frames = (clips * 2 - 1).flatten(0, 1).permute(0, 3, 1, 2).contiguous()
        latents = self.encode_frames(frames)
        return latents.unflatten(0, (-1, self.cfg.micro_frames)).transpose(1, 2).contiguous()


def pixel_loss(output: Tensor, target: Tensor, coverage: Tensor) -> Tensor:
    """L1 + L2 over [N, 3, H, W]; the shape and its rim [N, H, W] count five times."""
    near = F.max_pool2d(coverage[:, None], 5, 1, 2)
    weight = 1 + 4 * (near > 0).float()
    error = output.float() - target
    return (weight * (error.abs() + 2 * error.square())).sum() / (3 * weight.sum())


def bf16() -> torch.autocast:
    """bfloat16 matrix products where the CPU has them; twice as fast as float32 here."""
    return torch.autocast("cpu", torch.bfloat16)


def _frames(count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Random single frames: pixels [N, 3, 64, 64] in [-1, 1] and coverage [N, 64, 64]."""
    clips, coverage = world.draw(world.sample(count, rng), rng, frames=1)
    pixels = torch.from_numpy(clips[:, 0]).permute(0, 3, 1, 2).contiguous() * 2 - 1
    return pixels, torch.from_numpy(coverage[:, 0])


def train_spatial(vae: TrainableVAE, budget: Budget, out: Path, seed: int) -> None:
    """Stage 1: the spatial autoencoder on random frames."""
    rng = np.random.default_rng([seed, 1])
    torch.manual_seed(seed + 1)
    parameters = list(vae.spatial.parameters())
    optimiser = torch.optim.AdamW(parameters, weight_decay=1e-3, betas=(0.9, 0.99))
    log = LossLog(out / "loss.jsonl", "spatial")
    vae.train()
    for step in range(budget.spatial_steps):
        set_rate(optimiser, rate(step, budget.spatial_steps, 2e-3))
        pixels, coverage = _frames(budget.spatial_batch, rng)
        with bf16():
            latents = vae.encode_frames(pixels)
            output = vae.decode_frames(latents + SPATIAL_NOISE * torch.randn_like(latents))
        loss = pixel_loss(output, pixels, coverage)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        log.add(step, loss)
        if (step + 1) % 500 == 0:
            save_module(vae, out / "spatial_running.safetensors")


@torch.no_grad()
def spatial_cache(vae: TrainableVAE, count: int, rng: np.random.Generator) -> Tensor:
    """Spatial latents of `count` random clips as groups [2 count, C, 8, 8, 8]."""
    vae.eval()
    parts = []
    for _ in range(count // 16):
        clips, _ = world.draw(world.sample(16, rng), rng)
        with bf16():
            parts.append(vae.encode_clips(torch.from_numpy(clips)))
    return torch.cat(parts)


def train_temporal(vae: TrainableVAE, budget: Budget, out: Path, seed: int) -> None:
    """Stage 2: the temporal autoencoder on cached spatial latents."""
    rng = np.random.default_rng([seed, 2])
    torch.manual_seed(seed + 2)
    cache = spatial_cache(vae, budget.temporal_clips, rng)
    vae.train()
    vae.white_spatial.eval()
    parameters = list(vae.temporal.parameters())
    optimiser = torch.optim.AdamW(parameters, weight_decay=1e-3, betas=(0.9, 0.99))
    log = LossLog(out / "loss.jsonl", "temporal")
    for step in range(budget.temporal_steps):
        set_rate(optimiser, rate(step, budget.temporal_steps, 2e-3))
        latents = cache[torch.randint(len(cache), (budget.temporal_batch,))]
        with bf16():
            z = vae.encode_group(latents)
            output = vae.decode_group(z + TEMPORAL_NOISE * torch.randn_like(z))
        loss = F.mse_loss(output.float(), latents)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        log.add(step, loss)


def _groups(count: int, frames: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """One decoding group of random clips: [B, n, 64, 64, 3] in [0, 1], coverage [B, n, 64, 64]."""
    clips, coverage = world.draw(world.sample(count, rng), rng)
    start = frames * int(rng.integers(0, clips.shape[1] // frames))
    some = slice(start, start + frames)
    return torch.from_numpy(clips[:, some]), torch.from_numpy(coverage[:, some])


def train_finish(vae: TrainableVAE, budget: Budget, out: Path, seed: int) -> None:
    """Stage 3: both decoders together, judged by pixels.

    The encoders stay as they are, so the denoiser's latents do not depend on this stage.
    """
    rng = np.random.default_rng([seed, 3])
    torch.manual_seed(seed + 3)
    vae.eval()
    decoders = (vae.spatial.decoder, vae.spatial.post_quant_conv)
    decoders += (vae.temporal.decoder, vae.temporal.post_quant_conv)
    parameters = [p for decoder in decoders for p in decoder.parameters()]
    optimiser = torch.optim.AdamW(parameters, weight_decay=1e-3, betas=(0.9, 0.99))
    log = LossLog(out / "loss.jsonl", "finish", every=25)
    for step in range(budget.finish_steps):
        set_rate(optimiser, rate(step, budget.finish_steps, 2e-4, warm=20))
        clips, coverage = _groups(budget.finish_batch, vae.cfg.micro_frames, rng)
        # Half of the frames are judged: more clips say more than more frames of a clip.
        judged = torch.randperm(vae.cfg.micro_frames)[: vae.cfg.micro_frames // 2]
        with bf16():
            with torch.no_grad():
                latents = vae.encode_clips(clips)
                z = vae.encode_group(latents)
            output = vae.decode_group(z + TEMPORAL_NOISE * torch.randn_like(z))
            pixels = vae.decode_frames(output.transpose(1, 2)[:, judged].flatten(0, 1))
        target = clips[:, judged].flatten(0, 1).permute(0, 3, 1, 2) * 2 - 1
        loss = pixel_loss(pixels, target, coverage[:, judged].flatten(0, 1))
        loss = loss + 0.05 * F.mse_loss(output.float(), latents)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        log.add(step, loss)


STAGES = {"spatial": train_spatial, "temporal": train_temporal, "finish": train_finish}


def run(
    vae: TrainableVAE, budget: Budget, out: Path, seed: int, names: Sequence[str] = tuple(STAGES)
) -> None:
    """Run, or load, the named ones of stages 1 to 3."""
    for name in names:
        stage = STAGES[name]
        done = out / f"vae_{name}.safetensors"
        if done.exists():
            load_module(vae, done)
            continue
        stage(vae, budget, out, seed)
        save_module(vae, done)
