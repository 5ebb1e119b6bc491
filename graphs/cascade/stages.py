"""Stage C, which makes 16 numbers for 42 x 42 pixels of a text, and stage B, which makes the
latents of stage A of them. Keys of configurations and parameters are upstream's
(`modules/stage_b.py`, `stage_c.py` of Stability-AI/StableCascade)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from entracte.graphs.cascade.blocks import EPSILON, NormFirst, resized
from entracte.graphs.cascade.net import CascadeNet, Pair


def _tokens(mapper: nn.Module, x: Tensor, each: int) -> Tensor:
    """(b, n, c) or (b, c) -> (b, n * each, width)."""
    rows: Tensor = mapper(x if x.dim() == 3 else x[:, None])
    return rows.reshape(rows.shape[0], rows.shape[1] * each, -1)


def _normed(tokens: Tensor) -> Tensor:
    return functional.layer_norm(tokens, tokens.shape[-1:], eps=EPSILON)


class StageC(CascadeNet):
    """The prior. Defaults: 3.6B, `stage_c.safetensors`. See `CascadeNet` for the rest."""

    def __init__(
        self, c_in: int = 16, c_out: int = 16, c_r: int = 64, patch_size: int = 1,
        c_cond: int = 2048, c_hidden: Sequence[int] = (2048, 2048), nhead: Sequence[int] = (32, 32),
        blocks: Pair = ((8, 24), (24, 8)), block_repeat: Pair = ((1, 1), (1, 1)),
        level_config: Sequence[str] = ("CTA", "CTA"), c_clip_text: int = 1280,
        c_clip_text_pooled: int = 1280, c_clip_img: int = 768, c_clip_seq: int = 4,
        kernel_size: int = 3, self_attn: bool | Sequence[bool] = True,
        t_conds: Sequence[str] = ("sca", "crp"), switch_level: Sequence[bool] | None = (False,),
        residual_divisor: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__(
            c_in=c_in, c_out=c_out, c_r=c_r, patch_size=patch_size, c_cond=c_cond,
            c_hidden=c_hidden, nhead=nhead, blocks=blocks, block_repeat=block_repeat,
            level_config=level_config, kernel_size=kernel_size, self_attn=self_attn,
            t_conds=t_conds, switch_level=switch_level, residual_divisor=residual_divisor,
        )  # fmt: skip
        self._each, self.image_width = c_clip_seq, c_clip_img
        self.clip_txt_mapper = nn.Linear(c_clip_text, c_cond)
        self.clip_txt_pooled_mapper = nn.Linear(c_clip_text_pooled, c_cond * c_clip_seq)
        self.clip_img_mapper = nn.Linear(c_clip_img, c_cond * c_clip_seq)

    def condition(self, clip_text: Tensor, clip_text_pooled: Tensor, clip_img: Tensor) -> Tensor:
        """Features (b, l, c), pooled ones (b, 1, c), of images (b, n, c) -> tokens."""
        text = self.clip_txt_mapper(clip_text)
        pooled = _tokens(self.clip_txt_pooled_mapper, clip_text_pooled, self._each)
        image = _tokens(self.clip_img_mapper, clip_img, self._each)
        return _normed(torch.cat([text, pooled, image], 1))

    def predict(self, x: Tensor, step: Tensor, tokens: Tensor) -> Tensor:
        """Latents (b, c_in, h, w), `step_embedding`, `condition` -> noise, (b, c_out, h, w)."""
        return self.through(self.embedding(x), step, tokens)

    def forward(
        self, x: Tensor, r: Tensor, clip_text: Tensor, clip_text_pooled: Tensor, clip_img: Tensor,
        sca: Tensor | None = None, crp: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """x (b, c_in, h, w), r (b,) from 0 to 1; images are zeros where there are none."""
        step = self.step_embedding(r, sca=sca, crp=crp)
        return self.predict(x, step, self.condition(clip_text, clip_text_pooled, clip_img))


class StageB(CascadeNet):
    """The decoder of stage C's latents. Defaults: 1.5B, `stage_b.safetensors`."""

    def __init__(
        self, c_in: int = 4, c_out: int = 4, c_r: int = 64, patch_size: int = 2,
        c_cond: int = 1280, c_hidden: Sequence[int] = (320, 640, 1280, 1280),
        nhead: Sequence[int] = (-1, -1, 20, 20), blocks: Pair = ((2, 6, 28, 6), (6, 28, 6, 2)),
        block_repeat: Pair = ((1, 1, 1, 1), (3, 3, 2, 2)),
        level_config: Sequence[str] = ("CT", "CT", "CTA", "CTA"), c_clip: int = 1280,
        c_clip_seq: int = 4, c_effnet: int = 16, c_pixels: int = 3, kernel_size: int = 3,
        self_attn: bool | Sequence[bool] = True, t_conds: Sequence[str] = ("sca",),
        residual_divisor: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__(
            c_in=c_in, c_out=c_out, c_r=c_r, patch_size=patch_size, c_cond=c_cond,
            c_hidden=c_hidden, nhead=nhead, blocks=blocks, block_repeat=block_repeat,
            level_config=level_config, kernel_size=kernel_size, self_attn=self_attn,
            t_conds=t_conds, switch_level=None, residual_divisor=residual_divisor,
        )  # fmt: skip
        self._each, self._pixels = c_clip_seq, c_pixels
        self.clip_mapper = nn.Linear(c_clip, c_cond * c_clip_seq)
        self.effnet_mapper = _mapper(c_effnet, c_hidden[0])
        self.pixels_mapper = _mapper(c_pixels, c_hidden[0])

    def condition(self, clip: Tensor) -> Tensor:
        """Pooled features of a text, (b, c) or (b, n, c) -> tokens."""
        return _normed(_tokens(self.clip_mapper, clip, self._each))

    def predict(
        self, x: Tensor, step: Tensor, effnet: Tensor, tokens: Tensor, pixels: Tensor | None = None
    ) -> Tensor:
        """As stage C's; `effnet` has stage C's latents. Without `pixels` a black picture's, which
        are the same everywhere: of one pixel."""
        x = self.embedding(x)
        size = list(x.shape[2:])
        x = x + self.effnet_mapper(resized(effnet, size))
        if pixels is None:
            x = x + self.pixels_mapper(x.new_zeros(1, self._pixels, 1, 1))
        else:
            x = x + resized(self.pixels_mapper(pixels), size)
        return self.through(x, step, tokens)

    def forward(
        self, x: Tensor, r: Tensor, effnet: Tensor, clip: Tensor, pixels: Tensor | None = None,
        sca: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """x (b, c_in, H, W), r (b,) from 0 to 1, effnet (b, c_effnet, h, w) -> noise."""
        step = self.step_embedding(r, sca=sca)
        return self.predict(x, step, effnet, self.condition(clip), pixels)


def _mapper(read: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(read, 4 * channels, 1), nn.GELU(), nn.Conv2d(4 * channels, channels, 1),
        NormFirst(),
    )  # fmt: skip
