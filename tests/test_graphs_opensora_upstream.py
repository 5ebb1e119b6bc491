"""Open-Sora 1.2 against upstream's own code with random weights (tests/vectors): sizes from its
configuration, weights under its key names, every run."""

import pytest
import torch

from torch import nn

from entracte.graphs import Graph, GraphFault, Input, models
from entracte.graphs.opensora.denoiser import mask_to_bias
from tests.upstream import case, loaded

STDIT3 = [(name, run) for name in ("os12_stdit3_a", "os12_stdit3_b")
          for run in case(name).about["runs"]]  # fmt: skip


def of_rows(net, x, timestep, y, mask, x_mask=None):
    """Upstream's call: texts of the conditional rows, to which the null caption is joined."""
    n = len(y)
    null = net.y_embedder.y_embedding.expand(y.shape)
    bias = mask_to_bias(mask.repeat(2 * n // len(mask), 1))
    return net(x, timestep, torch.cat((y, null)), bias, x_mask)


class Rows(nn.Module):
    """All rows, whatever they are; our own stage has one clip's two."""

    def __init__(self, guided):
        super().__init__()
        self.model = guided.model

    def forward(self, x, timestep, y, mask, x_mask=None):
        return of_rows(self.model, x, timestep, y, mask, x_mask)


def denoiser(config, given):
    """A clip of the run's sizes."""
    clip = {
        "latent": tuple(given["x"].shape[2:]),
        "pixels": (float(given["height"]), float(given["width"])),
        "fps": float(given["fps"]),
    }
    with torch.device("meta"):
        return models.build_model("STDiT3", {**config, **clip}).eval()


def numbers(given):
    names = ("x", "timestep", "y", "mask", "x_mask")
    made = {name: given[name].float() for name in names if name in given}
    return {**made, "y": made["y"][:, 0]}


def through(module, inputs, folder, cache):
    ports = tuple(Input(name, tuple(value.shape)) for name, value in inputs.items())
    graph = Graph(module, ports, ("sample",), checkpoint="denoiser", key_map=(("model.", ""),))
    return loaded(graph, folder, cache)(*inputs.values())


@torch.no_grad()
@pytest.mark.parametrize(("name", "run"), STDIT3)
def test_stdit3_is_upstreams(name, run, tmp_path):
    found = case(name)
    given, want = found.inputs(run), found.outputs(run)
    module, inputs = denoiser(found.config, given), numbers(given)
    folder = found.save(tmp_path / "weights", "denoiser")
    sample = through(Rows(module).eval(), inputs, folder, tmp_path)
    found.check(sample, want["sample"])
    found.check(sample.chunk(2, dim=1)[0], want["velocity"])
    if "x_mask" in inputs:
        assert 0 < inputs["x_mask"].sum() < inputs["x_mask"].numel()


@torch.no_grad()
@pytest.mark.parametrize("run", ["odd", "xmask"])
def test_the_guided_stage_has_both_rows_of_a_clip(run, tmp_path):
    found = case("os12_stdit3_a")
    inputs = numbers(found.inputs(run))
    named = {"x": "z", "y": "text"}
    inputs = {named.get(k, k): v[:1] for k, v in inputs.items()}
    module = denoiser(found.config, found.inputs(run))
    folder = found.save(tmp_path / "weights", "denoiser")
    found.check(through(module, inputs, folder, tmp_path), found.outputs(run)["sample"])


def test_refuses_projected_texts():
    with pytest.raises(GraphFault, match="skip_y_embedder"):
        models.build_model("STDiT3", {"skip_y_embedder": True})
