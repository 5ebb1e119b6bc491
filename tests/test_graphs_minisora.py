"""MiniSora's transformers and samplers: upstream's own numbers through the loading door."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import entracte.graphs
from entracte.graphs import Graph, GraphFault, Input, on_meta
from entracte.graphs.minisora.embed import grid_table, line_table
from entracte.graphs.models import build_model
from entracte.graphs.recipes import recipe_of
from entracte.graphs.recipes.hub import model_folder
from entracte.graphs.recipes.parts_minisora import GUIDED, guided_first
from entracte.graphs.recipes.recipe import Recipe
from tests.upstream import case, loaded

PUBLISHED = Path(entracte.graphs.__file__).parent / "published"

IMAGES = {"opendit_dit_a": "DiT", "facebook_dit_a": "DiT", "sit_a": "SiT"}
VIDEOS = {"opendit_vdit_a": "VDiT", "opendit_latte_a": "OpenDiTLatte"}


class Whole(nn.Module):
    """The model, beside what its classes, or texts, become."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, t, y):
        return self.model(x, t, y), self.model.y_embedder(y)


def through(name, kind, given, folder, tmp_path):
    """The model with its numbers from the folder, every key that it reads found."""
    module = on_meta(lambda: Whole(build_model(kind, case(name).config)))
    ports = tuple(
        Input(port, tuple(x.shape), "float" if x.is_floating_point() else "int")
        for port, x in given.items()
    )
    graph = Graph(module, ports, ("out", "y_emb"), "transformer", (("model.", ""),), owns=("",))
    return loaded(graph, folder, tmp_path)


def given(about, run):
    x = about.inputs(run)
    return {"x": x["x"], "t": x["t"].float(), "y": x.get("y", x.get("input_ids")).int()}


def guided_rows(rows, scale):
    """Upstream's `forward_with_cfg` of rows [with, without]: ours keeps what becomes the result,
    its first half."""
    pairs = zip(*rows.chunk(2), strict=True)
    scale = torch.tensor([scale])
    return torch.cat([guided_first(torch.stack([none, one]), scale) for one, none in pairs])


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "kind"), [*IMAGES.items(), *VIDEOS.items(), ("opendit_vdit_a", "DiT")]
)
def test_a_transformer_is_upstream_s(name, kind, tmp_path):
    about = case(name)
    folder = about.save(tmp_path / "files", "transformer")
    inputs = given(about, "plain")
    model = through(name, kind, inputs, folder, tmp_path)
    out, y = model(*inputs.values())
    about.check(out, about.outputs("plain")["out"])
    if name in VIDEOS:
        about.check(y, about.outputs("plain")["y_emb"])
    inputs, want = given(about, "cfg"), about.outputs("cfg")
    about.check(model(*inputs.values())[0], want["plain"])
    # Upstream reads the first half's latents for both.
    inputs["x"] = torch.cat([inputs["x"][: len(inputs["x"]) // 2]] * 2)
    rows, y = model(*inputs.values())
    scale = about.about["literals"]["cfg"]["cfg_scale"]
    half = len(rows) // 2
    about.check(guided_rows(rows, scale), want["guided"][:half])
    about.check(guided_rows(rows, scale)[:, :GUIDED], want["guided"][half:, :GUIDED])
    if name in VIDEOS:
        about.check(y, want["y_emb"])
        # What was embedded before is read as it is.
        about.check(model.model(inputs["x"], inputs["t"], y), rows)


@torch.no_grad()
def test_rows_ordered_by_head_are_read(tmp_path):
    """Of `longseq` checkpoints."""
    about = case("opendit_dit_a")
    config = about.config | {"sequence_parallel_type": "longseq"}
    heads, hidden = config["num_heads"], config["hidden_size"]
    state = {
        k: v.unflatten(0, (3, heads, hidden // heads)).transpose(0, 1).flatten(0, 2).contiguous()
        if ".qkv." in k else v for k, v in about.weights.items()
    }  # fmt: skip
    (tmp_path / "files").mkdir()
    save_file(state, tmp_path / "files" / "transformer.safetensors")
    inputs = given(about, "plain")
    ports = tuple(Input(n, tuple(x.shape), "int" if n == "y" else "float")
                  for n, x in inputs.items())  # fmt: skip
    graph = Graph(on_meta(lambda: build_model("DiT", config)), ports, ("out",), "transformer")
    net = loaded(graph, tmp_path / "files", tmp_path)
    about.check(net(*inputs.values()), about.outputs("plain")["out"])


def test_positions_that_no_file_has():
    """Vaswani et al. 2017, sines first: a place's column, then its row."""
    table, line = grid_table(2, 3, 8)[0], line_table(3, 4)[0]
    for row in range(2):
        for column in range(3):
            want = [f(x * rate) for x in (column, row) for f in (math.sin, math.cos)
                    for rate in (1, 0.01)]  # fmt: skip
            assert table[3 * row + column].tolist() == pytest.approx(want)
    assert line[2].tolist() == pytest.approx([*map(math.sin, (2, 0.02)), *map(math.cos, (2, 0.02))])


@pytest.mark.parametrize(
    ("config", "words"),
    [({"input_size": 33}, r"\[33, 33\] is not made of whole patches"),
     ({"input_size": [16, 32, 32]}, "give 2 numbers, or one"),
     ({"hidden_size": 1150}, "no multiple of 16 heads"),
     ({"hidden_size": 18, "num_heads": 2}, "no multiple of 4"),
     ({"sequence_parallel_type": "x"}, "give longseq"),
     ({"use_video": True}, "give 3 numbers, frames, rows, columns"),
     ({"depht": 2}, "does not fit")],
)  # fmt: skip
def test_what_cannot_be_is_refused(config, words):
    with pytest.raises(GraphFault, match=words):
        build_model("DiT", {"depth": 0} | config)


def declared(name, models=None, steps=None, **options):
    folder = model_folder(PUBLISHED / name, {"transformer": models or {}})
    made = Recipe(folder, options, steps, random=True)
    recipe_of(folder.kind)(made)
    made.check_options()
    return made


def test_sizes_are_chosen():
    made = declared("dit_xl_2", height=512, width=256)
    assert made.stages["noise"]["params"]["shape"] == [1, 4, 64, 32]
    assert '"input_size": [64, 32]' in made.stages["denoise"]["params"]["config"]
    made = declared("vdit_xl_1x2x2", {"patch_size": [2, 2, 2]}, frames=24, guided=False, steps=7)
    assert made.stages["noise"]["params"]["shape"] == [1, 4, 24, 32, 32]
    assert made.loops["sample"]["count"] == 7
    assert "guide" not in made.stages
    # Points in time: a step between each two, and a last one.
    assert declared("sit_xl_2").loops["sample"]["count"] == 249
    assert declared("sit_xl_2", sampler="sde_heun", steps=9).loops["sample"]["count"] == 17


@pytest.mark.parametrize(
    ("name", "models", "options", "words"),
    [("dit_xl_2", {}, {"height": 250}, "give 240 or 256"),
     ("dit_xl_2", {"class_dropout_prob": 0}, {}, "no row for no class"),
     ("dit_xl_2", {}, {"sampler": "heun"}, "neither ddpm nor ddim"),
     ("dit_xl_2", {}, {"respacing": "ddim999"}, "no whole stride"),
     ("vdit_xl_1x2x2", {"patch_size": [2, 2, 2]}, {"frames": 15}, "give 14 or 16"),
     ("sit_xl_2", {}, {"sampler": "dopri5"}, "options.sampler: dopri5: .* give euler or heun"),
     ("sit_xl_2", {}, {"sampler": "sde_euler", "diffusion_form": "SBDM"}, "not finite"),
     ("sit_xl_2", {}, {"path": "linear"}, "did you mean Linear")],
)  # fmt: skip
def test_a_choice_that_cannot_be_is_refused(name, models, options, words):
    with pytest.raises(ValueError, match=words):
        declared(name, models, **options)
