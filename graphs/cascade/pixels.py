"""Stage A, the decoder of a VQGAN, and the previewer: what becomes pixels."""

from __future__ import annotations

from typing import ClassVar

from diffusers.pipelines.deprecated.wuerstchen import PaellaVQModel
from torch import Tensor, nn


class StageA(PaellaVQModel):  # type: ignore[misc]
    """diffusers' Paella VQGAN by upstream's keys (`modules/stage_a.py`). Defaults are published."""

    key_map: ClassVar = (("vquantizer.embedding.", "vquantizer.codebook."),)

    def __init__(
        self, levels: int = 2, bottleneck_blocks: int = 12, c_hidden: int = 384, c_latent: int = 4,
        codebook_size: int = 8192, scale_factor: float = 0.43,
    ) -> None:  # fmt: skip
        super().__init__(
            levels=levels, bottleneck_blocks=bottleneck_blocks, embed_dim=c_hidden,
            latent_channels=c_latent, num_vq_embeddings=codebook_size, scale_factor=scale_factor,
        )  # fmt: skip
        self._scale = scale_factor

    def pixels(self, z: Tensor) -> Tensor:
        """(b, c_latent, h, w) -> (b, 3, h * 2^levels, w * 2^levels), about 0 to 1."""
        made: Tensor = self.decode(z * self._scale, return_dict=False)[0]
        return made


class Previewer(nn.Module):
    """A small picture of stage C's latents (`modules/previewer.py`)."""

    def __init__(self, c_in: int = 16, c_hidden: int = 512, c_out: int = 3) -> None:
        super().__init__()
        half, least = c_hidden // 2, c_hidden // 4
        self.blocks = nn.Sequential(
            *_seen(nn.Conv2d(c_in, c_hidden, 1)),
            *_seen(nn.Conv2d(c_hidden, c_hidden, 3, 1, 1)),
            *_seen(nn.ConvTranspose2d(c_hidden, half, 2, 2)),
            *_seen(nn.Conv2d(half, half, 3, 1, 1)),
            *_seen(nn.ConvTranspose2d(half, least, 2, 2)),
            *_seen(nn.Conv2d(least, least, 3, 1, 1)),
            *_seen(nn.ConvTranspose2d(least, least, 2, 2)),
            *_seen(nn.Conv2d(least, least, 3, 1, 1)), nn.Conv2d(least, c_out, 1),
        )  # fmt: skip

    def forward(self, z: Tensor) -> Tensor:
        """(b, c_in, h, w) -> (b, 3, 8 h, 8 w), about 0 to 1."""
        made: Tensor = self.blocks(z)
        return made


def _seen(step: nn.Module) -> tuple[nn.Module, ...]:
    return step, nn.GELU(), nn.BatchNorm2d(step.out_channels)  # type: ignore[arg-type]
