"""Open-Sora 1.2's VAE encoder: upstream's file through the loading door, and upstream's numbers
(tests/vectors/os12_vae_a)."""

import json

import pytest
import torch

from entracte.graphs.opensora.vae import SPATIAL_SCALE
from entracte.graphs.recipes.called import graph
from entracte.graphs.recipes.open_sora_encoder import (
    encode_space,
    encode_time,
    reference_latents,
)
from entracte.graphs.recipes.parts_latents import sampled
from tests.upstream import case, loaded

CASE = case("os12_vae_a")
GROUP = 17


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """A function of the VAE with the file's numbers, every key and shape checked on the way."""
    folder = CASE.save(tmp_path_factory.mktemp("os12"), "vae")

    def made(function, settings=None, **shapes):
        found = graph(
            function, shapes, ("y",), "entracte.VideoAutoencoderPipeline",
            json.dumps(CASE.config), "vae", settings=json.dumps(settings or {}),
        )  # fmt: skip
        return loaded(found, folder, tmp_path_factory.mktemp("cache"))

    return made


@torch.no_grad()
def test_pixels_become_spatial_latents(stage):
    x, want = CASE.inputs("encode_18f")["x"], CASE.outputs("encode_18f")
    net = stage(encode_space, frames=(1, 3, 3, *x.shape[3:]))
    got = torch.cat([net(x[:, :, i : i + 3]) for i in range(0, x.shape[2], 3)], 2)
    CASE.check(got, want["x_z_mode"])
    noise = torch.randn(want["x_z_mode"].shape, generator=torch.Generator().manual_seed(3))
    drawn = stage(encode_space, frames=tuple(x.shape), noise=tuple(noise.shape))(x, noise)
    mean, logvar = want["spatial_moments"].chunk(2, 1)
    CASE.check(drawn, (mean + (logvar / 2).exp() * noise) * SPATIAL_SCALE)
    picture = stage(encode_space, frames=(1, *x.shape[1:2], *x.shape[3:]))(x[:, :, 5])
    CASE.check(picture, want["x_z_mode"][:, :, 5:6])


@torch.no_grad()
def test_spatial_latents_become_video_latents_in_groups(stage):
    want = CASE.outputs("encode_18f")
    x = want["x_z_mode"]
    moments = [
        stage(encode_time, x=tuple(part.shape))(part) for part in (x[:, :, :GROUP], x[:, :, GROUP:])
    ]
    CASE.check(torch.cat(moments, 2), want["temporal_moments"])
    shapes = {"moments": tuple(moments[0].shape), "rest": tuple(moments[1].shape)}
    CASE.check(stage(reference_latents, **shapes)(*moments), want["z_mode"])
    # Of the second group alone: its numbers of the noise, and not the first ones.
    noise = torch.randn(want["z_mode"].shape, generator=torch.Generator().manual_seed(3))
    whole = stage(reference_latents, **shapes, noise=tuple(noise.shape))(*moments, noise)
    part = stage(reference_latents, {"first": 5}, moments=shapes["rest"], noise=tuple(noise.shape))
    got = part(moments[1], noise)
    torch.testing.assert_close(got, whole[:, :, 5:])
    scale, shift = (CASE.weights[n] for n in ("scale", "shift"))
    mean, logvar = want["temporal_moments"].chunk(2, 1)
    CASE.check(whole, (mean + (logvar / 2).exp() * noise - shift) / scale)


@torch.no_grad()
@pytest.mark.parametrize("run", ["temporal_17f", "temporal_6f"])
def test_a_group_is_encoded_and_decoded(run, stage):
    x, want = CASE.inputs(run)["x_z"], CASE.outputs(run)
    net = stage(encode_time, x=tuple(x.shape))
    CASE.check(net(x), want["moments"])
    mean = want["moments"].chunk(2, 1)[0]
    decode = stage(_decode_time, {"frames": x.shape[2]}, z=tuple(mean.shape))
    CASE.check(decode(mean), want["mode_decoded"])


def _decode_time(vae, z, frames):
    return vae.temporal_vae.decode(z, frames)


def test_a_variance_is_cut_off_where_upstream_does():
    moments = torch.tensor([1.0, 1.0, 50.0, -50.0]).reshape(1, 4, 1, 1, 1)
    got = sampled(moments, torch.ones(1, 2, 1, 1, 1)).flatten()
    torch.testing.assert_close(got, 1 + torch.tensor([10.0, -15.0]).exp())
