"""Writes the files of `tiny_sit` and `tiny_i2v`: fp16 safetensors under upstream's names, cards."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from entracte.graphs.minisora.dit import SiT
from entracte.graphs.opensora.tiny import TINY_VAE
from entracte.graphs.opensora.vae import SPATIAL_SCALE, SpatialDecoder
from tools.train_tiny.encoder_stage import CHANNELS, Encoders
from tools.train_tiny.image_stage import LowRank
from tools.train_tiny.ship import halved
from tools.train_tiny.sit_stage import SIZES

CERTAIN = -20.0
"""Logarithm of the variances that the encoders give: they were trained by their means alone."""
_WEIGHTS = "diffusion_pytorch_model.safetensors"


def write_sit(folder: Path, model: SiT, decoder: SpatialDecoder, card: dict[str, object]) -> None:
    """The folder of a pipeline, as hubs have it: configurations and weights of each component."""
    transport = {"path_type": "Linear", "prediction": "velocity", "sampling_method": "euler"}
    levels = len(TINY_VAE.spatial_channels)
    vae = {
        "_class_name": "AutoencoderKL",
        "block_out_channels": list(TINY_VAE.spatial_channels),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "latent_channels": TINY_VAE.latent_channels,
        "layers_per_block": TINY_VAE.spatial_layers,
        "norm_num_groups": TINY_VAE.spatial_groups,
        "sample_size": 64,
        "scaling_factor": SPATIAL_SCALE,
    }
    index = {
        "_class_name": "MiniSoraSiTPipeline",
        "scheduler": ["entracte", "Transport"],
        "transformer": ["entracte", "SiT"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    decoded = decoder.spatial_vae["module"].state_dict()
    _json(folder / "model_index.json", index)
    _json(folder / "scheduler/scheduler_config.json", {"_class_name": "Transport", **transport})
    _json(folder / "transformer/config.json", {"_class_name": "SiT", **SIZES})
    _json(folder / "vae/config.json", vae)
    _json(folder / "card.json", card)
    _tensors(folder / "transformer" / _WEIGHTS, model.state_dict())
    _tensors(folder / "vae" / _WEIGHTS, decoded)


def write_image(
    folder: Path,
    encoders: Encoders,
    statistics: dict[str, Tensor],
    ranks: dict[str, LowRank],
    card: dict[str, object],
) -> None:
    """The encoders, with the `shift` and `scale` of the latents, and the LoRA file."""
    state = encoders.state_dict()
    for name, value in state.items():
        if "quant_conv" in name:  # of its rows the second half are variances
            value[CHANNELS:] = CERTAIN if name.endswith("bias") else 0.0
    _tensors(folder / "vae.safetensors", {**state, **statistics})
    _tensors(folder / "lora.safetensors", {
        f"denoiser.{name}.lora_{half}.weight": value
        for name, rank in ranks.items()
        for half, value in (("A", rank.down), ("B", rank.up))
    })  # fmt: skip
    _json(folder / "card.json", card)


def _json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n")


def _tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(halved(tensors), path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors makes it private
