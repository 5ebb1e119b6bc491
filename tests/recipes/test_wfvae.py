"""WFVAE decoded and encoded in slices: the same video however it is sliced and ordered, and that of
the whole clip, from a folder as the hub has it."""

import json

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from entracte.build import compile_pipeline
from entracte.graphs.models import build_model
from entracte.graphs.recipes.hub import model_folder
from entracte.graphs.recipes.recipe import Recipe
from entracte.graphs.recipes.wfvae import decode_video, encoded
from tests.recipes.harness import NEAR, check, normal, run
from tests.upstream import case

SLOW = pytest.mark.slow
ROWS, COLUMNS, RATE = 2, 3, 18


@pytest.fixture(scope="module")
def upstream():
    return case("osp13_wfvae_b")


@pytest.fixture(scope="module")
def model(upstream):
    made = build_model("WFVAEModel", upstream.config).eval()
    made.load_state_dict(upstream.weights, strict=False)
    return made


@pytest.fixture(scope="module")
def folder(upstream, tmp_path_factory):
    """`vae/config.json` and `vae/merged.ckpt`, as upstream saves them."""
    place = tmp_path_factory.mktemp("folder")
    (place / "vae").mkdir()
    # Other scales than upstream's, each channel with its own.
    config = upstream.config | {"scale": [0.2 + i / 50 for i in range(8)],
                                "shift": [0.1 * i - 0.3 for i in range(8)]}  # fmt: skip
    (place / "vae" / "config.json").write_text(json.dumps({"_class_name": "WFVAEModel"} | config))
    averaged = {f"module.{k}": v for k, v in upstream.weights.items()}
    last = {k: v + 1 for k, v in upstream.weights.items()}
    saved = {"ema_state_dict": averaged, "state_dict": {"gen_model": last}}
    torch.save(saved, place / "vae" / "merged.ckpt")
    index = {"_class_name": "OpenSoraPlanPipeline", "vae": ["entracte", "WFVAEModel"]}
    (place / "model_index.json").write_text(json.dumps(index))
    return place


def built(r, tmp_path, *words, precision="fp32"):
    (tmp_path / "conf" / "pipeline").mkdir(parents=True)
    made = OmegaConf.create({
        "name": "own", "title": "own", "weights": str(r.folder.path), "precision": precision,
        "inputs": r.inputs, "stages": r.stages, "outputs": r.outputs,
    })  # fmt: skip
    OmegaConf.save(made, tmp_path / "conf" / "pipeline" / "own.yaml")
    return compile_pipeline(
        ["+target=host", "pipeline=own", "verify=off", *words, f"cache={tmp_path / 'cache'}"],
        out=tmp_path / "build", config_dir=tmp_path / "conf",
    )  # fmt: skip


def each(model_config, key):
    return torch.tensor(model_config[key]).view(1, -1, 1, 1, 1)


@torch.no_grad()
@pytest.mark.parametrize(("latents", "size", "order", "chunk_bytes"), [
    (4, 1, "slice", "256KiB"), pytest.param(5, 2, "auto", "128KiB", marks=SLOW),
    pytest.param(5, 1, "slice", "128KiB", marks=SLOW),
    pytest.param(5, 1, "chunk", "128KiB", marks=SLOW),
    pytest.param(7, 2, "chunk", "1MiB", marks=SLOW),
    pytest.param(4, 9, "auto", "64KiB", marks=SLOW), pytest.param(2, 1, "auto", "1MiB", marks=SLOW),
    pytest.param(1, 1, "auto", "1MiB", marks=SLOW),
])  # fmt: skip
def test_slices_decode_to_the_clip(model, folder, tmp_path, latents, size, order, chunk_bytes):
    r = Recipe(model_folder(folder), {"slice": size}, None)
    z = normal(4, 1, 8, latents, ROWS, COLUMNS) / 4
    decode_video(r, r.tensor("z", tuple(z.shape)), RATE)
    if "decode" in r.stages:
        r.stages["decode"]["map"]["order"] = order
    config = r.config("vae")
    want = model.decode(z / each(config, "scale") + each(config, "shift")).clamp(-1, 1).numpy()
    made = built(r, tmp_path, f"partition.chunk_bytes={chunk_bytes}")
    got = run(made, {"z": z.numpy()}, "video")
    assert got.shape == want.shape == (1, 3, 4 * latents - 3, 8 * ROWS, 8 * COLUMNS)
    assert np.ptp(want, axis=2).max() > 0.1 or latents == 1
    assert (np.abs(want) < 1).mean() > 0.2
    assert np.abs(got - want).max() <= NEAR * np.abs(want).max()


@torch.no_grad()
@SLOW
def test_half_precision_is_near(model, folder, tmp_path):
    r, z = Recipe(model_folder(folder), {}, None), normal(4, 1, 8, 4, ROWS, COLUMNS) / 4
    decode_video(r, r.tensor("z", tuple(z.shape)), RATE)
    config = r.config("vae")
    want = model.decode(z / each(config, "scale") + each(config, "shift")).clamp(-1, 1)
    made = built(r, tmp_path, precision="fp16")
    check(run(made, {"z": z.numpy()}, "video"), want, "fp16")


@torch.no_grad()
@pytest.mark.parametrize(("frames", "size"), [
    (5, 3), pytest.param(13, 1, marks=SLOW), pytest.param(13, 2, marks=SLOW),
    pytest.param(1, 1, marks=SLOW),
])  # fmt: skip
def test_slices_encode_to_the_clip(model, folder, tmp_path, frames, size):
    r = Recipe(model_folder(folder), {"encode_slice": size}, None)
    x = normal(5, 1, 3, frames, 8 * ROWS, 8 * COLUMNS).clamp(-1, 1)
    noise = normal(6, 1, 8, (frames + 3) // 4, ROWS, COLUMNS)
    ports = r.tensor("x", tuple(x.shape)), r.tensor("noise", tuple(noise.shape))
    r.output("z", "tensor", encoded(r, *ports))
    config = r.config("vae")
    mean, variance = model.encode(x).chunk(2, 1)
    want = (mean + (variance / 2).exp() * noise - each(config, "shift")) * each(config, "scale")
    got = run(built(r, tmp_path), {"x": x.numpy(), "noise": noise.numpy()}, "z")
    assert got.shape == want.shape
    assert np.abs(got - want.numpy()).max() <= NEAR * float(want.abs().max())


def test_a_slice_has_a_latent(folder):
    r = Recipe(model_folder(folder), {"slice": 0}, None)
    with pytest.raises(ValueError, match=r"options\.slice: 0 is not positive"):
        decode_video(r, r.tensor("z", (1, 8, 3, ROWS, COLUMNS)), RATE)
