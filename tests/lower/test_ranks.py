"""Values of more dimensions than a package has: permutations in few steps, graphs without them."""

from __future__ import annotations

import itertools
from math import prod
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from entracte.frontend.errors import GraphError
from entracte.frontend.extract import extract
from entracte.frontend.place import by_target
from entracte.frontend.rank.permutes import merged, steps_of
from tests.lower.core_ml import export_graph
from tests.lower.ranks import RANKS, six

MOST = 5


class _Function(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Tensor) -> tuple[Tensor, ...]:
        found = self.function(*args)
        return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize(
    ("order", "most_steps"),
    [
        ((0, 1, 2, 3, 4, 5), 0),
        ((0, 2, 3, 1, 4, 5), 1),
        ((0, 1, 5, 2, 6, 3, 7, 4), 2),
        ((0, 1, 3, 5, 7, 2, 4, 6), 2),
        ((7, 6, 5, 4, 3, 2, 1, 0), 3),
    ],
)
def test_a_permutation_takes_few_steps(order: tuple[int, ...], most_steps: int) -> None:
    steps = steps_of(order, MOST)
    assert len(steps) <= most_steps
    assert all(len(merged(step)) <= MOST for step in steps)


def test_the_steps_give_the_permutation() -> None:
    for order in itertools.permutations(range(6)):
        x = torch.arange(prod(range(2, 8))).reshape(2, 3, 4, 5, 6, 7)
        made = x
        for step in steps_of(order, 4):
            made = made.permute(step)
        assert made.shape == x.permute(order).shape and torch.equal(made, x.permute(order))


@pytest.mark.parametrize("name", list(RANKS))
def test_the_graph_has_few_dimensions_and_computes_the_same(name: str) -> None:
    function, args = RANKS[name]
    module = _Function(function).eval()
    program = export_graph(module, args)
    graph = program.graph
    again = export_graph(_chunk_of(program), args).graph  # as a chunk is, when it is converted
    assert by_target(again).keys() == by_target(graph).keys()
    assert [*map(len, by_target(again).values())] == [*map(len, by_target(graph).values())]
    for node in graph.nodes:
        value = node.meta.get("val")
        parts = value if isinstance(value, list | tuple) else [value]
        high = [p for p in parts if isinstance(p, Tensor) and p.dim() > MOST]
        assert not high or not _depends(node) or _is_left(node), node
    for found, right in zip(program.module()(*args), module(*args), strict=True):
        assert found.shape == right.shape and torch.allclose(found, right, 1e-6, 1e-6)


def _chunk_of(program):
    names = [n.name for n in program.graph.nodes if n.op == "call_function"]
    signature = program.graph_signature
    return extract(program, names, signature.user_inputs, signature.user_outputs, {})


def _depends(node) -> bool:
    return any(n.op == "placeholder" or _depends(n) for n in node.all_input_nodes)


def _is_left(node) -> bool:
    """Of a reshape, a permutation and a reshape, which the converter takes."""
    return any(k in str(node.target) for k in ("reshape", "permute")) and len(node.users) == 1


def test_what_is_not_written_with_fewer_is_refused_with_its_line() -> None:
    with pytest.raises(GraphError) as caught:
        export_graph(_Function(lambda x: six(x).topk(1, -1)[0]).eval(), RANKS["chosen"][1])
    said = str(caught.value)
    assert "`topk` of a value with 6 dimensions" in said and str(Path(__file__)) in said
    assert "reshape the value before it" in said


def test_tokens_that_a_mask_selects_are_refused_with_the_remedy() -> None:
    def select(x: Tensor, mask: Tensor) -> Tensor:
        kept = x[:, mask.flatten().nonzero(as_tuple=False).flatten()]
        return nn.functional.scaled_dot_product_attention(kept, kept, kept).sum(1)

    def by_truth(x: Tensor, mask: Tensor) -> Tensor:
        return x[:, mask > 0].sum(1)

    for function in (select, by_truth):
        with pytest.raises(GraphError) as caught:
            export_graph(_Function(function).eval(), (torch.ones(1, 3, 4), torch.tensor([1, 0, 1])))
        (said,) = str(caught.value).splitlines()
        assert "give the model a mask" in said and f"{__file__}:" in said


PUBLISHED = (
    "AutoencoderKLWan",
    "AutoencoderKLLTXVideo",
    "AutoencoderKLMochi",
    "HunyuanVideoTransformer3DModel",
    "StableCascadeUNet",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_small_published_model_is_what_torch_computes(tmp_path: Path, name: str) -> None:
    """Frames between, pixels shuffled, one part of a split, rotary tables, half a constant."""
    pytest.importorskip("diffusers")
    from tools.foreign.measure import found_and_right
    from tools.foreign.model import made

    found, right = found_and_right(*made(name), "fp32", tmp_path)
    assert float((found - right).abs().max()) <= 1e-4 * float(right.abs().max())
