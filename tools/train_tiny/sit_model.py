"""SiT as it is trained: the published parameter names (`reference/systems.md` section 3.5)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FREQUENCIES = 256


@dataclass(frozen=True)
class SiTSizes:
    """Sizes, under the names of SiT's own arguments."""

    input_size: int = 8
    patch_size: int = 2
    in_channels: int = 4
    hidden_size: int = 128
    depth: int = 6
    num_heads: int = 4
    mlp_ratio: float = 4.0
    num_classes: int = 18
    learn_sigma: bool = True


def place_table(width: int, side: int) -> Tensor:
    """Sine and cosine of the column, then of the row: [1, side * side, width]."""
    quarter = width // 4
    frequency = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    places = torch.arange(side, dtype=torch.float64)
    row, column = torch.meshgrid(places, places, indexing="ij")
    parts = []
    for place in (column, row):
        angle = place.reshape(-1, 1) * frequency
        parts += [angle.sin(), angle.cos()]
    return torch.cat(parts, dim=1)[None].float()


class Block(nn.Module):
    """Attention and MLP, both modulated and gated by the condition."""

    def __init__(self, sizes: SiTSizes) -> None:
        super().__init__()
        width, middle = sizes.hidden_size, int(sizes.hidden_size * sizes.mlp_ratio)
        self.heads = sizes.num_heads
        self.attn = nn.ModuleDict(
            {"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)}
        )
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(width, middle), "fc2": nn.Linear(middle, width)}
        )
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """x [B, N, width], c [B, width] -> x's next."""
        made = self.adaLN_modulation(c)[:, None]
        shift1, scale1, gate1, shift2, scale2, gate2 = made.chunk(6, dim=-1)
        x = x + gate1 * self._attend(normed(x) * (1 + scale1) + shift1)
        h = F.gelu(self.mlp["fc1"](normed(x) * (1 + scale2) + shift2), approximate="tanh")
        return x + gate2 * self.mlp["fc2"](h)

    def _attend(self, x: Tensor) -> Tensor:
        split = self.attn["qkv"](x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(split[0], split[1], split[2])
        return self.attn["proj"](out.transpose(1, 2).flatten(2))


def normed(x: Tensor) -> Tensor:
    """LayerNorm without parameters."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def _hold(**parts: nn.Module) -> nn.ModuleDict:
    return nn.ModuleDict(parts)


class SiT(nn.Module):
    """Velocity of latents at a time in 0..1, for a class or the null row of its table."""

    def __init__(self, sizes: SiTSizes) -> None:
        super().__init__()
        self.sizes = sizes
        width, patch, side = sizes.hidden_size, sizes.patch_size, sizes.input_size
        out = sizes.in_channels * (2 if sizes.learn_sigma else 1)
        self.x_embedder = _hold(proj=nn.Conv2d(sizes.in_channels, width, patch, patch))
        mlp = nn.Sequential(nn.Linear(FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.t_embedder = _hold(mlp=mlp)
        self.y_embedder = _hold(embedding_table=nn.Embedding(sizes.num_classes + 1, width))
        table = place_table(width, side // patch)
        self.pos_embed = nn.Parameter(table, requires_grad=False)
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.depth))
        self.final_layer = _hold(
            linear=nn.Linear(width, patch * patch * out),
            adaLN_modulation=nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width)),
        )
        self._start()

    def _start(self) -> None:
        """adaLN-zero: every block begins as the identity, the prediction as zero."""
        nn.init.normal_(self.y_embedder["embedding_table"].weight, std=0.02)
        zero = [block.adaLN_modulation[1] for block in self.blocks]
        zero += [self.final_layer["adaLN_modulation"][1], self.final_layer["linear"]]
        for linear in zero:
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """x [B, C, H, W], t [B] in 0..1, y [B] whole numbers -> velocity [B, C, H, W]."""
        patch, side = self.sizes.patch_size, self.sizes.input_size // self.sizes.patch_size
        half = FREQUENCIES // 2
        angle = t[:, None] * torch.exp(-math.log(10000.0) * torch.arange(half) / half)
        c = self.t_embedder["mlp"](torch.cat((angle.cos(), angle.sin()), dim=-1))
        c = c + self.y_embedder["embedding_table"](y)
        h = self.x_embedder["proj"](x).flatten(2).transpose(1, 2) + self.pos_embed
        for block in self.blocks:
            h = block(h, c)
        shift, scale = self.final_layer["adaLN_modulation"](c)[:, None].chunk(2, dim=-1)
        h = self.final_layer["linear"](normed(h) * (1 + scale) + shift)
        h = h.reshape(len(x), side, side, patch, patch, -1).permute(0, 5, 1, 3, 2, 4)
        return h.reshape(len(x), -1, side * patch, side * patch)[:, : x.shape[1]]
