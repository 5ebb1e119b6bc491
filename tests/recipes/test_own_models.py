"""Models of our own by upstream's names, and keys over a component's configuration."""

import json

import pytest
from torch import nn

from entracte.graphs import GraphFault, models
from entracte.graphs.recipes.called import build, graph
from entracte.graphs.recipes.hub import model_folder


class Small(nn.Module):
    """Upstream's file calls its layer `old`."""

    unused = ("dropout",)

    def __init__(self, width: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.key_map = (("layers.", "old."),)


def called(module, x):
    for layer in module.layers:
        x = layer(x)
    return x


@pytest.fixture(autouse=True)
def small(monkeypatch):
    found = models.model_class
    monkeypatch.setattr(models, "model_class", lambda n: Small if n == "Small" else found(n))


@pytest.fixture
def folder(tmp_path):
    index = {"_class_name": "SmallPipeline", "net": ["entracte", "Small"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    (tmp_path / "net").mkdir()
    (tmp_path / "net/config.json").write_text('{"width": 6, "dropout": 0.1, "_version": 3}')
    return tmp_path


def test_a_model_is_built_by_its_configuration_with_what_is_written_over(folder):
    assert len(build("entracte.Small", model_folder(folder).config("net")).layers) == 2
    config = model_folder(folder, {"net": {"depth": 3}}).config("net")
    made = build("entracte.Small", config)
    assert [tuple(p.shape) for p in made.parameters()] == [(6, 6), (6,)] * 3


def test_its_file_may_have_other_names():
    made = graph(called, {"x": (1, 4)}, ["y"], "entracte.Small", "{}", "net")
    assert dict(made.key_map)["module.layers."] == "old."
    assert all(p.is_meta for p in made.module.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nett": {"depth": 1}}, "pipeline.models.nett: the folder has no such component.*net"),
        (
            {"net": {"deep": 1}},
            "pipeline.models.net.deep: its configuration has no such key.*depth",
        ),
    ],
)
def test_what_there_is_not_cannot_be_written_over(folder, changes, message):
    with pytest.raises(GraphFault, match=message):
        model_folder(folder, changes).config("net")


def test_a_class_or_a_key_that_there_is_not_is_refused():
    with pytest.raises(GraphFault, match="entracte has no model Smal"):
        build("entracte.Smal", {})
    with pytest.raises(GraphFault, match="Small: its configuration does not fit.*'wide'"):
        build("entracte.Small", {"wide": 3})
