"""Upstream's own code with random weights (tests/vectors): its files through the loading door, and
the numbers that it gives.

Tolerances are those that `index.json` suggests: 2e-5 of the largest value, what fp32 differs by
from one order of sums to another.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from entracte.graphs import Graph, Input
from entracte.graphs.opensora.vae import SpatialDecoder, TemporalDecoder, VAEConfig
from entracte.ir import DType, Port, Stage, StageKind
from entracte.lower.backend import CORE_ML
from entracte.store.cache import Cache
from entracte.trace.measure import trace_stage
from entracte.trace.weights import FileWeights

VECTORS = Path(__file__).parent / "vectors"
NEAR = 2e-5
# `config` of the case in upstream's index.json
VAE = VAEConfig(
    filters=4, res_blocks=1, multipliers=(1, 2, 2, 4), temporal_down=(False, True, True), groups=2,
    spatial_channels=(8, 8, 16, 16), spatial_layers=1, spatial_groups=4,
    shift=(0.0, 0.0, 0.0, 0.0), scale=(1.0, 1.0, 1.0, 1.0),
)  # fmt: skip
GROUP, LATENTS = 17, 5


@pytest.fixture(scope="module")
def case():
    return load_file(VECTORS / "os12_vae_a.safetensors")


@pytest.fixture(scope="module")
def folder(case, tmp_path_factory):
    """As the hub has it: one file, upstream's key names and shapes."""
    made = tmp_path_factory.mktemp("os12")
    weights = {k.removeprefix("weights."): v for k, v in case.items() if k.startswith("weights.")}
    save_file(weights, made / "vae.safetensors")
    return made


def loaded(module, port, shape, folder, tmp_path, owns):
    """The module with its numbers from the folder, every key and shape checked on the way."""
    graph = Graph(module.eval(), (Input(port, shape),), ("y",), checkpoint="vae", owns=owns)
    stage = Stage(name="decode", kind=StageKind.GRAPH, op="x", inputs=((port, "z"),))
    traced = trace_stage(stage, graph, {port: Port(port, shape, DType.FP32)}, None, CORE_ML)
    source = FileWeights(folder, Cache(tmp_path))
    source.look("decode", "vae")
    source.check(traced)
    found = source.tensors(traced, [n for n in traced.key_of if n not in traced.held])
    missing, unexpected = module.load_state_dict(dict(found), strict=False)
    assert not unexpected
    assert not [name for name in missing if name in found]
    return module


@torch.no_grad()
@pytest.mark.parametrize("run", ["decode_17f", "decode_34f"])
def test_the_published_vae_decodes(run, case, folder, tmp_path):
    z, frames = case[f"inputs.{run}.z"], int(run.split("_")[1][:-1])
    group = (1, 4, LATENTS, *z.shape[3:])
    owns = ("temporal_vae.decoder.", "temporal_vae.post_quant_conv.", "scale", "shift")
    temporal = loaded(TemporalDecoder(VAE, GROUP), "z", group, folder, tmp_path, owns)
    made = [temporal(z[:, :, i : i + LATENTS]) for i in range(0, z.shape[2], LATENTS)]
    latents = torch.cat(made, 2)[:, :, :frames]
    near(latents, case[f"outputs.{run}.x_z"])
    spatial = loaded(
        SpatialDecoder(VAE), "x", (1, 4, 4, *z.shape[3:]), folder, tmp_path,
        ("spatial_vae.module.decoder.", "spatial_vae.module.post_quant_conv."),
    )  # fmt: skip
    # Ours are from 0 to 1, and cut off there.
    want = (case[f"outputs.{run}.x"] / 2 + 0.5).clamp(0, 1)
    pixels = torch.cat([spatial(latents[:, :, i : i + 4]) for i in range(0, frames, 4)], 2)
    near(pixels, want)


def near(got, want):
    assert got.shape == want.shape
    assert float((got - want).abs().max()) <= NEAR * float(want.abs().max())


def test_the_shipped_file_has_the_published_shapes(folder):
    published = load_file(folder / "vae.safetensors")
    ours = load_file(Path(__file__).parent.parent / "graphs/weights/tiny_t2v/vae.safetensors")
    for name in ("scale", "shift"):
        assert ours[name].shape == published[name].shape == (1, 4, 1, 1, 1)
