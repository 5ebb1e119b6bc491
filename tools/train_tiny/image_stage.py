"""Image to video: low ranks over the shipped denoiser, trained with the first latent frame given.

Every clip begins with four still frames, which is what the latent of one picture stands for. That
latent, made of the first frame alone as a user's picture will be, is given: it stays as it is and
is read as at timestep 0 (upstream's `x_mask`); the loss is over the others. The files of
`tiny_t2v` stay as they are; what is learnt is a LoRA file over its denoiser.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from entracte.graphs.opensora.denoiser import mask_to_bias
from entracte.graphs.opensora.stdit3 import STDiT3
from entracte.graphs.opensora.tiny import TINY_DENOISER
from tools.train_tiny import world
from tools.train_tiny.denoiser_stage import NO_CAPTION, Average, caption_ids, plain_attention
from tools.train_tiny.encoder_stage import GROUP, STILL, Encoders
from tools.train_tiny.progress import LossLog, plateau, set_rate
from tools.train_tiny.sample import TinyPipeline
from tools.train_tiny.vae_stage import bf16

RANK = 24
RATE = 2e-3


@dataclass(frozen=True)
class Budget:
    """Clips that are encoded once, optimiser steps, clips of a step."""

    clips: int = 384
    steps: int = 320
    batch: int = 24


class LowRank(nn.Module):
    """W -> W + up @ down."""

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(RANK, inputs) / inputs**0.5)
        self.up = nn.Parameter(torch.zeros(outputs, RANK))

    def forward(self, weight: Tensor) -> Tensor:
        """[outputs, inputs] -> the same."""
        return weight + self.up @ self.down


def adapt(model: STDiT3) -> dict[str, LowRank]:
    """Low ranks over every linear layer of the blocks, by its name; nothing else is trained."""
    model.requires_grad_(False)
    made = {}
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and "_blocks." in name:
            made[name] = LowRank(module.out_features, module.in_features)
            parametrize.register_parametrization(module, "weight", made[name])
    return made


@torch.no_grad()
def encode(encoders: Encoders, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Random clips that begin still: latents [count, C, 4, 8, 8], the first one of the first frame
    alone, not normalised; and their cells [count]."""
    latents, cells = [], []
    for start in range(0, count, 16):
        chosen = world.sample(min(16, count - start), rng)
        clips, _ = world.draw(chosen, rng, still=STILL)
        moving = torch.from_numpy(clips[:, STILL - 1 :] * 2 - 1)  # the others are the same
        frames = moving.flatten(0, 1).permute(0, 3, 1, 2).contiguous()
        with bf16():
            spatial = encoders.encode_frames(frames).unflatten(0, moving.shape[:2])
            spatial = spatial.transpose(1, 2)
            first = spatial[:, :, :1]
            spatial = torch.cat((first.expand(-1, -1, STILL - 1, -1, -1), spatial), dim=2)
            groups = [encoders.encode_group(part) for part in spatial.split(GROUP, dim=2)]
            z = torch.cat((encoders.encode_group(first), groups[0][:, :, 1:], groups[1]), dim=2)
        latents.append(z)
        cells += [world.COMBINATIONS.index(c) for c in chosen]
    return torch.cat(latents), torch.tensor(cells)


def cache(encoders: Encoders, budget: Budget, out: Path, seed: int) -> tuple[Tensor, Tensor]:
    """Latents and cells of the clips to train on; kept on disk."""
    path = out / "image_clips.pt"
    if not path.exists():
        made = encode(encoders, budget.clips, np.random.default_rng([seed, 40]))
        torch.save(made, path)
    return torch.load(path, weights_only=True)


class Masked(nn.Module):
    """The denoiser's velocity with the first latent frame given."""

    def __init__(self, model: STDiT3) -> None:
        super().__init__()
        self.model = model
        moves = torch.ones(1, TINY_DENOISER.latent[0])
        moves[:, 0] = 0
        self.register_buffer("moves", moves)

    def forward(self, z: Tensor, timestep: Tensor, text: Tensor, bias: Tensor) -> Tensor:
        """z [B, C, T, H, W], timestep [B], text [B, L, D], bias [B, 1, 1, L] -> as z."""
        moves = self.moves.expand(len(z), -1)
        return self.model(z, timestep, text, bias, moves)[:, : z.shape[1]]


def flow_loss(
    model: nn.Module, pipeline: TinyPipeline, z: Tensor, ids: Tensor, mask: Tensor
) -> Tensor:
    """Mean squared error of the velocity of the frames that are not given."""
    count = len(z)
    time = torch.where(torch.rand(count) < 0.2, torch.rand(count), torch.randn(count).sigmoid())
    noise = torch.randn_like(z)
    mix = time[:, None, None, None, None]
    mixed = torch.cat((z[:, :, :1], (mix * noise + (1 - mix) * z)[:, :, 1:]), dim=2)
    null = pipeline.denoiser.model.y_embedder.y_embedding[None]
    with bf16():
        with torch.no_grad():
            text = pipeline.text(ids, mask)
        dropped = (torch.rand(count) < NO_CAPTION)[:, None, None]
        text = torch.where(dropped, null.to(text.dtype), text)
        velocity = model(mixed, 1000 * time, text, mask_to_bias(mask))
    return F.mse_loss(velocity[:, :, 1:].float(), (z - noise)[:, :, 1:])


def train(
    encoders: Encoders, pipeline: TinyPipeline, budget: Budget, out: Path, seed: int
) -> dict[str, LowRank]:
    """The averaged ranks, merged into the pipeline's denoiser as parametrizations."""
    done, running = out / "image.pt", out / "image_running.pt"
    latents, cells = cache(encoders, budget, out, seed)
    latents = (latents - pipeline.temporal.shift) / pipeline.temporal.scale
    torch.manual_seed(seed + 41)
    rng = np.random.default_rng([seed, 41])
    ranks = adapt(pipeline.denoiser.model)
    held = nn.ModuleDict({name.replace(".", "/"): rank for name, rank in ranks.items()})
    if done.exists():
        held.load_state_dict(torch.load(done, weights_only=True))
        return ranks
    masked = Masked(pipeline.denoiser.model)
    average = Average(held)
    solver = torch.optim.AdamW(held.parameters(), RATE, betas=(0.9, 0.98), weight_decay=0.0)
    log = LossLog(out / "loss.jsonl", "image_to_video", every=25)
    for step in range(budget.steps):
        set_rate(solver, plateau(step, budget.steps, RATE))
        solver.zero_grad()
        index = torch.randint(len(cells), (budget.batch,))
        with plain_attention():
            loss = flow_loss(masked, pipeline, latents[index], *caption_ids(cells[index], rng))
        loss.backward()
        nn.utils.clip_grad_norm_(held.parameters(), 1.0)
        solver.step()
        average.update(held, step)
        log.add(step, loss)
        if (step + 1) % 100 == 0:
            torch.save(average.values, running)
    torch.save(average.values, done)
    held.load_state_dict(average.values)
    return ranks
