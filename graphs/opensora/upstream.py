"""Open-Sora's models by upstream's configurations (`STDiT3Config`, `VideoAutoencoderPipeline`): their
keys, and as defaults the published values. Written from `reference/systems.md` sections 1.1 and 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from entracte.graphs.checks import GraphFault
from entracte.graphs.opensora.denoiser import GuidedDenoiser
from entracte.graphs.opensora.embed import STDiT3Config
from entracte.graphs.opensora.vae import VAEConfig, VAETemporal, spatial_vae

TRAINING = ("input_size", "class_dropout_prob", "drop_path", "freeze_y_embedder",
            "only_train_temporal")  # fmt: skip
MACHINE = ("enable_flash_attn", "enable_layernorm_kernel", "enable_sequence_parallelism")


class STDiT3(GuidedDenoiser):
    """`hpcai-tech/OpenSora-STDiT-v3`, with both halves of guidance, for one clip.

    Args:
        hidden_size, depth, num_heads, mlp_ratio, patch_size, in_channels, pred_sigma, qk_norm,
            caption_channels, model_max_length, input_sq_size: upstream's.
        skip_y_embedder: upstream's; texts that are projected already are not supported.
        latent: latent frames, rows and columns.
        pixels: height and width of the clip.
        fps: that the model is told.
        merged: see `stdit3.STDiT3`.
    """

    unused = (*TRAINING, *MACHINE, "model_type")
    key_map = (("model.", ""),)

    def __init__(
        self, *, hidden_size: int = 1152, depth: int = 28, num_heads: int = 16,
        mlp_ratio: float = 4.0, patch_size: Sequence[int] = (1, 2, 2), in_channels: int = 4,
        pred_sigma: bool = True, qk_norm: bool = True, caption_channels: int = 4096,
        model_max_length: int = 300, input_sq_size: int = 512, skip_y_embedder: bool = False,
        latent: Sequence[int] = (15, 30, 53), pixels: Sequence[int] = (240, 426),
        fps: float = 24.0, merged: bool = False,
    ) -> None:  # fmt: skip
        if skip_y_embedder:
            raise GraphFault(
                "STDiT3: skip_y_embedder is true: texts would come projected already; only false, "
                "as published, is supported"
            )
        frames, rows, columns = latent
        across, down, along = patch_size
        cfg = STDiT3Config(
            hidden=hidden_size, depth=depth, heads=num_heads, mlp_ratio=mlp_ratio,
            patch=(across, down, along), in_channels=in_channels, pred_sigma=pred_sigma,
            qk_norm=qk_norm, caption_channels=caption_channels, text_tokens=model_max_length,
            input_sq_size=input_sq_size, latent=(frames, rows, columns),
            pixels=(pixels[0], pixels[1]), fps=float(fps),
        )  # fmt: skip
        super().__init__(cfg, merged)
        self.cfg = cfg


_KINDS = {"vae_2d": "VideoAutoencoderKL", "vae_temporal": "VAE_Temporal_SD"}


def vae_config(
    *, filters: int = 128, num_res_blocks: int = 4, channel_multipliers: Sequence[int] = (1, 2, 2, 4),
    temporal_downsample: Sequence[bool] = (False, True, True), num_groups: int = 32,
    micro_frame_size: int = 17, micro_batch_size: int = 4,
    spatial_block_out_channels: Sequence[int] = (128, 256, 512, 512),
    spatial_layers_per_block: int = 2, spatial_norm_num_groups: int = 32,
    shift: Sequence[float] = (-0.10, 0.34, 0.27, 0.98),
    scale: Sequence[float] = (3.85, 2.32, 2.33, 3.06),
    vae_2d: Mapping[str, Any] | None = None, vae_temporal: Mapping[str, Any] | None = None,
) -> VAEConfig:  # fmt: skip
    """Sizes by the keys of upstream's constructors. The published file names the two inner models
    by their types alone (`vae_2d`, `vae_temporal`), whose sizes are the defaults here."""
    for key, given in (("vae_2d", vae_2d), ("vae_temporal", vae_temporal)):
        kind = (given or {}).get("type", _KINDS[key])
        if kind != _KINDS[key]:
            raise GraphFault(
                f"VideoAutoencoderPipeline: {key}.type is {kind!r}; only {_KINDS[key]!r}, as "
                "published, is supported"
            )
    return VAEConfig(
        filters=filters, multipliers=tuple(channel_multipliers), res_blocks=num_res_blocks,
        temporal_down=tuple(temporal_downsample), groups=num_groups, latent_channels=len(scale),
        micro_frames=micro_frame_size, micro_batch=micro_batch_size, shift=tuple(shift),
        scale=tuple(scale), spatial_channels=tuple(spatial_block_out_channels),
        spatial_layers=spatial_layers_per_block, spatial_groups=spatial_norm_num_groups,
    )  # fmt: skip
