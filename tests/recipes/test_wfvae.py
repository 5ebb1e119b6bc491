"""WFVAE decoded and encoded in slices: the same video however it is sliced and ordered, and that of
the whole clip, from a folder as the hub has it."""

import copy
import json

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from entracte.compile.job import compile_pipeline
from entracte.graphs.models import build_model
from entracte.graphs.recipes import function_of
from entracte.graphs.recipes.hub import model_folder
from entracte.graphs.recipes.recipe import Recipe
from entracte.graphs.recipes.wfvae import decode_video, encoded
from tests.recipes.harness import NEAR, check, normal, run
from tests.test_graphs_wfvae import save_published
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
    # Other scales than upstream's, each channel with its own.
    config = upstream.config | {"scale": [0.2 + i / 50 for i in range(8)],
                                "shift": [0.1 * i - 0.3 for i in range(8)]}  # fmt: skip
    save_published(upstream, place / "vae")
    (place / "vae" / "config.json").write_text(json.dumps({"_class_name": "WFVAEModel"} | config))
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


def computed(r, model, given):
    """What the declared stages make, by value's name: their functions on slices, in plain torch."""
    found = dict(given)
    for name, stage in r.stages.items():
        function, params = function_of(stage["graph"]), stage["params"]
        settings, cut = json.loads(params["settings"]), stage.get("map", {})
        ports = {port: found[value] for port, value in stage["inputs"].items()}
        carry = {port: found[first] for port, (first, _) in cut.get("carry", {}).items()}
        made = []
        for window in windows(cut, ports):
            sliced = {p: v[:, :, window] if p == cut.get("port") else v for p, v in ports.items()}
            inputs = [(sliced | carry)[port] for port in params["inputs"]]
            results = function(*([model] if "module" in params else []), *inputs, **settings)
            results = results if isinstance(results, tuple) else (results,)
            made.append(dict(zip(params["outputs"], results, strict=True)))
            carry = {port: made[-1][after] for port, (_, after) in cut.get("carry", {}).items()}
        kept = {after for _, after in cut.get("carry", {}).values()}
        for port in params["outputs"]:
            parts = [one[port] for one in made]
            found[f"{name}.{port}"] = parts[-1] if port in kept else torch.cat(parts, 2)
    return found


def windows(cut, ports):
    if not cut:
        return [slice(None)]
    start, size = cut.get("start", 0), cut["size"]
    count = cut.get("count") or (ports[cut["port"]].shape[2] - start) // size
    assert start + count * size <= ports[cut["port"]].shape[2]
    return [slice(start + i * size, start + (i + 1) * size) for i in range(count)]


def check_declared(folder, model, latents, size):
    """The stages make the whole clip, and its latents, of which each shape is declared."""
    options = {"slice": size, "encode_slice": size}
    z = torch.randn(1, 8, latents, 1, 2, dtype=torch.float64) / 4
    x = torch.randn(1, 3, 4 * latents - 3, 8, 16, dtype=torch.float64)
    r = Recipe(model_folder(folder), options, None)
    ports = [r.tensor(n, tuple(v.shape)) for n, v in (("z", z), ("x", x), ("noise", z))]
    decode_video(r, ports[0], RATE)
    latent = encoded(r, *ports[1:])
    found = computed(r, model, {"z": z, "x": x, "noise": z})
    parts = [found[name] for name in r.outputs["video"]["value"]]
    config = r.config("vae")
    scale, shift = each(config, "scale"), each(config, "shift")
    mean, variance = model.encode(x).chunk(2, 1)
    for got, want in (
        (torch.cat(parts, 2), model.decode(z * (1 / scale) + shift).clamp(-1, 1)),
        (found[latent.name], (mean + (variance / 2).exp() * z - shift) * scale),
    ):
        assert got.shape == want.shape
        assert float((got - want).abs().max()) < 1e-10 * float(want.abs().max())


@torch.no_grad()
@pytest.mark.parametrize(("latents", "size"), [(1, 1), (2, 1), (3, 1), (6, 1), (6, 3), (9, 2),
                                               (8, 4), (5, 9)])  # fmt: skip
def test_what_is_declared_makes_the_clip(folder, model, latents, size):
    check_declared(folder, copy.deepcopy(model).double(), latents, size)


@torch.no_grad()
@SLOW
@pytest.mark.parametrize("latents", range(1, 26))
def test_every_grouping_that_is_declared_makes_the_clip(folder, model, latents):
    """Of 1 to 97 frames."""
    exact = copy.deepcopy(model).double()
    for size in range(1, latents + 1):
        check_declared(folder, exact, latents, size)


@torch.no_grad()
@SLOW
@pytest.mark.parametrize(("latents", "size", "order", "chunk_bytes"), [
    (4, 1, "slice", "1MiB"), (5, 2, "auto", "128KiB"), (5, 1, "slice", "128KiB"),
    (5, 1, "chunk", "128KiB"), (7, 2, "chunk", "1MiB"), (4, 9, "auto", "64KiB"),
    (2, 1, "auto", "1MiB"), (1, 1, "auto", "1MiB"),
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
@SLOW
@pytest.mark.parametrize(("frames", "size"), [
    (5, 3), (13, 1), (13, 2), (1, 1),
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
