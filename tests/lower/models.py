"""Small models of the kinds that the compiler is for, with example inputs. Random weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

Case = tuple[nn.Module, tuple[Tensor, ...]]


class _T5(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        from transformers import T5Config, T5EncoderModel

        config = T5Config(
            vocab_size=100, d_model=32, d_kv=8, d_ff=64, num_layers=3, num_heads=4,
            feed_forward_proj="gated-gelu",
        )  # fmt: skip
        self.encoder = T5EncoderModel(config)

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor]:
        return (self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state,)


class DiTBlock(nn.Module):
    """Timestep embedding, adaLN, qk RMSNorm, interleaved RoPE, attention, tanh-GELU MLP."""

    def __init__(self, width: int = 32, heads: int = 4, tokens: int = 12) -> None:
        super().__init__()
        self.heads = heads
        self.size = width // heads
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 6 * width)
        self.time = nn.Linear(width, width)
        self.qkv = nn.Linear(width, 3 * width)
        self.q_scale = nn.Parameter(torch.ones(self.size))
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )
        frequencies = 10000 ** (-torch.arange(0, self.size, 2) / self.size)
        self.register_buffer("angles", torch.outer(torch.arange(tokens), frequencies), False)

    def forward(self, x: Tensor, t: Tensor) -> tuple[Tensor]:
        half = x.shape[-1] // 2
        frequencies = torch.exp(-math.log(10000) * torch.arange(half) / half)
        angles = t[:, None] * frequencies[None]
        embedding = self.time(torch.cat([angles.cos(), angles.sin()], dim=-1))
        parts = self.modulation(functional.silu(embedding))[:, None].chunk(6, dim=-1)
        y = self.norm1(x) * (1 + parts[0]) + parts[1]
        x = x + parts[2] * self._attend(y)
        y = self.norm2(x) * (1 + parts[3]) + parts[4]
        return (x + parts[5] * self.mlp(y),)

    def _attend(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, self.size).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        q, k = self._rotate(self._rms(q)), self._rotate(self._rms(k))
        y = functional.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(batch, tokens, width))

    def _rms(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.q_scale

    def _rotate(self, x: Tensor) -> Tensor:
        cos = self.angles.cos().repeat_interleave(2, dim=-1)
        sin = self.angles.sin().repeat_interleave(2, dim=-1)
        even, odd = x[..., ::2], x[..., 1::2]
        turned = torch.stack([-odd, even], dim=-1).flatten(-2)
        return x * cos + turned * sin


class _VaeDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        from diffusers import AutoencoderKL

        self.vae = AutoencoderKL(
            block_out_channels=(16, 32), norm_num_groups=8, layers_per_block=1, latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        )  # fmt: skip
        del self.vae.encoder, self.vae.quant_conv

    def forward(self, latent: Tensor) -> tuple[Tensor]:
        return (self.vae.decode(latent).sample,)


class CausalDecoder(nn.Module):
    """Causal 3-D convolutions, rank-5 GroupNorm and 3-D upsampling, with an empty concatenation."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv3d(4, channels, 3)
        self.norm = nn.GroupNorm(2, channels)
        self.last = nn.Conv3d(channels, 3, 1)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        y = functional.silu(self.norm(self._causal(self.first, x)))
        y = functional.interpolate(y, scale_factor=(2, 2, 2), mode="nearest")
        return (self._causal(self.last, y),)

    def _causal(self, conv: nn.Conv3d, x: Tensor) -> Tensor:
        before = conv.kernel_size[0] - 1
        x = torch.cat([x[:, :, :1].repeat(1, 1, before, 1, 1), x], dim=2)
        side = conv.kernel_size[1] // 2
        return conv(functional.pad(x, (side, side, side, side)))


def t5() -> Case:
    """Ids and mask [1, 12] int64 -> hidden states [1, 12, 32]; the last two tokens are masked."""
    mask = torch.ones(1, 12, dtype=torch.long)
    mask[:, -2:] = 0
    return _seeded(_T5), (torch.randint(0, 100, (1, 12)), mask)


def dit() -> Case:
    """Tokens [2, 12, 32] and timesteps [2] -> [2, 12, 32]."""
    return _seeded(DiTBlock), (torch.randn(2, 12, 32), torch.tensor([999.0, 20.5]))


def vae() -> Case:
    """Latent [1, 4, 8, 8] -> image [1, 3, 16, 16]."""
    return _seeded(_VaeDecoder), (torch.randn(1, 4, 8, 8),)


def causal() -> Case:
    """Latent [1, 4, 3, 6, 5] -> video [1, 3, 6, 12, 10]."""
    return _seeded(CausalDecoder), (torch.randn(1, 4, 3, 6, 5),)


CASES = {"t5": t5, "dit": dit, "vae": vae, "causal": causal}


def _seeded(make: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    module = make().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 1:  # norms start at 1 and 0, which converters fold away
                parameter.add_(0.2 * torch.randn_like(parameter))
    return module.requires_grad_(False)


def on_meta(make: str) -> nn.Module:
    """The same model with its parameters on the meta device; buffers stay real."""
    module, _ = CASES[make]()
    for child in module.modules():
        for name, parameter in list(child._parameters.items()):
            if parameter is not None:
                child._parameters[name] = nn.Parameter(parameter.to("meta"), requires_grad=False)
    return module
