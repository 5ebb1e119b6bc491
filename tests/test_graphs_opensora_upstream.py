"""Open-Sora 1.2 against upstream's own code with random weights (tests/vectors): sizes by the
folder's configuration and options, weights under upstream's names, every run."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from entracte.graphs import GraphFault, models
from entracte.graphs.opensora.denoiser import mask_to_bias
from entracte.graphs.opensora.sampler import GuidedEuler, rflow_timesteps
from tests.opensora import declared, graph_of, put
from tests.upstream import VECTORS, case, loaded

STDIT3 = [(name, run) for name in ("os12_stdit3_a", "os12_stdit3_b")
          for run in case(name).about["runs"]]  # fmt: skip
VAE = case("os12_vae_a")
SAMPLING = case("os12_sampling_a")
SCHEDULES = json.loads((VECTORS / "rflow_timesteps.json").read_text())


def text_as_wide_as(config):
    """A text encoder's configuration that suits a denoiser's."""
    return {"model_type": "t5", "d_model": config["caption_channels"], "num_layers": 1,
            "num_heads": 1, "d_kv": 4, "d_ff": 8, "vocab_size": 32}  # fmt: skip


def folder_of(found, config, component, place):
    folder = put(place / "folder", component, config, found)
    if component == "denoiser":
        put(folder, "text_encoder", text_as_wide_as(config))
    return folder


def stages(folder, **options):
    return {s.name: s for s in declared(folder, **options).stages}


# ---------------------------------------------------------------- denoiser


def of_rows(net, x, timestep, y, mask, x_mask=None):
    """Upstream's call: texts of the conditional rows, to which the null caption is joined."""
    n = len(y)
    null = net.y_embedder.y_embedding.expand(y.shape)
    bias = mask_to_bias(mask.repeat(2 * n // len(mask), 1))
    return net(x, timestep, torch.cat((y, null)), bias, x_mask)


FRAMES = {1: 1, 2: 5, 3: 12, 5: 17, 10: 34}
"""Latent frames, and frames of which they are."""


@torch.no_grad()
@pytest.mark.parametrize(("name", "run"), STDIT3)
def test_stdit3_is_upstreams(name, run, tmp_path):
    found = case(name)
    given, want = found.inputs(run), found.outputs(run)
    numbers = [given["x"], given["timestep"], given["y"][:, 0], given["mask"].float()]
    numbers += [given["x_mask"].float()] if "x_mask" in given else []
    folder = folder_of(found, found.config, "denoiser", tmp_path)
    stage = stages(
        folder, frames=FRAMES[given["x"].shape[2]], height=int(given["height"]),
        width=int(given["width"]), fps=float(given["fps"]),
    )["denoise"]  # fmt: skip
    module = loaded(graph_of(stage, x_mask="x_mask" in given), folder, tmp_path / "cache")
    sample = of_rows(module.model, *numbers)
    found.check(sample, want["sample"])
    found.check(sample.chunk(2, dim=1)[0], want["velocity"])
    if len(given["y"]) == 1:
        # The stage itself has one clip, and makes both rows of it.
        found.check(module(*(n[:1] for n in numbers)), want["sample"])
    if "x_mask" in given:
        assert 0 < given["x_mask"].sum() < given["x_mask"].numel()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"skip_y_embedder": True}, "skip_y_embedder is true"),
        ({"hiden_size": 8}, "'?hiden_size'?"),
    ],
)
def test_a_denoiser_that_is_not_upstreams_is_refused(config, message):
    with pytest.raises(GraphFault, match=message):
        models.build_model("STDiT3", config)


@pytest.mark.parametrize("patch", [(1, 1, 1), (2, 2, 2), (1, 4, 2)])
def test_patches_of_any_size_are_put_together(patch):
    """A denoiser that does nothing but cut and put together, at sizes that are no multiples."""
    size = (3, 5, 7)
    clip = {"latent": size, "pixels": (40, 56), "patch_size": patch}
    net = models.build_model(
        "STDiT3",
        {"hidden_size": 8, "depth": 0, "num_heads": 1, "caption_channels": 4,
         "model_max_length": 2, **clip},
    ).model  # fmt: skip
    x = torch.randn(1, 4, *size)
    padded = nn.functional.pad(
        x, [n for s, p in zip(size[::-1], patch[::-1], strict=True) for n in (0, -s % p)]
    )
    tokens = padded.reshape(1, 4, *(n for s, p in zip(padded.shape[2:], patch, strict=True)
                                    for n in (s // p, p)))  # fmt: skip
    # Tokens by frame, row, column; in each pixels in the same order, channels last, twice as many.
    tokens = tokens.permute(0, 2, 4, 6, 3, 5, 7, 1).reshape(1, -1, np.prod(patch), 4)
    both = torch.cat((tokens, -tokens), dim=-1).flatten(2)
    made = net._unpatchify(both)
    assert torch.equal(made, torch.cat((x, -x), dim=1))


def test_without_the_norm_of_queries_there_are_no_weights_of_it():
    sizes = {"hidden_size": 8, "depth": 1, "num_heads": 1, "caption_channels": 4,
             "model_max_length": 2, "qk_norm": False}  # fmt: skip
    assert not [k for k in models.build_model("STDiT3", sizes).state_dict() if "_norm" in k]


# ---------------------------------------------------------------- VAE


def mapped(module, stage, x):
    """A stage over its slices, as the runner has it."""
    if stage.map is None:
        return module(x)
    (cut,) = stage.map.slices
    count = cut.count or (x.shape[cut.axis] - cut.start) // cut.stride
    starts = [cut.start + i * cut.stride for i in range(count)]
    parts = [module(x.narrow(cut.axis, at, cut.size)) for at in starts]
    return torch.cat(parts, dim=cut.axis)


DECODED = [run for run in VAE.about["runs"] if run.startswith("decode")]


@torch.no_grad()
@pytest.mark.parametrize("run", DECODED)
def test_any_number_of_frames_is_decoded_as_upstream_does(run, tmp_path):
    z, frames = VAE.inputs(run)["z"], VAE.about["literals"][run]["num_frames"]
    folder = folder_of(VAE, VAE.config, "vae", tmp_path)
    found = stages(folder, frames=frames, height=8 * z.shape[3], width=8 * z.shape[4])
    parts = []
    for name in ("decode_time", "decode_time_rest"):
        if name in found:
            module = loaded(graph_of(found[name]), folder, tmp_path / "cache")
            parts.append(mapped(module, found[name], z))
    assert ("join" in found) == (len(parts) == 2)
    latents = torch.cat(parts, dim=2)
    want = VAE.outputs(run)
    VAE.check(latents, want["x_z"])
    module = loaded(graph_of(found["decode_space"]), folder, tmp_path / "cache")
    pixels = mapped(module, found["decode_space"], latents)
    # Ours are from 0 to 1, and cut off there; one frame is a picture.
    clamped = (want["x"] / 2 + 0.5).clamp(0, 1)
    VAE.check(pixels, clamped[:, :, 0] if frames == 1 else clamped)


THREE = {"micro_frame_size": 8, "scale": [1.0] * 3, "shift": [0.0] * 3}


@pytest.mark.parametrize("frames", [1, 2, 4, 16, 17, 18, 21, 22, 33, 34, 51, 67])
@pytest.mark.parametrize("sizes", [{}, THREE])
def test_groups_and_rest_make_all_frames(frames, sizes, tmp_path):
    """With 17 frames a group is 5 latents, with 8 it is 2; a rest of r frames is ceil(r / 4)."""
    group = sizes.get("micro_frame_size", 17)
    folder = put(tmp_path / "folder", "vae", {**VAE.config, **sizes})
    put(folder, "denoiser", {"in_channels": len(sizes.get("scale", [1] * 4))})
    found = stages(folder, frames=frames, height=24, width=40)
    latents = frames // group * -(-group // 4) + -(-(frames % group) // 4)
    shape = dict(found["noise"].params)["shape"]
    assert shape[2] == latents
    covered, made = [], 0
    for name in ("decode_time", "decode_time_rest"):
        if name not in found:
            continue
        graph, stage = graph_of(found[name]), found[name]
        size, cut = graph.inputs[0].shape[2], stage.map.slices[0] if stage.map else None
        count = 1 if cut is None else cut.count or latents // cut.size
        assert cut is None or cut.size == size
        start = cut.start if cut else 0
        covered += range(start, start + count * size)
        made += count * graph.module.frames
        assert (stage.weights_of == "decode_time") == (name == "decode_time_rest")
    assert covered == list(range(latents)) and made == frames
    batch = graph_of(found["decode_space"]).inputs[0].shape[2]
    assert batch <= 4 and frames % batch == 0


def test_without_groups_a_clip_is_one(tmp_path):
    """Upstream's `micro_frame_size=None`: 51 frames are 13 latents, decoded together."""
    folder = put(tmp_path / "folder", "vae", {**VAE.config, "micro_frame_size": None})
    found = stages(folder, frames=51, height=24, width=40)
    assert found["decode_time"].map is None and "decode_time_rest" not in found
    graph = graph_of(found["decode_time"])
    assert graph.inputs[0].shape[2] == 13 and graph.module.frames == 51


# ---------------------------------------------------------------- sampling


def test_timesteps_may_be_spaced_evenly(tmp_path):
    """Upstream's `use_timestep_transform=False`."""
    folder = put(tmp_path / "folder", "vae", VAE.config)
    words = ("sampler.steps=4",)
    stage = declared(folder, *words, timestep_transform=False).stage("schedule")
    assert graph_of(stage).arrays["timestep"].tolist() == [1000, 750, 500, 250]


@pytest.mark.parametrize("found", SCHEDULES["schedules"], ids=lambda s: str(list(s.values())[:4]))
def test_timesteps_are_upstreams(found):
    clip = [found[key] for key in ("steps", "frames", "height", "width")]
    timesteps, dt = rflow_timesteps(*clip)
    np.testing.assert_allclose(timesteps, found["timesteps_float64"], rtol=1e-12)
    np.testing.assert_allclose(dt, found["dt_float64"], rtol=1e-9)
    # Upstream computes in fp32.
    np.testing.assert_allclose(timesteps, found["timesteps_float32"], rtol=1e-5)


@pytest.mark.parametrize("steps", [30, 7, 16])
def test_timesteps_may_be_rounded_before_they_are_shifted(steps):
    """1000 (1 - i / steps) to the nearest whole number, of two the even one as Python does."""
    timesteps, dt = rflow_timesteps(steps, 68, 256, 256, discrete=True)
    for i in range(steps):
        whole = round(1000 * (1 - i / steps)) / 1000
        # 2.236...: 20 latent frames of half of 512 x 512.
        shift = 20**0.5 / 2
        assert abs(timesteps[i] - 1000 * shift * whole / (1 + (shift - 1) * whole)) < 1e-9
    assert abs(dt.sum() - 1) < 1e-12
    plain, _ = rflow_timesteps(steps, 68, 256, 256)
    assert 0 < np.abs(plain - timesteps).max() < 1.5


@torch.no_grad()
@pytest.mark.parametrize("found", SCHEDULES["trajectories"], ids=lambda t: str(t["frames"]))
def test_trajectories_are_upstreams(found):
    """With the velocities of a toy: see `toy_velocity` in the file."""
    clip = [found[key] for key in ("steps", "frames", "height", "width")]
    z = torch.tensor(found["z"]).reshape(found["shape"])
    step, guidance = GuidedEuler(z.shape[1]), torch.tensor([found["cfg"]])
    for t, dt in zip(*rflow_timesteps(*clip), strict=True):
        wave = torch.sin(3 * z) * float(t) / 1000
        both = torch.cat((0.5 * z + wave, -0.25 * z + wave))
        z = step(z, both, torch.tensor([dt], dtype=torch.float32), guidance)
    want = torch.tensor(found["out"]).reshape(found["shape"])
    assert (z - want).abs().max() <= 1e-5 * want.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("run", ["no_mask", "all_ones"])
def test_the_whole_loop_is_upstreams(run, tmp_path):
    config = SimpleNamespace(**SAMPLING.config)
    folder = folder_of(SAMPLING, config.stdit3, "denoiser", tmp_path)
    found = declared(folder, f"sampler.steps={config.steps}", frames=config.frames,
                     height=config.height, width=config.width, fps=config.fps)  # fmt: skip
    stage = {s.name: s for s in found.stages}
    (loop,) = found.loops
    table = graph_of(stage["schedule"]).arrays
    denoise = loaded(graph_of(stage["denoise"]), folder, tmp_path / "cache")
    step = graph_of(stage["step"]).module
    given, want = SAMPLING.inputs(run), SAMPLING.outputs(run)
    z, text, mask = given["z"], given["y"][:, 0], given["mask"].float()
    assert loop.count == len(want["timesteps"]) == config.steps
    for i in range(loop.count):
        t, dt = (torch.tensor(table[name][i : i + 1]) for name in ("timestep", "dt"))
        SAMPLING.check(t[0], want["timesteps"][i])
        SAMPLING.check(z[0], want["model_z"][i])
        both = denoise(z, t, text, mask)
        SAMPLING.check(both.chunk(2, dim=1)[0], want["velocity"][i])
        z = step(z, both, dt, torch.tensor([config.cfg_scale]))
    SAMPLING.check(z, want["z"])
