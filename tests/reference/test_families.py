"""Each model family of this project: packages of our own lowering against their torch source.

The source's weights are the demo's trained ones. What the lowering makes of families whose weights
are random (diffusers' decoder, another T5) is in `tests/lower/test_convert.py`.
"""

from __future__ import annotations

import pytest
import torch

from entracte.graphs.opensora import tiny
from entracte.reference import Model
from tests.lower.execute import lower, psnr, relative_error, torch_result

FP32_REL = 1e-5
"""Rounding of fp32 alone: 6e-8 an operation, over some hundred to a thousand operations."""
FP16_PSNR = 50.0
"""dB against the result's range: what the project asks of fp16."""
SCHEMES = {"int8": "iOS16", "palette8": "iOS16", "palette6": "iOS16", "palette4": "iOS16",
           "int4_block32": "iOS18"}  # fmt: skip


def _text():
    ids = torch.randint(2, tiny.VOCABULARY, (1, tiny.TEXT_TOKENS), dtype=torch.int32)
    mask = torch.ones(1, tiny.TEXT_TOKENS)
    mask[:, 9:] = 0
    return tiny.load_shipped(tiny.tiny_text_encoder(), "text_encoder.safetensors"), (ids, mask)


def _denoiser():
    mask = torch.ones(1, tiny.TEXT_TOKENS)
    mask[:, 9:] = 0
    text = torch.randn(1, tiny.TEXT_TOKENS, tiny.TEXT_WIDTH)
    module = tiny.load_shipped(tiny.tiny_denoiser(), "denoiser.safetensors")
    return module, (torch.randn(1, 4, 4, 8, 8), torch.tensor([600.0]), text, mask)


def _decoder(index: int, frames: int):
    module = tiny.load_shipped(tiny.tiny_decoders()[index], "vae.safetensors")
    return module, (torch.randn(1, 4, frames, 8, 8),)


FAMILIES = {
    "T5": _text,
    "STDiT3": _denoiser,
    "temporal VAE": lambda: _decoder(0, 2),
    "spatial VAE": lambda: _decoder(1, 2),
}


@pytest.fixture(params=FAMILIES)
def family(request):
    torch.manual_seed(0)
    module, args = FAMILIES[request.param]()
    return module.eval().requires_grad_(False), args


def predicted(path, args, policy="hybrid") -> torch.Tensor:
    with Model(path, policy=policy) as model:
        data = {name: v.int() if not v.is_floating_point() else v
                for name, v in zip(model.inputs, args, strict=True)}  # fmt: skip
        return torch.from_numpy(next(iter(model.predict(data).values())))


def test_fp32_is_within_rounding_of_the_source(family, tmp_path):
    module, args = family
    lower(module, args, tmp_path / "m.mlpackage", "fp32", "iOS18")
    found = predicted(tmp_path / "m.mlpackage", args)
    assert relative_error(found, torch_result(module, args)) <= FP32_REL


def test_fp16_is_within_50_db_of_the_source(family, tmp_path):
    module, args = family
    lower(module, args, tmp_path / "m.mlpackage", "fp16", "iOS18")
    for policy in ("hybrid", "round"):
        found = predicted(tmp_path / "m.mlpackage", args, policy)
        assert psnr(found, torch_result(module, args)) >= FP16_PSNR, policy


class Layers(torch.nn.Module):
    """One of each layer whose weights are compressed."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(96, 64)
        self.linear = torch.nn.Linear(64, 64)
        self.conv = torch.nn.Conv1d(64, 64, 3, padding=1)

    def forward(self, ids):
        return (self.conv(self.linear(self.embed(ids)).transpose(1, 2)),)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_compressed_package_is_torch_on_the_decompressed_weights(scheme, tmp_path):
    """Bit for bit: in fp32 both call the same kernels on the same numbers."""
    from entracte.reference import load

    torch.manual_seed(0)
    module, args = Layers().eval().requires_grad_(False), (torch.randint(0, 96, (2, 16)),)
    before = torch_result(module, args)
    path = tmp_path / "m.mlpackage"
    facts = lower(module, args, path, "fp32", SCHEMES[scheme], scheme)
    assert facts.compressed_tensors == 3
    dense: list[torch.Tensor] = []
    with load(path) as loaded:

        def keep(name, kind, results) -> None:
            if kind.startswith("constexpr_"):
                dense.append(results[-1].clone())

        loaded.on_op = keep
        (name,) = (feature.name for feature in loaded.info.inputs)
        (found,) = loaded.predict({name: args[0].int()}).values()
    for weight in (module.embed.weight, module.linear.weight, module.conv.weight):
        (value,) = (d for d in dense if d.shape == weight.shape and _nearest(d, weight, dense))
        assert not torch.equal(weight, value)
        weight.copy_(value)
    after = torch_result(module, args)
    assert torch.equal(found, after)
    assert not torch.equal(after, before)


def _nearest(value: torch.Tensor, weight: torch.Tensor, dense: list[torch.Tensor]) -> bool:
    distances = [float((d - weight).norm()) for d in dense if d.shape == weight.shape]
    return float((value - weight).norm()) == min(distances)
