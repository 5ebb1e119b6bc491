"""Vchitect's Latte, of classes and of texts, against its own code with random weights."""

from __future__ import annotations

import json

import pytest
import torch

from entracte.graphs import GraphFault
from entracte.graphs.latte.net import guided_latents
from entracte.graphs.models import build_model
from entracte.graphs.recipes.called import graph
from tests.upstream import case, loaded


def of_class(net, x, t, y):
    return net(x, t, y)


def through(name, function, kind, given, outputs, tmp_path):
    """The graph of a recipe's stage over the case's file, as a build reads it: what it gives."""
    vectors = case(name)
    folder = vectors.save(tmp_path / "weights", "transformer")
    whole = [n for n, t in given.items() if not t.is_floating_point()]
    made = graph(
        function, {n: tuple(t.shape) for n, t in given.items()}, outputs, kind,
        json.dumps(vectors.config), "transformer", whole,
    )  # fmt: skip
    net = loaded(made, folder, tmp_path / "cache")
    return lambda inputs: net(*(inputs[i.name] for i in made.inputs))


@torch.no_grad()
@pytest.mark.parametrize("run", case("latte_class_a").about["runs"])
def test_latte_of_classes_is_upstream_s(tmp_path, run):
    vectors = case("latte_class_a")
    given = vectors.inputs(run)
    given = {"x": given["x"], "t": given["t"].float(), "y": given["y"].int()}
    net = through("latte_class_a", of_class, "entracte.Latte", given, ("made",), tmp_path)
    want = vectors.outputs(run)
    if run == "plain":
        vectors.check(net(given), want["out"])
        return
    vectors.check(net(given), want["plain"])
    # Upstream reads the first half's latents for both, and gives [with, without].
    half = len(given["x"]) // 2
    rows = net(given | {"x": torch.cat([given["x"][:half]] * 2)})
    scale = torch.tensor([vectors.about["literals"]["cfg"]["cfg_scale"]])
    for one in range(half):
        pair = torch.stack([rows[half + one], rows[one]])
        vectors.check(guided_latents(pair, scale), want["guided"][one : one + 1])


def of_text(net, hidden_states, timestep, encoder_hidden_states, encoder_attention_mask):
    """Without a mask, with one as the recipe gives it, and of one frame at a time."""
    frames = hidden_states.shape[2]
    bias = ((1 - encoder_attention_mask) * -1e4)[:, None].repeat_interleave(frames, 0)

    def called(**more):
        return net(
            hidden_states, timestep=timestep, encoder_hidden_states=encoder_hidden_states,
            return_dict=False, **more,
        )[0]  # fmt: skip

    return (
        called(), called(encoder_attention_mask=bias), called(enable_temporal_attentions=False)
    )  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("run", case("latte_t2v_a").about["runs"])
def test_latte_of_texts_is_upstream_s(tmp_path, run):
    vectors = case("latte_t2v_a")
    given = vectors.inputs(run)
    given["timestep"] = given["timestep"].float()
    # The file has one key more, a buffer that upstream does not read: that is no fault.
    assert "caption_projection.y_embedding" in vectors.weights
    names = ("sample", "sample_masked", "image")
    kind = "diffusers.LatteTransformer3DModel"
    net = through("latte_t2v_a", of_text, kind, given, names, tmp_path)
    for name, got in zip(names, net(given), strict=True):
        vectors.check(got, vectors.outputs(run)[name])


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"extras": 3}, "extras: 3 is neither 1"),
        ({"depth": 3}, "depth: 3: blocks come in pairs; give 4"),
        ({"input_size": 33}, "input_size: .33, 33. is not made of whole patches"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(config, said):
    with torch.device("meta"), pytest.raises(GraphFault, match=said):
        build_model("Latte", config)


def test_without_a_condition_and_of_texts():
    sizes = {"input_size": 4, "hidden_size": 12, "depth": 2, "num_heads": 2, "num_frames": 3}
    torch.manual_seed(0)
    alone, text = (build_model("Latte", sizes | {"extras": n}) for n in (1, 78))
    x, t = torch.randn(1, 3, 4, 4, 4), torch.tensor([5.0])
    assert "y_embedder.embedding_table.weight" not in alone.state_dict()
    text.load_state_dict(alone.state_dict(), strict=False)
    features = torch.randn(1, 77, 768)
    with torch.no_grad():
        made = text(x, t, features)
        told = text.text_embedding_projection[1](torch.nn.functional.silu(features.reshape(1, -1)))
        assert torch.equal(made, alone.predict(x, t, told))
        assert made.shape == (1, 3, 8, 4, 4) and not torch.allclose(made, alone(x, t))
