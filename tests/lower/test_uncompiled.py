"""Graphs are compiled when they are looked at."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule

from entracte.frontend.uncompiled import uncompiled


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Graph]]:
    """The graphs that were written as Python."""
    seen: list[Graph] = []
    stock = Graph.python_code

    def python_code(self: Graph, *args: object, **kwargs: object) -> object:
        seen.append(self)
        return stock(self, *args, **kwargs)

    monkeypatch.setattr(Graph, "python_code", python_code)
    yield seen


def _sum_of_products() -> GraphModule:
    graph = Graph()
    x, y = graph.placeholder("x"), graph.placeholder("y")
    product = graph.call_function(torch.ops.aten.mul.Tensor, (x, y))
    graph.output((graph.call_function(torch.ops.aten.add.Tensor, (product, x)),))
    return GraphModule(nn.Module(), graph)


def _outputs(module: GraphModule) -> Tensor:
    (made,) = module(torch.tensor(3.0), torch.tensor(5.0))
    return made


def test_once_when_called_and_as_it_is_then(written: list[Graph]) -> None:
    with uncompiled():
        module = _sum_of_products()
        assert _outputs(module) == 3 * 5 + 3
        before = len(written)
        for node in module.graph.nodes:
            if node.target is torch.ops.aten.add.Tensor:
                node.target = torch.ops.aten.sub.Tensor
        module.recompile()
        module.recompile()
        assert len(written) == before
    assert _outputs(module) == _outputs(module) == 3 * 5 - 3
    assert len(written) == before + 1


def test_names_and_code_are_those_of_a_compiled_one(written: list[Graph]) -> None:
    compiled = _sum_of_products()
    written.clear()
    with uncompiled():
        named, shown = _sum_of_products(), _sum_of_products()
    assert not written
    assert inspect.signature(named.forward) == inspect.signature(compiled.forward)
    assert shown.code == compiled.code
    assert len(written) == 2


def test_afterwards_each_is_compiled_at_once(written: list[Graph]) -> None:
    with pytest.raises(ValueError, match="seen"), uncompiled():
        raise ValueError("seen")
    written.clear()
    _sum_of_products()
    assert len(written) == 1
