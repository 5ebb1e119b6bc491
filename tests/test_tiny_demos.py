"""The demos that were trained beside the first one: their files are named and shaped as published,
they load through the door that users' files take, and they show what they are asked for."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import entracte
from entracte.graphs.opensora.tiny import WEIGHTS as FIRST
from tests import upstream
from tests.recipes.harness import FLOOR_DB, normal, run
from tools import eval_tiny_sit
from tools.train_tiny import world

WEIGHTS = FIRST.parent
SIT = WEIGHTS / "tiny_sit"
CLASSES = len(world.CLASSES)


def test_all_weights_together_are_small():
    assert sum(file.stat().st_size for file in WEIGHTS.rglob("*.safetensors")) < 20e6


def test_sit_has_upstream_s_names_and_shapes():
    case, config = upstream.case("sit_a"), json.loads((SIT / "transformer/config.json").read_text())
    theirs, width, depth = case.weights, case.config["hidden_size"], config["depth"]
    own = load_file(SIT / "transformer/diffusion_pytorch_model.safetensors")
    first = {k: v for k, v in theirs.items() if not re.match(r"blocks\.[1-9]", k)}
    names = {re.sub(r"^blocks\.0", f"blocks.{i}", k): k for i in range(depth) for k in first}
    assert own.keys() == names.keys()
    for name, there in names.items():
        want = [n // width * config["hidden_size"] if n % width == 0 else n
                for n in theirs[there].shape]  # fmt: skip
        if name.endswith("embedding_table.weight"):
            want[0] = CLASSES + 1
        assert list(own[name].shape) == want, name
        assert own[name].dtype == torch.float16


def pictures(each: int) -> tuple[np.ndarray, np.ndarray]:
    classes = np.tile(np.arange(CLASSES), each)
    return classes, eval_tiny_sit.draw_with_torch(classes, range(len(classes)), 16, 4.0)


def test_a_picture_shows_its_class():
    """Two of each; other numbers than those of the measurement in docs/demo.md, in fewer steps."""
    table = eval_tiny_sit.accuracy(*pictures(2))
    assert table["class"] >= 0.9 and table["background"] == 1


def test_without_guidance_of_a_class_pictures_differ():
    """The judge can fail: pictures of the null row show no class in particular."""
    classes, _ = pictures(1)
    drawn = eval_tiny_sit.draw_with_torch(classes, range(CLASSES), 16, 0.0)
    assert eval_tiny_sit.accuracy(classes, drawn)["class"] < 0.5


@pytest.fixture(scope="module")
def build(tmp_path_factory) -> entracte.Built:
    out = tmp_path_factory.mktemp("tiny_sit") / "build"
    return entracte.compile_pipeline(
        ["+target=host", "pipeline=tiny_sit", "sampler.steps=8", "workers=1"], out=out
    )


def test_packages_of_tiny_sit_are_its_torch_modules(build):
    got = run(build, {"label": 7, "seed": 3, "guidance": 4.0}, "image")
    model, vae = eval_tiny_sit.shipped()
    with torch.no_grad():
        z = eval_tiny_sit.denoise(model, torch.tensor([7]), normal(3, 1, 4, 8, 8), 8, 4.0)
        want = vae.decoder(vae.post_quant_conv(z / eval_tiny_sit.SPATIAL_SCALE)).numpy()
    error = float(np.square(got - want).mean())
    assert 10 * np.log10(4 / error) > FLOOR_DB


@pytest.mark.slow
def test_packages_of_tiny_sit_show_216_classes(tmp_path):
    built = entracte.compile_pipeline(["+target=host", "pipeline=tiny_sit"], out=tmp_path / "b")
    assert built.folder is not None
    classes = np.tile(np.arange(CLASSES), 12)
    drawn = eval_tiny_sit.draw_with_plan(built.folder, classes, range(len(classes)), 4.0)
    assert eval_tiny_sit.accuracy(classes, drawn)["class"] >= 0.95
