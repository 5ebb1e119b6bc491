"""The four modules that bench_reference times, at widths and lengths of the published models."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

TEXT_TOKENS = 300


@dataclass(frozen=True)
class Case:
    """A module with inputs.

    Attributes:
        title: what it is and its sizes.
        aim: wanted ratio of the device's seconds to eager's.
    """

    title: str
    aim: float
    module: nn.Module
    inputs: dict[str, Tensor]


class T5Layer(nn.Module):
    """One block of T5 v1.1 XL: features and mask in, features out."""

    def __init__(self) -> None:
        super().__init__()
        from transformers.models.t5.modeling_t5 import T5Block

        from entracte.graphs.opensora.text import t5_v1_1_config

        config = t5_v1_1_config(
            hidden=2048, layers=1, heads=32, head=64, inner=5120, vocabulary=8
        )  # fmt: skip
        self.block = T5Block(config, has_relative_attention_bias=True, layer_idx=0)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor]:
        return (self.block(x, attention_mask=(mask[:, None, None, :] - 1) * 1e4)[0],)


class BlockPair(nn.Module):
    """A spatial and a temporal block of STDiT3."""

    def __init__(self, config) -> None:  # noqa: ANN001 - a class of a module imported late
        super().__init__()
        from entracte.graphs.opensora.stdit3 import RotaryFrequencies, STDiT3Block

        self.spatial, self.temporal = STDiT3Block(config, False), STDiT3Block(config, True)
        self.rope = RotaryFrequencies(config.hidden // config.heads, config.grid[0])

    def forward(self, x: Tensor, text: Tensor, t: Tensor, mask: Tensor) -> tuple[Tensor]:
        for block in (self.spatial, self.temporal):
            x = block(x, text, t, mask, self.rope)
        return (x,)


class Decoder(nn.Module):
    """A decoder that returns a tuple."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.decoder(x),)


def t5() -> Case:
    mask = torch.cat((torch.ones(1, 260), torch.zeros(1, 40)), 1)
    inputs = {"x": torch.randn(1, TEXT_TOKENS, 2048), "mask": mask}
    return Case("T5 v1.1 XL block, 300 x 2048", 0.75, T5Layer(), inputs)


def stdit3() -> Case:
    from entracte.graphs.opensora.stdit3 import STDiT3Config

    config = STDiT3Config(latent=(8, 18, 32), pixels=(144, 256))
    frames, rows, columns = config.grid
    mask = torch.cat((torch.zeros(1, 1, 1, 100), torch.full((1, 1, 1, 200), -1e4)), 3)
    inputs = {
        "x": torch.randn(1, frames * rows * columns, config.hidden),
        "text": torch.randn(1, TEXT_TOKENS, config.hidden),
        "t": 0.1 * torch.randn(1, 6, config.hidden),
        "mask": mask,
    }
    return Case("STDiT3 block pair, 8 frames x 144 tokens x 1152", 0.75, BlockPair(config), inputs)


def vae_2d() -> Case:
    from entracte.graphs.opensora.vae import SpatialDecoder, VAEConfig

    decoder = Decoder(SpatialDecoder(VAEConfig()))
    inputs = {"x": torch.randn(1, 4, 1, 16, 16)}
    return Case("2-D VAE decoder, 128-512 wide, to 128 x 128", 1.1, _affine(decoder), inputs)


def vae_3d() -> Case:
    from entracte.graphs.opensora.vae import TemporalDecoder, VAEConfig

    decoder = Decoder(TemporalDecoder(VAEConfig()))
    inputs = {"x": torch.randn(1, 4, 5, 8, 8)}
    return Case("3-D VAE decoder, 128-512 wide, 17 x 8 x 8", 1.1, _affine(decoder), inputs)


def _affine(module: nn.Module) -> nn.Module:
    """Scales and shifts as a trained model has them: the converter folds ones and zeros away."""
    for norm in module.modules():
        if isinstance(norm, nn.GroupNorm):
            nn.init.normal_(norm.weight, 1.0, 0.1)
            nn.init.normal_(norm.bias, 0.0, 0.1)
    return module


CASES = {"t5": t5, "stdit3": stdit3, "vae2d": vae_2d, "vae3d": vae_3d}


def make(name: str) -> Case:
    """The case with the same random weights and inputs every time."""
    torch.manual_seed(0)
    case = CASES[name]()
    case.module.eval()
    return case
