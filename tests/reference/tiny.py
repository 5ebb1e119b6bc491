"""Small torch modules with the structure of the families that matter."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional


class RmsNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(1 + 0.1 * torch.randn(width))

    def forward(self, x):
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


class Counter(nn.Module):
    """A state: adds its input, gives twice the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(3, dtype=torch.float16))

    def forward(self, x):
        self.total.add_(x)
        return self.total * 2


class T5Block(nn.Module):
    """Embedding, self-attention with position bias, gated feed-forward."""

    def __init__(self, width: int = 32, heads: int = 4, length: int = 8, vocabulary: int = 50):
        super().__init__()
        self.heads = heads
        self.embed = nn.Embedding(vocabulary, width)
        self.norm1, self.norm2, self.norm3 = RmsNorm(width), RmsNorm(width), RmsNorm(width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.bias = nn.Parameter(torch.randn(1, heads, length, length))
        self.gate, self.up = (nn.Linear(width, 2 * width, bias=False) for _ in range(2))
        self.down = nn.Linear(2 * width, width, bias=False)

    def forward(self, ids, mask):
        x = self.embed(ids)
        b, s, w = x.shape
        y = self.norm1(x)
        q, k, v = (f(y).view(b, s, self.heads, -1) for f in (self.q, self.k, self.v))
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        scores = q @ k.transpose(2, 3) + self.bias + mask[:, None, None, :]
        y = (torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(b, s, w)
        x = x + self.o(y)
        y = self.norm2(x)
        x = x + self.down(functional.gelu(self.gate(y), approximate="tanh") * self.up(y))
        return self.norm3(x)


class DitBlock(nn.Module):
    """adaLN-Zero block: timestep embedding, modulation, rotary attention, cross-attention, MLP."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.patch = nn.Conv2d(4, width, 2, 2)
        self.time = nn.Sequential(nn.Linear(16, width), nn.SiLU(), nn.Linear(width, 6 * width))
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.query, self.context = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"),
                                 nn.Linear(4 * width, width))  # fmt: skip
        self.final = nn.Linear(width, 16)
        speeds = 10000 ** -torch.linspace(0, 1, width // heads // 2)
        angles = torch.outer(torch.arange(16.0), speeds)
        self.register_buffer("cos", angles.cos().repeat_interleave(2, -1))
        self.register_buffer("sin", angles.sin().repeat_interleave(2, -1))
        self.register_buffer("freqs", torch.exp(-math.log(10000) * torch.arange(8) / 8))

    def rotate(self, x):
        a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
        return x * self.cos + torch.stack((-b, a), -1).flatten(-2) * self.sin

    def attend(self, q, k, v):
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        if q.shape[2] == k.shape[2]:
            q, k = self.rotate(q), self.rotate(k)
        y = functional.scaled_dot_product_attention(q, k, v)
        return y.transpose(1, 2).flatten(2)

    def forward(self, x, t, text):
        x = self.patch(x).flatten(2).transpose(1, 2)
        angle = t[:, None] * self.freqs
        mod = self.time(torch.cat((angle.cos(), angle.sin()), -1))[:, None]
        shift1, scale1, gate1, shift2, scale2, gate2 = mod.chunk(6, -1)
        y = self.norm1(x) * (1 + scale1) + shift1
        x = x + gate1 * self.out(self.attend(*self.qkv(y).chunk(3, -1)))
        x = x + self.attend(self.query(x), *self.context(text).chunk(2, -1))
        x = x + gate2 * self.mlp(self.norm2(x) * (1 + scale2) + shift2)
        y = self.final(x).unflatten(1, (4, 4)).permute(0, 3, 1, 2)
        return functional.pixel_shuffle(y, 2)


class Decoder2d(nn.Module):
    """GroupNorm residual block, attention, upsampling: an AutoencoderKL decoder in small."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, width, 3, padding=1)
        self.norm1, self.norm2 = nn.GroupNorm(4, width, eps=1e-6), nn.GroupNorm(4, width, eps=1e-6)
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.qkv = nn.Linear(width, 3 * width)
        self.up = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, z):
        x = self.first(z)
        y = self.conv1(functional.silu(self.norm1(x)))
        x = x + self.conv2(functional.silu(self.norm2(y)))
        q, k, v = self.qkv(x.flatten(2).transpose(1, 2)).chunk(3, -1)
        y = functional.scaled_dot_product_attention(q, k, v)
        x = x + y.transpose(1, 2).reshape(x.shape)
        return self.last(self.up(functional.interpolate(x, scale_factor=2.0, mode="nearest")))


class CausalConv3d(nn.Module):
    """Convolution over time that sees only the past: the first frame is repeated in front."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inside, outside, 3, padding=(0, 1, 1))

    def forward(self, x):
        return self.conv(torch.cat((x[:, :, :1], x[:, :, :1], x), 2))


class Decoder3d(nn.Module):
    """Causal 3-D convolutions with per-frame GroupNorm, doubling time and space."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.first, self.conv = CausalConv3d(4, width), CausalConv3d(width, width)
        self.last = CausalConv3d(width, 3)
        self.norm = nn.GroupNorm(2, width)

    def forward(self, z):
        x = self.first(z)
        b, c, t, h, w = x.shape
        y = self.norm(x.reshape(b, c, t * h, w)).reshape(b, c, t, h, w)
        x = x + self.conv(functional.silu(y))
        x = torch.cat((x[:, :, :1], x[:, :, 1:].repeat_interleave(2, 2)), 2)
        t = x.shape[2]
        y = functional.interpolate(x.reshape(b, c * t, h, w), scale_factor=2.0, mode="nearest")
        return self.last(y.reshape(b, c, t, 2 * h, 2 * w))
