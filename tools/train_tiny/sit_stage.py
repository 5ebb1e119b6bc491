"""The class-conditional demo `tiny_sit`: SiT on the latents of single pictures.

Linear path from noise at time 0 to data at time 1, velocity data - noise, as SiT's published
models (`reference/systems.md` sections 1.4 and 3.5). One class in ten is dropped for the table's
null row.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from entracte.graphs.minisora.dit import SiT
from tools.train_tiny import world
from tools.train_tiny.denoiser_stage import Average, plain_attention
from tools.train_tiny.encoder_stage import Encoders
from tools.train_tiny.progress import LossLog, plateau, set_rate
from tools.train_tiny.vae_stage import bf16

NO_CLASS = 0.1
MUON_RATE, ADAM_RATE = 2e-3, 1e-3
SIZES = {
    "input_size": 8,
    "patch_size": 2,
    "in_channels": 4,
    "hidden_size": 128,
    "depth": 6,
    "num_heads": 4,
    "mlp_ratio": 4.0,
    "class_dropout_prob": 0.1,
    "num_classes": len(world.CLASSES),
    "learn_sigma": True,
}
"""The model's configuration, under the names of SiT's own arguments."""


@dataclass(frozen=True)
class Budget:
    """Pictures that are encoded once, optimiser steps, pictures of a step."""

    pictures: int = 4096
    steps: int = 3200
    batch: int = 64


@dataclass
class Latents:
    """Spatial latents [N, C, 8, 8] and classes [N]."""

    latents: Tensor
    classes: Tensor


@torch.no_grad()
def cache(encoders: Encoders, budget: Budget, out: Path, seed: int) -> Latents:
    """Latents of the world's pictures; kept on disk."""
    path = out / "pictures.pt"
    if path.exists():
        return Latents(**torch.load(path, weights_only=True))
    rng = np.random.default_rng([seed, 30])
    parts, classes = [], rng.integers(0, len(world.CLASSES), budget.pictures)
    for start in range(0, budget.pictures, 64):
        drawn, _ = world.pictures(classes[start : start + 64], rng)
        pixels = torch.from_numpy(drawn).permute(0, 3, 1, 2).contiguous() * 2 - 1
        with bf16():
            parts.append(encoders.encode_frames(pixels))
    made = Latents(torch.cat(parts), torch.from_numpy(classes))
    torch.save(asdict(made), path)
    return made


def fresh_model() -> SiT:
    """SiT with adaLN-zero: every block begins as the identity, the prediction as zero."""
    model = SiT(**SIZES)
    nn.init.normal_(model.y_embedder.embedding_table.weight, std=0.02)
    zero = [block.adaLN_modulation[1] for block in model.blocks]
    for linear in (*zero, model.final_layer.adaLN_modulation[1], model.final_layer.linear):
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
    return model


def flow_loss(model: nn.Module, z: Tensor, classes: Tensor) -> Tensor:
    """Mean squared error of the velocity data - noise at random times."""
    count = len(z)
    time = torch.where(torch.rand(count) < 0.3, torch.rand(count), torch.randn(count).sigmoid())
    noise = torch.randn_like(z)
    mix = time[:, None, None, None]
    null = torch.full_like(classes, len(world.CLASSES))
    classes = torch.where(torch.rand(count) < NO_CLASS, null, classes)
    with bf16():
        velocity = model(mix * z + (1 - mix) * noise, time, classes)
    return F.mse_loss(velocity.float(), z - noise)


def optimisers(model: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for everything else."""
    matrices, rest = [], []
    for name, value in model.named_parameters():
        if value.requires_grad:
            block = name.startswith("blocks.") and value.ndim == 2
            (matrices if block else rest).append(value)
    return [
        torch.optim.Muon(matrices, MUON_RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def train(encoders: Encoders, budget: Budget, out: Path, seed: int) -> SiT:
    """The averaged model, from its last checkpoint in `out` if there is one."""
    running = out / "sit.pt"
    data = cache(encoders, budget, out, seed)
    torch.manual_seed(seed + 31)
    model, step = fresh_model(), 0
    average, solvers = Average(model), optimisers(model)
    if running.exists():
        state = torch.load(running, weights_only=True)
        model.load_state_dict(state["model"])
        average.values, step = state["average"], state["step"]
        for solver, saved in zip(solvers, state["solvers"], strict=True):
            solver.load_state_dict(saved)
    log = LossLog(out / "loss.jsonl", "sit")
    while step < budget.steps:
        # Every step has its own seed, so that a resumed run takes the same path.
        torch.manual_seed(1_000_003 * (seed + 1) + step)
        for solver, peak in zip(solvers, (MUON_RATE, ADAM_RATE), strict=True):
            set_rate(solver, plateau(step, budget.steps, peak))
            solver.zero_grad()
        index = torch.randint(len(data.classes), (budget.batch,))
        with plain_attention():
            loss = flow_loss(model, data.latents[index], data.classes[index])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for solver in solvers:
            solver.step()
        average.update(model, step)
        log.add(step, loss)
        step += 1
        if step % 100 == 0 or step == budget.steps:
            state = {"model": model.state_dict(), "average": average.values, "step": step}
            torch.save({**state, "solvers": [s.state_dict() for s in solvers]}, running)
    model.load_state_dict(average.values)
    return model.eval()
