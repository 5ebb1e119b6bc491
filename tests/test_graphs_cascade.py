"""Stable Cascade's stages and sampler against upstream's own code with random weights
(`tests/vectors`), through the door that a published file takes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableCascadeUNet
from diffusers.loaders.single_file_utils import (
    convert_stable_cascade_unet_single_file_to_diffusers as convert,
)
from torch import Tensor

import entracte.graphs
from entracte.graphs import GraphFault, build, on_meta
from entracte.graphs.cascade import sampler
from entracte.graphs.models import build_model
from entracte.graphs.recipes import called
from entracte.graphs.recipes.cascade import rescaled, stepped
from entracte.graphs.recipes.hub import model_folder
from tests.upstream import case, loaded

PUBLISHED = Path(entracte.graphs.__file__).parent / "published"
FILES = {"StageA": "stage_a", "StageB": "stage_b", "StageC": "stage_c", "Previewer": "previewer"}


def predicted(net, x, r, clip_text, clip_text_pooled, clip_img, sca=None, crp=None):
    """Stage C with all that it makes on the way."""
    clip = net.condition(clip_text, clip_text_pooled, clip_img)
    return net(x, r, clip_text, clip_text_pooled, clip_img, sca, crp), clip


def decoded(net, x, r, effnet, clip, pixels=None):
    return net(x, r, effnet, clip, pixels)


def pixels(net, z):
    return net.pixels(z)


def previewed(net, z):
    return net(z)


CASES = [
    ("cascade_c_a", "StageC", predicted, ("pred", "clip")),
    ("cascade_b_a", "StageB", decoded, ("pred",)),
    ("cascade_a_a", "StageA", pixels, ("pixels",)),
    ("cascade_previewer_a", "Previewer", previewed, ("pixels",)),
]


def door(name, kind, function, outputs, run, tmp_path, **config):
    """The graph of a recipe's stage over the case's file; the case, and what the graph gives."""
    vectors = case(name)
    folder = vectors.save(tmp_path / "weights", FILES[kind])
    given = vectors.inputs(run)
    made = called.graph(
        function, {n: tuple(t.shape) for n, t in given.items()}, outputs, f"entracte.{kind}",
        json.dumps(vectors.config | config), FILES[kind],
    )  # fmt: skip
    module = loaded(made, folder, tmp_path / "cache")
    found = module(*(given[i.name] for i in made.inputs))
    return vectors, found if isinstance(found, tuple) else (found,)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "kind", "function", "outputs", "run"),
    [(*one, run) for one in CASES for run in case(one[0]).about["runs"]],
)
def test_a_stage_is_upstream_s(tmp_path, name, kind, function, outputs, run):
    vectors, found = door(name, kind, function, outputs, run, tmp_path)
    for output, got in zip(outputs, found, strict=True):
        vectors.check(got, vectors.outputs(run)[output])


@torch.no_grad()
@pytest.mark.parametrize("place", [0, 1])
def test_a_divided_stream_changes_nothing(tmp_path, place):
    name, kind, function, outputs = CASES[place]
    vectors, (got, *_) = door(
        name, kind, function, outputs, "a", tmp_path, residual_divisor=64.0
    )  # fmt: skip
    vectors.check(got, vectors.outputs("a")["pred"])


@pytest.mark.parametrize("run", case("cascade_c_a").about["runs"])
def test_the_step_is_upstream_s(run):
    vectors = case("cascade_c_a")
    net = on_meta(lambda: build_model("StageC", vectors.config))
    r = vectors.inputs(run)["r"]
    width = vectors.config["c_r"]
    vectors.check(net.step_embedding(r)[:, :width], vectors.outputs(run)["r_embed"])


COUNTS = {
    ("stable_cascade", "stage_c"): 3_589_103_632,
    ("stable_cascade", "stage_b"): 1_562_941_136,
    ("stable_cascade", "stage_a"): 18_406_894,
    ("stable_cascade", "previewer"): 3_979_651,
    ("stable_cascade", "image_encoder"): 303_966_208,
    ("stable_cascade_lite", "stage_c_lite"): 1_030_785_040,
    ("stable_cascade_lite", "stage_b_lite"): 699_471_248,
    ("stable_cascade_lite", "stage_a"): 18_406_894,
    ("stable_cascade_lite", "previewer"): 3_979_651,
}


@pytest.mark.parametrize(("name", "component"), COUNTS)
def test_published_models_have_as_many_parameters(name, component):
    folder = model_folder(PUBLISHED / name)
    with torch.device("meta"):
        made = called.build(folder.component(component).name, folder.config(component))
    assert sum(p.numel() for p in made.parameters()) == COUNTS[name, component]


@pytest.mark.parametrize(
    ("kind", "count"),
    [("StageC", 3_589_103_632), ("StageB", 1_562_941_136), ("StageA", 18_406_894),
     ("Previewer", 3_979_651)],
)  # fmt: skip
def test_defaults_are_the_published_models(kind, count):
    with torch.device("meta"):
        made = build_model(kind, {})
    assert sum(p.numel() for p in made.parameters()) == count


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"level_config": ["CTA", "CTX"]}, "level_config: there is no block X; there are C, T"),
        ({"nhead": [2]}, "nhead: 1 values for 2 levels of c_hidden"),
        ({"blocks": [[1, 1]]}, "give two lists in each"),
        ({"switch_level": [False, True]}, "switch_level: 2 values; give 1"),
        ({"width": 3}, "StageC: its configuration does not fit"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(config, said):
    with torch.device("meta"), pytest.raises(GraphFault, match=said):
        build_model("StageC", config)


# ---------------------------------------------------------------- the sampler


def toy(x: Tensor, r: Tensor, c: Tensor, weight: Tensor) -> Tensor:
    """The vectors' model, as their entry describes it."""
    mixed = torch.einsum("co,bchw->bohw", weight, x)
    return mixed * (0.98 + 0.02 * r) + 0.02 * c[:, :, None, None]


@pytest.mark.parametrize("about", case("cascade_sampler").about["runs"], ids=lambda a: a["run"])
def test_the_sampler_is_upstream_s(about):
    vectors, run = case("cascade_sampler"), about["run"]
    given, want = vectors.inputs(run), vectors.outputs(run)
    log_snr = sampler.times(about["timesteps"], about["shift"], about["t_start"])
    rows = torch.tensor(sampler.parts(log_snr, about["sampler"]), dtype=torch.float32)
    told = torch.tensor(sampler.condition(log_snr), dtype=torch.float32)
    vectors.check(told, want["noise_cond"], 1e-5)
    vectors.check(told[:-1], want["model_r"], 1e-5)
    x, weight = given["x"], vectors.tensors["weights.toy.W"]
    guidance = None if about["cfg"] is None else torch.tensor([about["cfg"]])
    for i in range(about["timesteps"]):
        made = toy(x, told[i], given["c"], weight)
        if guidance is not None:
            without = toy(x, told[i], torch.zeros_like(given["c"]), weight)
            made = rescaled(torch.cat([without, made]), guidance)
        vectors.check(made, want["pred"][i], 1e-5)
        x = stepped(x, made, rows[i][None], given["noise"][i])
        vectors.check(x, want["x"][i], 1e-5)


def test_the_schedule_is_the_sampler_s():
    made = build("cascade.schedule", {"steps": 4, "width": 6, "numbers": 3, "shift": 2.0})
    assert made.arrays["step"].shape == (4, 18)
    # Of 0, sines and then cosines.
    assert (made.arrays["step"][:, 6:] == [0, 0, 0, 1, 1, 1] * 2).all()
    np.testing.assert_allclose(made.arrays["parts"], sampler.parts(sampler.times(4, 2.0)), 1e-6)
    with pytest.raises(GraphFault, match="'euler' is none of ddpm, ddim"):
        build("cascade.schedule", {"steps": 4, "width": 6, "numbers": 1, "sampler": "euler"})


# ---------------------------------------------------------------- what the vectors have not

BLOCK = {"C": "SDCascadeResBlock", "T": "SDCascadeTimestepBlock", "A": "SDCascadeAttnBlock"}
SHARED = {
    "c_r": 9, "c_hidden": [12, 16, 20], "nhead": [2, -1, 4], "blocks": [[1, 2, 1], [1, 1, 2]],
    "block_repeat": [[2, 1, 1], [1, 3, 1]], "level_config": ["CTA", "TC", "CA"], "kernel_size": 5,
    "self_attn": [True, True, False], "t_conds": ["crp"],
}  # fmt: skip
OTHERS = {
    "StageC": {"c_in": 3, "c_out": 5, "c_cond": 8, "c_clip_text": 7, "c_clip_text_pooled": 6,
               "c_clip_img": 5, "c_clip_seq": 3, "switch_level": [True, False]},
    "StageB": {"c_in": 3, "c_out": 2, "c_cond": 8, "c_clip": 6, "c_clip_seq": 1, "c_effnet": 5},
}  # fmt: skip


def of_diffusers(kind: str, config: dict) -> StableCascadeUNet:
    """The same of the library."""
    c, is_c = SHARED | config, kind == "StageC"
    more = {
        "clip_text_in_channels": c["c_clip_text"], "clip_image_in_channels": c["c_clip_img"],
        "clip_text_pooled_in_channels": c["c_clip_text_pooled"], "patch_size": 1,
        "switch_level": c["switch_level"],
    } if is_c else {
        "effnet_in_channels": c["c_effnet"], "pixel_mapper_in_channels": 3, "patch_size": 2,
        "clip_text_pooled_in_channels": c["c_clip"],
    }  # fmt: skip
    return StableCascadeUNet(
        in_channels=c["c_in"], out_channels=c["c_out"], timestep_ratio_embedding_dim=c["c_r"],
        conditioning_dim=c["c_cond"], block_out_channels=c["c_hidden"], clip_seq=c["c_clip_seq"],
        num_attention_heads=c["nhead"], down_num_layers_per_block=c["blocks"][0],
        up_num_layers_per_block=c["blocks"][1], down_blocks_repeat_mappers=c["block_repeat"][0],
        up_blocks_repeat_mappers=c["block_repeat"][1], kernel_size=c["kernel_size"],
        block_types_per_layer=[[BLOCK[k] for k in level] for level in c["level_config"]],
        self_attn=c["self_attn"], timestep_conditioning_type=c["t_conds"], dropout=0.0, **more,
    )  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("kind", OTHERS)
def test_other_shapes_are_the_library_s(kind):
    torch.manual_seed(0)
    ours = build_model(kind, SHARED | OTHERS[kind]).eval()
    for value in ours.parameters():
        value.copy_(torch.randn(value.shape) * 0.2)
    theirs = of_diffusers(kind, OTHERS[kind]).eval()
    theirs.load_state_dict(convert(ours.state_dict()))
    x, r = torch.randn(1, 3, 10, 14), torch.tensor([0.3])
    if kind == "StageC":
        text, pooled, image = torch.randn(1, 4, 7), torch.randn(1, 1, 6), torch.randn(1, 2, 5)
        got = ours(x, r, text, pooled, image)
        want = theirs(x, r, pooled, text, image).sample
    else:
        pooled, latents = torch.randn(1, 1, 6), torch.randn(1, 5, 3, 2)
        got = ours(x, r, latents, pooled)
        want = theirs(x, r, pooled, effnet=latents).sample
    assert (got - want).abs().max() <= 1e-5 * want.abs().max()
