"""Open-Sora's graphs: published names and counts on `meta`, export at the demo's size."""

import numpy as np
import pytest
import torch

from entracte.graphs.opensora import tiny
from entracte.graphs.opensora.denoiser import MASKED, mask_to_bias
from entracte.graphs.opensora.embed import STDiT3Config
from entracte.graphs.opensora.sampler import GuidedEuler, rflow_timesteps
from entracte.graphs.opensora.stdit3 import STDiT3
from entracte.graphs.opensora.vae import SpatialDecoder, VAEConfig, VAETemporal, spatial_vae


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def rank_limit(program: torch.export.ExportedProgram) -> int:
    values = (node.meta.get("val") for node in program.graph.nodes)
    return max(v.ndim for v in values if isinstance(v, torch.Tensor))


def tiny_examples() -> dict[str, tuple[torch.nn.Module, tuple[torch.Tensor, ...]]]:
    """Every compiled graph of the demo with example inputs."""
    temporal, spatial = tiny.tiny_decoders()
    length, width = tiny.TEXT_TOKENS, tiny.TEXT_WIDTH
    ids, mask = torch.ones(1, length, dtype=torch.int32), torch.ones(1, length)
    z, one = torch.randn(1, 4, 4, 8, 8), torch.ones(1)
    return {
        "text": (tiny.tiny_text_encoder(), (ids, mask)),
        "denoiser": (tiny.tiny_denoiser(), (z, one * 500, torch.randn(1, length, width), mask)),
        "euler": (GuidedEuler(4), (z, torch.randn(2, 8, 4, 8, 8), one, one)),
        "temporal": (temporal, (torch.randn(1, 4, 2, 8, 8),)),
        "spatial": (spatial, (torch.randn(1, 4, 4, 8, 8),)),
    }


EXPECTED_SHAPES = {
    "text": (1, 16, 128),
    "denoiser": (2, 8, 4, 8, 8),
    "euler": (1, 4, 4, 8, 8),
    "temporal": (1, 4, 8, 8, 8),
    "spatial": (1, 3, 4, 64, 64),
}


@pytest.mark.parametrize("name", EXPECTED_SHAPES)
def test_graph_exports_with_static_shapes_up_to_rank_five(name):
    torch.manual_seed(0)
    module, inputs = tiny_examples()[name]
    module.eval()
    program = torch.export.export(module, inputs, strict=False)
    with torch.no_grad():
        expected = module(*inputs)
        torch.testing.assert_close(program.module()(*inputs), expected)
    assert tuple(expected.shape) == EXPECTED_SHAPES[name]
    assert rank_limit(program) <= 5


def test_stdit3_has_the_published_names_and_size():
    with torch.device("meta"):
        model = STDiT3(STDiT3Config())
    state = model.state_dict()
    assert len(state) == 973
    assert count(model) == 1_207_643_972
    assert tuple(state["x_embedder.proj.weight"].shape) == (1152, 4, 1, 2, 2)
    assert tuple(state["y_embedder.y_embedding"].shape) == (300, 4096)
    assert tuple(state["rope.freqs"].shape) == (36,)
    assert tuple(state["temporal_blocks.27.cross_attn.kv_linear.weight"].shape) == (2304, 1152)
    assert tuple(state["final_layer.linear.weight"].shape) == (32, 1152)
    # Tables are real even when parameters are not.
    assert model.positions.device.type == "cpu" and model.fps.device.type == "cpu"


def test_stdit3_3b_size():
    with torch.device("meta"):
        assert count(STDiT3(STDiT3Config(hidden=1872, heads=26))) == 3_182_211_572


def test_vae_has_the_published_size():
    with torch.device("meta"):
        temporal = VAETemporal(VAEConfig())
        spatial = spatial_vae(VAEConfig())
        spatial_decoder = SpatialDecoder(VAEConfig())
    assert count(temporal) == 309_687_144
    assert count(temporal.encoder) + count(temporal.quant_conv) == 144_421_200
    assert count(temporal.decoder) + count(temporal.post_quant_conv) == 165_265_944
    assert count(spatial) == 83_653_863
    assert count(spatial_decoder) == 49_490_199
    names = set(temporal.state_dict())
    assert "encoder.block_res_blocks.1.0.conv3.conv.weight" in names
    assert "decoder.conv_blocks.2.conv.bias" in names
    assert "decoder.conv_blocks.0.conv.weight" not in names
    assert all(n.startswith("spatial_vae.module.") for n in spatial_decoder.state_dict())


def test_odd_latent_sizes_are_padded_and_cropped():
    cfg = STDiT3Config(
        hidden=48, depth=1, heads=2, caption_channels=8, text_tokens=5, latent=(3, 5, 7)
    )
    out = STDiT3(cfg)(
        torch.randn(2, 4, 3, 5, 7), torch.ones(2), torch.randn(2, 5, 8), torch.zeros(1, 1, 1, 5)
    )
    assert tuple(out.shape) == (2, 8, 3, 5, 7)


def test_masked_tokens_do_not_matter():
    torch.manual_seed(0)
    model = tiny.tiny_denoiser().eval()
    mask = torch.zeros(1, 16)
    mask[:, :5] = 1
    z, t = torch.randn(1, 4, 4, 8, 8), torch.tensor([700.0])
    text = torch.randn(1, 16, 128)
    other = torch.where(mask[..., None] > 0, text, torch.randn_like(text))
    with torch.no_grad():
        first, second = model(z, t, text, mask), model(z, t, other, mask)
    assert torch.equal(first, second)
    assert mask_to_bias(mask).min() == MASKED


def test_temporal_decoder_drops_the_padding_frames():
    vae = VAETemporal(tiny.TINY_VAE, encoder=False).eval()
    z = torch.randn(1, 4, 2, 8, 8)
    with torch.no_grad():
        whole, part = vae.decode(z, 8), vae.decode(z, 5)
    assert torch.equal(whole[:, :, 3:], part)


def test_temporal_convolutions_are_causal():
    """A change in the second latent frame leaves a first convolution's first frame alone."""
    conv = VAETemporal(tiny.TINY_VAE, encoder=False).decoder.conv1
    z = torch.randn(1, 4, 2, 8, 8)
    other = z.clone()
    other[:, :, 1] += 1
    assert torch.equal(conv(z)[:, :, 0], conv(other)[:, :, 0])


def test_timesteps_follow_the_published_schedule():
    timesteps, lengths = rflow_timesteps(30, 51, 240, 426)
    np.testing.assert_allclose(
        timesteps[[0, 1, 2, -2, -1]], [1000, 985.9, 971.3, 147.3, 77.0], atol=0.05
    )
    assert abs(lengths.sum() - 1) < 1e-12
    even, _ = rflow_timesteps(4, 16, 64, 64, shift=1.0)
    assert even.tolist() == [1000, 750, 500, 250]


def test_shipped_files_load_and_are_small():
    for module, name in zip(
        (tiny.tiny_text_encoder(), tiny.tiny_denoiser(), *tiny.tiny_decoders()),
        ("text_encoder", "denoiser", "vae", "vae"),
        strict=True,
    ):
        tiny.load_shipped(module, f"{name}.safetensors")
    size = sum(path.stat().st_size for path in tiny.WEIGHTS.iterdir())
    assert size <= 12_000_000
