"""One guided evaluation of STDiT3, with the inputs that a sampling loop has at hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from entracte.graphs.opensora.embed import CaptionEmbedder, STDiT3Config
from entracte.graphs.opensora.stdit3 import STDiT3

# Finite, because fp16 has no room for more and compression of constants turns -inf into NaN.
MASKED = -3e4


def mask_to_bias(mask: Tensor) -> Tensor:
    """Attention mask [B, L] of zeros and ones -> additive bias [B, 1, 1, L]."""
    return ((1.0 - mask) * MASKED)[:, None, None, :]


class CaptionRows(nn.Module):
    """The captions of both halves of guidance as rows: the prompt's, then the stored null one."""

    def __init__(self, cfg: STDiT3Config) -> None:
        super().__init__()
        self.y_embedder = CaptionEmbedder(cfg)

    def forward(self, text: Tensor) -> Tensor:
        """text [1, L, D] -> [2, L, D]."""
        return torch.cat((text, self.y_embedder.y_embedding[None]))


class _Denoiser(nn.Module):
    def __init__(self, cfg: STDiT3Config, merged: bool = False) -> None:
        super().__init__()
        self.model = STDiT3(cfg, merged)


class RowDenoiser(_Denoiser):
    """One half of classifier-free guidance; what it reads says which. `merged`: see `STDiT3`."""

    def forward(
        self,
        z: Tensor,
        timestep: Tensor,
        text: Tensor,
        mask: Tensor,
        x_mask: Tensor | None = None,
    ) -> Tensor:
        """As of `GuidedDenoiser`, but text is one row of `CaptionRows` -> [1, out, T, H, W]."""
        return self.model(z, timestep, text, mask_to_bias(mask), x_mask)


class GuidedDenoiser(_Denoiser):
    """Both halves of classifier-free guidance in one batch, in the order [cond, uncond].

    The unconditional half reads the stored null caption under the *conditional* mask, as upstream.
    `merged`: see `STDiT3`.
    """

    def forward(
        self,
        z: Tensor,
        timestep: Tensor,
        text: Tensor,
        mask: Tensor,
        x_mask: Tensor | None = None,
    ) -> Tensor:
        """One guided evaluation.

        Args:
            z: [1, C, T, H, W].
            timestep: [1].
            text: [1, L, D].
            mask: [1, L], 1 where a token counts.
            x_mask: [1, T], 1 where a latent frame is denoised and 0 where it is given; None where
                all are denoised.

        Returns:
            [2, out, T, H, W].
        """
        null = self.model.y_embedder.y_embedding[None]
        return self.model(
            torch.cat((z, z)),
            torch.cat((timestep, timestep)),
            torch.cat((text, null)),
            mask_to_bias(mask),
            None if x_mask is None else torch.cat((x_mask, x_mask)),
        )
