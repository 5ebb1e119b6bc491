"""MiniSora's transformers and samplers: upstream's own numbers through the loading door."""

import pytest
import torch
from torch import nn

from entracte.graphs import Graph, Input, on_meta
from entracte.graphs.models import build_model
from entracte.graphs.recipes.parts_minisora import GUIDED, guided_first
from tests.upstream import case, loaded

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
@pytest.mark.parametrize(("name", "kind"), [*IMAGES.items(), *VIDEOS.items()])
def test_a_transformer_is_upstream_s(name, kind, tmp_path):
    about = case(name)
    folder = about.save(tmp_path / "files", "transformer")
    inputs = given(about, "plain")
    out, y = through(name, kind, inputs, folder, tmp_path)(*inputs.values())
    about.check(out, about.outputs("plain")["out"])
    if name in VIDEOS:
        about.check(y, about.outputs("plain")["y_emb"])
    inputs = given(about, "cfg")
    # Upstream reads the first half's latents for both.
    inputs["x"] = torch.cat([inputs["x"][: len(inputs["x"]) // 2]] * 2)
    model = through(name, kind, inputs, folder, tmp_path)
    rows, y = model(*inputs.values())
    want, scale = about.outputs("cfg"), about.about["literals"]["cfg"]["cfg_scale"]
    half = len(rows) // 2
    about.check(guided_rows(rows, scale), want["guided"][:half])
    about.check(guided_rows(rows, scale)[:, :GUIDED], want["guided"][half:, :GUIDED])
    if name in VIDEOS:
        about.check(y, want["y_emb"])
        # What was embedded before is read as it is.
        about.check(model.model(inputs["x"], inputs["t"], y), rows)
