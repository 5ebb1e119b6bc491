"""Tiny models of diffusers, converted and run whole beside torch: one row each, as Markdown.

Weights are random. Right is torch in fp32. A row holds where the fp32 package is within 1e-4 of the
largest value, and the fp16 package above 40 dB. The last column says why a model is refused.

python -m tools.foreign_models [CLASS ...] [--precision fp32 fp16]
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from entracte.errors import EntracteError
from entracte.lower.convert import Conversion, convert_chunk
from entracte.lower.ports import DType, Port
from entracte.reference import load

HEAD = ("class", "converts", "fp32 error", "fp16", "s", "reason")
FP32_ERROR, FP16_DB = 1e-4, 40.0


@dataclass(frozen=True)
class Tiny:
    """One class of diffusers, small, and what it is called with."""

    settings: dict[str, Any]
    inputs: Callable[[], dict[str, Tensor]]
    """By the names of its arguments. Whole numbers stay whole."""
    fixed: dict[str, Any] | None = None
    """Arguments that are no tensors."""
    method: str = "forward"


def _latents(*shape: int) -> Callable[[], dict[str, Tensor]]:
    return lambda: {"z": torch.randn(shape)}


def _steps(*values: int) -> Tensor:
    return torch.tensor(values)


def _ones_and_zeros(length: int, kept: int) -> Tensor:
    return (torch.arange(length) < kept).long()[None]


_WIDTHS = (8, 8, 16, 16)
TINY: dict[str, Tiny] = {
    "AutoencoderKLWan": Tiny(
        {
            "base_dim": 4, "z_dim": 4, "dim_mult": [1, 1, 2], "num_res_blocks": 1,
            "temperal_downsample": [True, True], "latents_mean": [0.0] * 4,
            "latents_std": [1.0] * 4,
        },
        _latents(1, 4, 2, 4, 6), method="decode",
    ),
    "AutoencoderKLLTXVideo": Tiny(
        {
            "latent_channels": 8, "block_out_channels": _WIDTHS,
            "decoder_block_out_channels": _WIDTHS, "layers_per_block": (1, 1, 1, 1, 1),
            "decoder_layers_per_block": (1, 1, 1, 1, 1), "patch_size": 2,
        },
        _latents(1, 8, 2, 2, 3), method="decode",
    ),
    "AutoencoderKLHunyuanVideo": Tiny(
        {
            "latent_channels": 4, "block_out_channels": _WIDTHS, "layers_per_block": 1,
            "norm_num_groups": 4,
        },
        _latents(1, 4, 2, 2, 3), method="decode",
    ),
    "AutoencoderKLAllegro": Tiny(
        {"block_out_channels": _WIDTHS, "layers_per_block": 1, "norm_num_groups": 4},
        _latents(1, 4, 2, 4, 6), method="decoder",  # which `decode` calls tile by tile
    ),
    "AutoencoderKLCogVideoX": Tiny(
        {
            "latent_channels": 4, "block_out_channels": _WIDTHS, "layers_per_block": 1,
            "norm_num_groups": 4, "sample_height": 32, "sample_width": 48,
        },
        _latents(1, 4, 2, 4, 6), method="decode",
    ),
    "AutoencoderKLMochi": Tiny(
        {
            "latent_channels": 4, "encoder_block_out_channels": (32, 32, 32, 32),
            "decoder_block_out_channels": (32, 32, 32, 32), "layers_per_block": (1, 1, 1, 1, 1),
            "latents_mean": (0.0,) * 4, "latents_std": (1.0,) * 4,
        },
        _latents(1, 4, 2, 2, 3), method="decode",
    ),
    "HunyuanVideoTransformer3DModel": Tiny(
        {
            "in_channels": 4, "out_channels": 4, "num_attention_heads": 2,
            "attention_head_dim": 16, "num_layers": 1, "num_single_layers": 1,
            "num_refiner_layers": 1, "text_embed_dim": 16, "pooled_projection_dim": 8,
            "rope_axes_dim": (4, 6, 6),
        },
        lambda: {
            "hidden_states": torch.randn(1, 4, 2, 4, 6), "timestep": _steps(500),
            "encoder_hidden_states": torch.randn(1, 5, 16),
            "encoder_attention_mask": _ones_and_zeros(5, 4),
            "pooled_projections": torch.randn(1, 8), "guidance": torch.tensor([6.0]),
        },
    ),
    "WanTransformer3DModel": Tiny(
        {
            "num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 4,
            "out_channels": 4, "text_dim": 16, "freq_dim": 16, "ffn_dim": 32, "num_layers": 2,
            "rope_max_seq_len": 32,
        },
        lambda: {
            "hidden_states": torch.randn(1, 4, 2, 4, 6), "timestep": _steps(500),
            "encoder_hidden_states": torch.randn(1, 5, 16),
        },
    ),
    "LTXVideoTransformer3DModel": Tiny(
        {
            "in_channels": 4, "out_channels": 4, "num_attention_heads": 2,
            "attention_head_dim": 8, "cross_attention_dim": 16, "num_layers": 2,
            "caption_channels": 16,
        },
        lambda: {
            "hidden_states": torch.randn(1, 12, 4),
            "encoder_hidden_states": torch.randn(1, 5, 16), "timestep": _steps(500),
            "encoder_attention_mask": _ones_and_zeros(5, 4),
        },
        {"num_frames": 2, "height": 2, "width": 3},
    ),
    "CogVideoXTransformer3DModel": Tiny(
        {
            "num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 4,
            "out_channels": 4, "time_embed_dim": 8, "text_embed_dim": 16, "num_layers": 2,
            "sample_width": 6, "sample_height": 4, "sample_frames": 5, "max_text_seq_length": 5,
        },
        lambda: {
            "hidden_states": torch.randn(1, 2, 4, 4, 6),
            "encoder_hidden_states": torch.randn(1, 5, 16), "timestep": _steps(500),
        },
    ),
    "MochiTransformer3DModel": Tiny(
        {
            "num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 2,
            "pooled_projection_dim": 16, "in_channels": 4, "text_embed_dim": 16,
            "time_embed_dim": 16, "max_sequence_length": 5,
        },
        lambda: {
            "hidden_states": torch.randn(1, 4, 2, 4, 6),
            "encoder_hidden_states": torch.randn(1, 5, 16), "timestep": _steps(500),
            "encoder_attention_mask": _ones_and_zeros(5, 4).bool(),
        },
    ),
    "StableCascadeUNet": Tiny(
        {
            "in_channels": 4, "out_channels": 4, "timestep_ratio_embedding_dim": 8,
            "conditioning_dim": 16, "block_out_channels": (16, 16), "num_attention_heads": (2, 2),
            "down_num_layers_per_block": (1, 1), "up_num_layers_per_block": (1, 1),
            "clip_text_in_channels": 16, "clip_text_pooled_in_channels": 16,
            "clip_image_in_channels": 16, "switch_level": (False,),
        },
        lambda: {
            "sample": torch.randn(1, 4, 4, 6), "timestep_ratio": torch.tensor([0.5]),
            "clip_text_pooled": torch.randn(1, 1, 16), "clip_text": torch.randn(1, 5, 16),
            "clip_img": torch.randn(1, 1, 16),
        },
    ),
    "SD3Transformer2DModel": Tiny(
        {
            "sample_size": 8, "in_channels": 4, "num_layers": 2, "attention_head_dim": 8,
            "num_attention_heads": 2, "joint_attention_dim": 16, "caption_projection_dim": 16,
            "pooled_projection_dim": 16, "out_channels": 4, "pos_embed_max_size": 8,
            "qk_norm": "rms_norm",
        },
        lambda: {
            "hidden_states": torch.randn(1, 4, 8, 8),
            "encoder_hidden_states": torch.randn(1, 5, 16),
            "pooled_projections": torch.randn(1, 16), "timestep": _steps(500),
        },
    ),
    "FluxTransformer2DModel": Tiny(
        {
            "in_channels": 8, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16,
            "num_attention_heads": 2, "joint_attention_dim": 16, "pooled_projection_dim": 16,
            "axes_dims_rope": (4, 6, 6),
        },
        lambda: {
            "hidden_states": torch.randn(1, 12, 8),
            "encoder_hidden_states": torch.randn(1, 5, 16),
            "pooled_projections": torch.randn(1, 16), "timestep": torch.tensor([0.5]),
            "img_ids": torch.cartesian_prod(*map(torch.arange, (1, 3, 4))).float(),
            "txt_ids": torch.zeros(5, 3),
        },
    ),
    "PixArtTransformer2DModel": Tiny(
        {
            "num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2,
            "cross_attention_dim": 16, "sample_size": 8, "caption_channels": 16,
            "use_additional_conditions": False,
        },
        lambda: {
            "hidden_states": torch.randn(1, 4, 8, 8),
            "encoder_hidden_states": torch.randn(1, 5, 16), "timestep": _steps(500),
            "encoder_attention_mask": _ones_and_zeros(5, 4),
        },
        {"added_cond_kwargs": {"resolution": None, "aspect_ratio": None}},
    ),
    "SanaTransformer2DModel": Tiny(
        {
            "in_channels": 4, "out_channels": 4, "num_attention_heads": 2,
            "attention_head_dim": 8, "num_layers": 2, "num_cross_attention_heads": 2,
            "cross_attention_head_dim": 8, "cross_attention_dim": 16, "caption_channels": 16,
            "sample_size": 8,
        },
        lambda: {
            "hidden_states": torch.randn(1, 4, 8, 8),
            "encoder_hidden_states": torch.randn(1, 5, 16), "timestep": _steps(500),
            "encoder_attention_mask": _ones_and_zeros(5, 4),
        },
    ),
}  # fmt: skip
"""Class -> how small."""


class Whole(nn.Module):
    """The model called by position, its first result in a tuple."""

    def __init__(self, model: nn.Module, names: Sequence[str], tiny: Tiny) -> None:
        super().__init__()
        self.model, self.names, self.tiny = model, list(names), tiny

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        given = dict(zip(self.names, inputs, strict=True))
        call = getattr(self.model, self.tiny.method)
        if isinstance(call, nn.Module):
            return (call(*inputs),)
        result = call(**given, **(self.tiny.fixed or {}), return_dict=False)
        return (result[0],)


def made(name: str) -> tuple[Whole, tuple[Tensor, ...]]:
    """The tiny model of that class and its inputs, the same at every call."""
    import diffusers

    torch.manual_seed(0)
    tiny = TINY[name]
    model = getattr(diffusers, name)(**tiny.settings).eval().requires_grad_(False)
    given = tiny.inputs()
    inputs = [t.half().float() if t.is_floating_point() else t for t in given.values()]
    return Whole(model, list(given), tiny).eval(), tuple(inputs)


def found_and_right(
    whole: Whole, inputs: tuple[Tensor, ...], precision: str, folder: Path
) -> tuple[Tensor, Tensor]:
    """What the package gives and what torch does."""
    with torch.no_grad():
        (right,) = whole(*inputs)
    ports = [_port(f"in_{i}", t, precision) for i, t in enumerate(inputs)]
    path = folder / "m.mlpackage"
    convert_chunk(
        whole, inputs, inputs=ports, outputs=[_port("out_0", right, precision)],
        how=Conversion(precision, "iOS18", "none"), path=path,
    )  # fmt: skip
    numbers = [t if t.is_floating_point() else t.int() for t in inputs]
    with load(path, policy="round") as package:
        given = {f"in_{i}": t for i, t in enumerate(numbers)}
        found = package.predict(given)["out_0"]
    return found.double(), right.double()


def _port(name: str, tensor: Tensor, precision: str) -> Port:
    kind = DType(precision) if tensor.is_floating_point() else DType.INT32
    return Port(name, tuple(tensor.shape), kind)


def _figure(found: Tensor, right: Tensor, precision: str) -> tuple[str, bool]:
    largest, off = float(right.abs().max()), found - right
    if precision == "fp32":
        error = float(off.abs().max()) / largest
        return f"{error:.1e}", error <= FP32_ERROR
    noise = float(off.pow(2).mean().sqrt())
    decibels = 20 * math.log10(largest / noise) if noise else math.inf
    return f"{decibels:.0f} dB", decibels >= FP16_DB


def row(name: str, precisions: Sequence[str]) -> list[str]:
    """What `HEAD` says of one class."""
    start = time.monotonic()
    figures, reason, does = {"fp32": "", "fp16": ""}, "", "yes"
    try:
        whole, inputs = made(name)
        for precision in precisions:
            with tempfile.TemporaryDirectory() as folder:
                pair = found_and_right(whole, inputs, precision, Path(folder))
            figures[precision], holds = _figure(*pair, precision)
            reason += "" if holds else f"{precision} is off; "
    except EntracteError as error:
        does, reason = "no", str(error).replace("|", "\\|")
    taken = f"{time.monotonic() - start:.0f}"
    return [name, does, figures["fp32"], figures["fp16"], taken, reason]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("classes", nargs="*", help="of diffusers; all without")
    parser.add_argument("--precision", nargs="+", default=["fp32", "fp16"])
    asked = parser.parse_args()
    unknown = sorted(set(asked.classes) - set(TINY))
    if unknown:
        parser.error(f"{', '.join(unknown)}: not one of {', '.join(TINY)}")
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(_line(HEAD), _line(["---"] * len(HEAD)), sep="\n", flush=True)
    for name in asked.classes or TINY:
        print(_line(row(name, asked.precision)), flush=True)


if __name__ == "__main__":
    main()
