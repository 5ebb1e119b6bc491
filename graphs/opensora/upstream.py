"""Open-Sora 1.2's models by upstream's configurations: their keys, with the published values as
defaults (`reference/systems.md` sections 1.1 and 3.1 to 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from entracte.graphs.checks import GraphFault, similar
from entracte.graphs.opensora.denoiser import GuidedDenoiser
from entracte.graphs.opensora.embed import STDiT3Config
from entracte.graphs.opensora.vae import VAEConfig, VAETemporal, spatial_vae

_DENOISER = {
    "hidden_size": "hidden", "depth": "depth", "num_heads": "heads", "mlp_ratio": "mlp_ratio",
    "patch_size": "patch", "in_channels": "in_channels", "pred_sigma": "pred_sigma",
    "qk_norm": "qk_norm", "caption_channels": "caption_channels",
    "model_max_length": "text_tokens", "input_sq_size": "input_sq_size",
}  # fmt: skip
"""Upstream's key -> ours."""
_VAE = {
    "filters": "filters", "num_res_blocks": "res_blocks", "channel_multipliers": "multipliers",
    "temporal_downsample": "temporal_down", "num_groups": "groups",
    "micro_frame_size": "micro_frames", "micro_batch_size": "micro_batch",
    "spatial_block_out_channels": "spatial_channels", "spatial_layers_per_block": "spatial_layers",
    "spatial_norm_num_groups": "spatial_groups", "shift": "shift", "scale": "scale",
}  # fmt: skip
_DENOISER_UNUSED = (
    "input_size", "class_dropout_prob", "drop_path", "freeze_y_embedder", "only_train_temporal",
    "enable_flash_attn", "enable_layernorm_kernel", "enable_sequence_parallelism", "model_type",
)  # fmt: skip
"""They are for training, or say how and not what is computed."""
_VAE_UNUSED = ("from_pretrained", "freeze_vae_2d", "cal_loss", "model_type")
ENDLESS = 2**31
"""Frames of a group where `micro_frame_size` is null: then every clip is one group."""
_INNER = {"vae_2d": "VideoAutoencoderKL", "vae_temporal": "VAE_Temporal_SD"}
"""The published file names the VAE's two models by their types, which stand for their sizes."""


def denoiser_config(config: Mapping[str, Any]) -> STDiT3Config:
    """Sizes of STDiT3 by upstream's keys. Raises `GraphFault` for what is not supported."""
    if config.get("skip_y_embedder"):
        raise GraphFault(
            "STDiT3: skip_y_embedder is true: texts would come projected already; give false, as "
            "published"
        )
    unused = {*_DENOISER_UNUSED, "skip_y_embedder"}
    return STDiT3Config(**_ours("STDiT3", config, _DENOISER, unused))


def vae_config(config: Mapping[str, Any]) -> VAEConfig:
    """Sizes of the VAE by the keys of upstream's constructors. Raises `GraphFault`."""
    kind = "VideoAutoencoderPipeline"
    for key, published in _INNER.items():
        found = (config.get(key) or {}).get("type", published)
        if found != published:
            raise GraphFault(f"{kind}: {key}.type is {found!r}; give {published!r}, as published")
    ours = _ours(kind, config, _VAE, {*_VAE_UNUSED, *_INNER})
    if ours.get("micro_frames", 1) is None:
        ours["micro_frames"] = ENDLESS
    # Each frame is decoded by itself: of how many at once there are, null says nothing.
    ours = {k: v for k, v in ours.items() if v is not None}
    made = VAEConfig(**ours)
    if len(made.scale) != len(made.shift):
        raise GraphFault(
            f"{kind}: scale has {len(made.scale)} values and shift {len(made.shift)}; give one of "
            "each for every channel"
        )
    return replace(made, latent_channels=len(made.scale))


def _ours(
    kind: str, config: Mapping[str, Any], names: Mapping[str, str], unused: set[str]
) -> dict[str, Any]:
    made = {}
    for key, value in config.items():
        if key in names:
            made[names[key]] = tuple(value) if isinstance(value, list | tuple) else value
        elif key not in unused and key[:1] != "_":
            raise GraphFault(
                f"{kind}: its configuration has no key {key!r}{similar(key, names)}; it has "
                f"{', '.join(names)}"
            )
    return made


class STDiT3(GuidedDenoiser):
    """The denoiser for one clip: both halves of guidance, as a loop's stage reads them.

    Args:
        hidden_size, depth, num_heads, mlp_ratio, patch_size, in_channels, pred_sigma, qk_norm,
            caption_channels, model_max_length, input_sq_size, skip_y_embedder: upstream's.
        clip: `latent`, `pixels` and `fps` as of `STDiT3Config`, and `merged` as of
            `stdit3.STDiT3`; by default 2 s of 240 x 426.
    """

    unused = _DENOISER_UNUSED
    key_map = (("model.", ""),)

    def __init__(
        self, *, hidden_size: int = 1152, depth: int = 28, num_heads: int = 16,
        mlp_ratio: float = 4.0, patch_size: Sequence[int] = (1, 2, 2), in_channels: int = 4,
        pred_sigma: bool = True, qk_norm: bool = True, caption_channels: int = 4096,
        model_max_length: int = 300, input_sq_size: int = 512, skip_y_embedder: bool = False,
        **clip: Any,
    ) -> None:  # fmt: skip
        given = {key: value for key, value in locals().items() if key in _DENOISER}
        sizes = denoiser_config({**given, "skip_y_embedder": skip_y_embedder})
        merged = bool(clip.pop("merged", False))
        super().__init__(replace(sizes, **clip), merged)


class VideoAutoencoderPipeline(nn.Module):
    """The whole VAE, encoders and decoders, under the published names.

    Args:
        filters, num_res_blocks, channel_multipliers, temporal_downsample, num_groups: of upstream's
            `VAE_Temporal`.
        micro_frame_size, micro_batch_size, shift, scale: of its `VideoAutoencoderPipeline`.
        spatial_block_out_channels, spatial_layers_per_block, spatial_norm_num_groups: of the
            `AutoencoderKL`.
        vae_2d, vae_temporal: as the published file names both.
    """

    unused = _VAE_UNUSED
    scale: Tensor
    shift: Tensor

    def __init__(
        self, *, filters: int = 128, num_res_blocks: int = 4,
        channel_multipliers: Sequence[int] = (1, 2, 2, 4),
        temporal_downsample: Sequence[bool] = (False, True, True), num_groups: int = 32,
        micro_frame_size: int | None = 17, micro_batch_size: int | None = 4,
        spatial_block_out_channels: Sequence[int] = (128, 256, 512, 512),
        spatial_layers_per_block: int = 2, spatial_norm_num_groups: int = 32,
        shift: Sequence[float] = (-0.10, 0.34, 0.27, 0.98),
        scale: Sequence[float] = (3.85, 2.32, 2.33, 3.06),
        vae_2d: Mapping[str, Any] | None = None, vae_temporal: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        given = {k: v for k, v in locals().items() if k in _VAE or k in _INNER}
        super().__init__()
        self.cfg = cfg = vae_config(given)
        self.temporal_vae = VAETemporal(cfg)
        self.spatial_vae = nn.ModuleDict({"module": spatial_vae(cfg)})
        shape = (1, cfg.latent_channels, 1, 1, 1)
        self.register_buffer("scale", torch.tensor(cfg.scale).reshape(shape))
        self.register_buffer("shift", torch.tensor(cfg.shift).reshape(shape))
