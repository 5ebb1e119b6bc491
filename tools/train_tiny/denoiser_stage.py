"""Stage 4: T5 and STDiT3 together, rectified flow on cached video latents.

The clips are encoded once (a clip costs more to encode than to train on) and a few of the cache's
clips are replaced by fresh ones all the time, so that nothing is learnt by heart.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from entracte.graphs.opensora.denoiser import mask_to_bias
from entracte.graphs.opensora.tiny import tiny_denoiser, tiny_text_encoder
from tools.train_tiny import tokenizer, world
from tools.train_tiny.config import Budget
from tools.train_tiny.progress import LossLog, plateau, set_rate
from tools.train_tiny.vae_stage import TrainableVAE, bf16

NO_CAPTION = 0.1
EMA_DECAY = 0.999
MUON_RATE, ADAM_RATE = 2e-3, 1e-3


class TextToLatent(nn.Module):
    """The two trained modules and their joint evaluation on a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.text = tiny_text_encoder()
        self.denoiser = tiny_denoiser()
        model = self.denoiser.model
        nn.init.zeros_(model.final_layer.linear.weight)
        nn.init.zeros_(model.final_layer.linear.bias)
        for block in (*model.spatial_blocks, *model.temporal_blocks):
            block.scale_shift_table.data[2::3] = 0.5  # the gates: start as a plain transformer

    def forward(
        self, z: Tensor, timestep: Tensor, ids: Tensor, mask: Tensor, dropped: Tensor
    ) -> Tensor:
        """Velocity [B, C, T, H, W]; where `dropped` [B] is true the null caption is read."""
        model = self.denoiser.model
        text = self.text(ids, mask)
        null = model.y_embedder.y_embedding[None].to(text.dtype)
        text = torch.where(dropped[:, None, None], null, text)
        return model(z, timestep, text, mask_to_bias(mask))[:, : z.shape[1]]


def _plain_attention(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """Attention as two products and a softmax."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    return (scores if attn_mask is None else scores + attn_mask).softmax(-1) @ v


@contextmanager
def plain_attention() -> Iterator[None]:
    """Train without the CPU's fused attention: for 4 or 16 tokens its backward takes 6x as long."""
    fused = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = _plain_attention
    try:
        yield
    finally:
        F.scaled_dot_product_attention = fused


@dataclass
class Clips:
    """Video latents [N, C, 4, 8, 8] and the cell each belongs to."""

    latents: Tensor
    cells: Tensor

    def replace(self, index: Tensor, other: Clips) -> None:
        """Overwrite the clips at `index` [n]."""
        self.latents[index], self.cells[index] = other.latents, other.cells


@torch.no_grad()
def encode(vae: TrainableVAE, count: int, rng: np.random.Generator) -> Clips:
    """`count` random clips of training cells; latents as the VAE makes them, not normalised."""
    latents, cells = [], []
    for start in range(0, count, 16):
        chosen = world.sample(min(16, count - start), rng)
        clips, _ = world.draw(chosen, rng)
        with bf16():
            groups = vae.encode_group(vae.encode_clips(torch.from_numpy(clips)))
        pairs = groups.float().unflatten(0, (-1, 2))  # [B, 2 groups, C, 2, 8, 8]
        latents.append(torch.cat((pairs[:, 0], pairs[:, 1]), dim=2))
        cells += [world.COMBINATIONS.index(c) for c in chosen]
    return Clips(torch.cat(latents), torch.tensor(cells))


def caption_ids(cells: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Random wordings of the cells, as ids [B, L] and mask [B, L].

    One in twenty has a made-up word put in, so that letters do not throw the encoder off.
    """
    lines = []
    for cell in cells.tolist():
        words = world.caption(world.COMBINATIONS[cell], rng).split()
        if rng.random() < 0.05 and len(words) < 10:
            letters = rng.choice(list("abcdefghijklmnopqrstuvwxyz"), rng.integers(2, 5))
            words.insert(rng.integers(0, len(words) + 1), "".join(letters))
        lines.append(" ".join(words))
    encoded = TOKENIZER.encode_batch(lines)
    ids = torch.tensor([e.ids for e in encoded], dtype=torch.int32)
    return ids, torch.tensor([e.attention_mask for e in encoded], dtype=torch.float32)


TOKENIZER = tokenizer.build()


def flow_loss(model: nn.Module, z: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of the velocity data - noise at random times."""
    count = len(z)
    # Mostly logit-normal (the middle decides what is drawn where), one in five uniform.
    time = torch.where(torch.rand(count) < 0.2, torch.rand(count), torch.randn(count).sigmoid())
    noise = torch.randn_like(z)
    mix = time[:, None, None, None, None]
    with bf16():
        velocity = model(
            mix * noise + (1 - mix) * z, 1000 * time, ids, mask, torch.rand(count) < NO_CAPTION
        )
    return F.mse_loss(velocity.float(), z - noise)


def optimisers(model: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for everything else."""
    matrices, rest = [], []
    for name, value in model.named_parameters():
        if not value.requires_grad:
            continue
        block = "block" in name and value.ndim == 2 and name.endswith(".weight")
        odd = "relative_attention_bias" in name
        (matrices if block and not odd else rest).append(value)
    return [
        torch.optim.Muon(matrices, MUON_RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]


class Average:
    """Exponential moving average of a module's parameters, shorter at the start."""

    def __init__(self, model: nn.Module) -> None:
        self.values = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the model's present parameters."""
        decay = min(EMA_DECAY, (1 + step) / (10 + step))
        state = model.state_dict()
        names = [k for k, v in state.items() if v.is_floating_point()]
        torch._foreach_lerp_([self.values[k] for k in names], [state[k] for k in names], 1 - decay)


def normalisation(clips: Clips) -> tuple[Tensor, Tensor]:
    """Per-channel shift and scale [C] of the cached latents."""
    return clips.latents.mean((0, 2, 3, 4)), clips.latents.std((0, 2, 3, 4))


def base_cache(vae: TrainableVAE, budget: Budget, out: Path, seed: int) -> Clips:
    """The cache the training starts with; kept on disk so that a resumed run need not redo it."""
    path = out / "cache.pt"
    if path.exists():
        return Clips(**torch.load(path, weights_only=True))
    clips = encode(vae, budget.cached_clips, np.random.default_rng([seed, 4]))
    torch.save({"latents": clips.latents, "cells": clips.cells}, path)
    return clips


class Training:
    """Everything that changes while the denoiser trains, and how it is kept on disk."""

    def __init__(self, clips: Clips) -> None:
        self.clips = clips
        self.shift, self.scale = normalisation(clips)
        self.model = TextToLatent()
        self.compiled = torch.compile(self.model)  # 1.6x faster; shares the parameters
        self.average = Average(self.model)
        self.solvers = optimisers(self.model)
        self.step = 0

    def save(self, path: Path) -> None:
        """Write a checkpoint aside and rename it."""
        aside = path.with_suffix(".part")
        state = {"model": self.model.state_dict(), "average": self.average.values}
        state |= {"step": self.step, "solvers": [s.state_dict() for s in self.solvers]}
        state |= {"latents": self.clips.latents, "cells": self.clips.cells}
        torch.save({**state, "shift": self.shift, "scale": self.scale}, aside)
        aside.replace(path)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint."""
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.values, self.step = state["average"], state["step"]
        for solver, saved in zip(self.solvers, state["solvers"], strict=True):
            solver.load_state_dict(saved)
        self.clips = Clips(state["latents"], state["cells"])
        self.shift, self.scale = state["shift"], state["scale"]

    def advance(self, vae: TrainableVAE, budget: Budget, seed: int) -> Tensor:
        """One optimiser step; returns its loss."""
        # Every step has its own seed, so that a resumed run takes the same path.
        rng = np.random.default_rng([seed, 5, self.step])
        torch.manual_seed(1_000_003 * (seed + 1) + self.step)
        if self.step % budget.fresh_every == budget.fresh_every - 1:
            index = torch.randperm(len(self.clips.cells))[: budget.fresh_clips]
            self.clips.replace(index, encode(vae, budget.fresh_clips, rng))
        for solver, peak in zip(self.solvers, (MUON_RATE, ADAM_RATE), strict=True):
            set_rate(solver, plateau(self.step, budget.denoiser_steps, peak))
            solver.zero_grad()
        index = torch.randint(len(self.clips.cells), (budget.denoiser_batch,))
        shift, scale = (v[:, None, None, None] for v in (self.shift, self.scale))
        z = (self.clips.latents[index] - shift) / scale
        with plain_attention():
            loss = flow_loss(self.compiled, z, *caption_ids(self.clips.cells[index], rng))
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for solver in self.solvers:
            solver.step()
        self.average.update(self.model, self.step)
        self.step += 1
        return loss


def train(vae: TrainableVAE, budget: Budget, out: Path, seed: int) -> None:
    """Run stage 4, from its last checkpoint if there is one, to `denoiser.pt` in `out`."""
    vae.eval()
    torch.manual_seed(seed + 5)
    running = out / "denoiser.pt"
    training = Training(base_cache(vae, budget, out, seed))
    if running.exists():
        training.load(running)
    log = LossLog(out / "loss.jsonl", "denoiser")
    while training.step < budget.denoiser_steps:
        log.add(training.step, training.advance(vae, budget, seed))
        if training.step % 100 == 0 or training.step == budget.denoiser_steps:
            training.save(running)
