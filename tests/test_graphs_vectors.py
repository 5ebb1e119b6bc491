"""Upstream's own code with random weights (tests/vectors): its files through the loading door, and
the numbers that it gives."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from entracte.graphs import Graph, Input
from entracte.graphs.opensora.vae import SpatialDecoder, TemporalDecoder, VAEConfig
from tests.upstream import case, loaded

# `config` of the case in upstream's index.json
VAE = VAEConfig(
    filters=4, res_blocks=1, multipliers=(1, 2, 2, 4), temporal_down=(False, True, True), groups=2,
    spatial_channels=(8, 8, 16, 16), spatial_layers=1, spatial_groups=4,
    shift=(0.0, 0.0, 0.0, 0.0), scale=(1.0, 1.0, 1.0, 1.0),
)  # fmt: skip
GROUP, LATENTS = 17, 5


@pytest.fixture(scope="module")
def vae():
    return case("os12_vae_a")


@pytest.fixture(scope="module")
def folder(vae, tmp_path_factory):
    """As the hub has it: one file, upstream's key names and shapes."""
    return vae.save(tmp_path_factory.mktemp("os12"), "vae")


def through(module, port, shape, folder, tmp_path, owns):
    """The module with its numbers from the folder, every key and shape checked on the way."""
    graph = Graph(module.eval(), (Input(port, shape),), ("y",), checkpoint="vae", owns=owns)
    return loaded(graph, folder, tmp_path)


@torch.no_grad()
@pytest.mark.parametrize("run", ["decode_17f", "decode_34f"])
def test_the_published_vae_decodes(run, vae, folder, tmp_path):
    z, frames = vae.inputs(run)["z"], vae.about["literals"][run]["num_frames"]
    group = (1, 4, LATENTS, *z.shape[3:])
    owns = ("temporal_vae.decoder.", "temporal_vae.post_quant_conv.", "scale", "shift")
    temporal = through(TemporalDecoder(VAE, GROUP), "z", group, folder, tmp_path, owns)
    made = [temporal(z[:, :, i : i + LATENTS]) for i in range(0, z.shape[2], LATENTS)]
    latents = torch.cat(made, 2)[:, :, :frames]
    vae.check(latents, vae.outputs(run)["x_z"])
    spatial = through(
        SpatialDecoder(VAE), "x", (1, 4, 4, *z.shape[3:]), folder, tmp_path,
        ("spatial_vae.module.decoder.", "spatial_vae.module.post_quant_conv."),
    )  # fmt: skip
    # Ours are from 0 to 1, and cut off there.
    want = (vae.outputs(run)["x"] / 2 + 0.5).clamp(0, 1)
    pixels = torch.cat([spatial(latents[:, :, i : i + 4]) for i in range(0, frames, 4)], 2)
    vae.check(pixels, want)


def test_the_shipped_file_has_the_published_shapes(vae):
    ours = load_file(Path(__file__).parent.parent / "graphs/weights/tiny_t2v/vae.safetensors")
    for name in ("scale", "shift"):
        assert ours[name].shape == vae.weights[name].shape == (1, 4, 1, 1, 1)
