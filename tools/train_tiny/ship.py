"""Writes the shipped files: fp16 safetensors under upstream's names, tokenizer, card."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from entracte.graphs.opensora.tiny import TINY_DENOISER, TINY_VAE
from tools.train_tiny import tokenizer

LARGEST_HALF = 65504.0
# What writes into T5's residual stream, and the power of two it is divided by when shipped.
RESIDUAL_WRITERS = ("shared.weight", "SelfAttention.o.weight", "DenseReluDense.wo.weight")
RESIDUAL_DIVISOR = 16.0


def halved(tensors: dict[str, Tensor], strip: str = "") -> dict[str, Tensor]:
    """fp16 copies, names without the prefix `strip`; refuses what fp16 cannot hold."""
    halves = {}
    for name, value in sorted(tensors.items()):
        if not torch.isfinite(value).all() or value.abs().max() > LARGEST_HALF:
            raise ValueError(f"{name} does not fit fp16: largest {value.abs().max()}")
        halves[name.removeprefix(strip)] = value.detach().half().contiguous().clone()
    return halves


def _quiet_residual(text: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same T5 with a smaller residual stream.

    Every reader of the stream normalises it first, so dividing all its writers changes nothing;
    but the norm squares it, and the trained stream reaches 232, whose square all but fills fp16.
    """
    return {
        name: value / RESIDUAL_DIVISOR if name.endswith(RESIDUAL_WRITERS) else value
        for name, value in text.items()
    }


def write(
    folder: Path,
    text_encoder: nn.Module,
    denoiser: nn.Module,
    decoders: tuple[nn.Module, nn.Module],
    card: dict[str, object],
) -> None:
    """Write the five files of the embedded pipeline into `folder`.

    Args:
        folder: usually `graphs/weights/tiny_t2v`.
        text_encoder, denoiser: modules whose parameters live under `model.`.
        decoders: temporal and spatial decoder; they share the VAE file.
        card: facts about the training run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = text_encoder.state_dict()
    text.pop("model.encoder.embed_tokens.weight")  # the same tensor as model.shared.weight
    vae = {**decoders[0].state_dict(), **decoders[1].state_dict()}
    for name, tensors in (
        ("text_encoder", halved(_quiet_residual(text), "model.")),
        ("denoiser", halved(denoiser.state_dict(), "model.")),
        ("vae", halved(vae)),
    ):
        path = folder / f"{name}.safetensors"
        save_file(tensors, path, metadata={"format": "pt"})
        path.chmod(0o644)  # safetensors makes it private
    tokenizer.build().save(str(folder / "tokenizer.json"))
    sizes = {"denoiser": asdict(TINY_DENOISER), "vae": asdict(TINY_VAE)}
    sizes["text_encoder"] = text_encoder.model.config.to_diff_dict()
    (folder / "card.json").write_text(json.dumps({**card, "config": sizes}, indent=1) + "\n")
