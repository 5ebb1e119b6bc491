"""What every training stage shares: a learning-rate shape, a loss log, named tensors on disk."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


class LossLog:
    """Appends {"stage", "step", "loss", "seconds"} lines to a JSONL file, every so many steps."""

    def __init__(self, path: Path, stage: str, every: int = 50) -> None:
        self.path, self.stage, self.every = path, stage, every
        self.start, self.values = time.time(), []

    def add(self, step: int, loss: Tensor, **more: float) -> None:
        """Record one step's loss; writes the mean of the last `every`."""
        self.values.append(float(loss.detach()))
        if (step + 1) % self.every:
            return
        mean = sum(self.values) / len(self.values)
        self.values = []
        line = {"stage": self.stage, "step": step + 1, "loss": round(mean, 6), **more}
        line["seconds"] = round(time.time() - self.start, 1)
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def last_losses(out: Path) -> dict[str, float]:
    """The last logged loss of every stage."""
    lines = [json.loads(line) for line in (out / "loss.jsonl").read_text().splitlines()]
    return {line["stage"]: line["loss"] for line in lines}


def rate(step: int, steps: int, peak: float, warm: int = 50) -> float:
    """Linear warm-up, then a half cosine to 1 % of the peak."""
    if step < warm:
        return peak * (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def plateau(step: int, steps: int, peak: float, warm: int = 100, fall: float = 0.3) -> float:
    """Linear warm-up, constant, then a linear fall to 1 % over the last `fall` of the steps."""
    left = (steps - step) / (fall * steps)
    return peak * min(1.0, (step + 1) / warm, max(0.01, left))


def set_rate(optimiser: torch.optim.Optimizer, value: float) -> None:
    """Give every parameter group the learning rate `value`."""
    for group in optimiser.param_groups:
        group["lr"] = value


def save_module(module: nn.Module, path: Path) -> None:
    """Write a module's state as safetensors, aside and then renamed."""
    aside = path.with_suffix(".part")
    save_file({k: v.detach().clone().contiguous() for k, v in module.state_dict().items()}, aside)
    aside.replace(path)


def load_module(module: nn.Module, path: Path) -> None:
    """Load what `save_module` wrote."""
    module.load_state_dict(load_file(path))
