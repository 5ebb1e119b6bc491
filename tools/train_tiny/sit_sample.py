"""Batched pictures with the torch modules alone, without the compiler."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from tools.train_tiny import world

GUIDED = 3
"""Upstream guides the first three channels of four."""


@torch.no_grad()
def denoise(model: nn.Module, classes: Tensor, z: Tensor, points: int, guidance: float) -> Tensor:
    """Latents of the classes [B] from noise z [B, C, H, W]: Euler steps between `points` times."""
    times = torch.linspace(0, 1, points)
    null = torch.full_like(classes, len(world.CLASSES))
    for now, then in zip(times[:-1], times[1:], strict=True):
        time = now.expand(2 * len(z))
        made = model(torch.cat((z, z)), time, torch.cat((classes, null)))
        given, free = made.chunk(2)
        led = free + guidance * (given - free)
        z = z + torch.cat((led[:, :GUIDED], given[:, GUIDED:]), dim=1) * (then - now)
    return z


@torch.no_grad()
def decode(decoder: nn.Module, z: Tensor) -> np.ndarray:
    """Latents [B, C, H, W] -> pictures [B, 64, 64, 3] in [0, 1]."""
    frames = [decoder(part.transpose(0, 1)[None]) for part in z.split(16)]
    return torch.cat(frames, dim=2)[0].permute(1, 2, 3, 0).numpy()


def accuracy(classes: np.ndarray, pictures: np.ndarray) -> dict[str, float]:
    """Share of pictures that show their class, by the detector of the tiny world."""
    from tools.tiny_world_detect import detect

    found = [detect(picture[None]) for picture in pictures]
    wanted = [world.CLASSES[int(number)] for number in classes]
    colour = np.array([f.colour == w[0] for f, w in zip(found, wanted, strict=True)])
    shape = np.array([f.shape == w[1] for f, w in zip(found, wanted, strict=True)])
    plain = np.array([f.background != "none" for f in found])
    return {
        "pictures": len(found),
        "colour": round(float(colour.mean()), 4),
        "shape": round(float(shape.mean()), 4),
        "both": round(float((colour & shape).mean()), 4),
        "plain_background": round(float(plain.mean()), 4),
    }
