"""Attention in blocks of queries: the numbers of one call, and less memory."""

import math

import pytest
import torch
from torch.nn import functional

from entracte.cost import work_of
from entracte.decide.activations import activation_peak
from entracte.frontend.attention import in_query_blocks
from entracte.frontend.export import export_graph
from entracte.graphs.spec import Graph, Input
from entracte.ir import Work
from tests.worlds import register, traced


class Attention(torch.nn.Module):
    def __init__(self, **given):
        super().__init__()
        self.given = given

    def forward(self, q, k, v, mask):
        return functional.scaled_dot_product_attention(q, k, v, mask, **self.given)


def exported(module, *args):
    return export_graph(module.eval(), args, lambda _: True)


def calls(program):
    return [
        tuple(n.meta["val"].shape) for n in program.graph.nodes
        if n.target is torch.ops.aten.scaled_dot_product_attention.default
    ]  # fmt: skip


@pytest.mark.parametrize("mask_rows", [1, 11])
@pytest.mark.parametrize("given", [{}, {"scale": 0.3}])
@pytest.mark.parametrize(
    ("most", "rows"),
    # 2 x 3 heads and 7 keys: a query has 42 scores, all have 462.
    [(462, [11]), (461, [6, 5]), (42 * 4, [4, 4, 3]), (42, [1] * 11), (1, [1] * 11)],
)
def test_blocks_give_what_one_call_gives(most, rows, given, mask_rows):
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 3, 11, 4), torch.randn(2, 3, 7, 4), torch.randn(2, 3, 7, 5)
    mask = torch.randn(2, 1, mask_rows, 7)
    program = exported(Attention(**given), q, k, v, mask)
    in_query_blocks(program, most)
    assert [shape[-2] for shape in calls(program)] == rows
    # by hand: softmax over the keys
    scores = q @ k.transpose(-1, -2) * given.get("scale", 4**-0.5) + mask
    torch.testing.assert_close(program.module()(q, k, v, mask), scores.softmax(-1) @ v)


def test_a_causal_one_stays():
    q = torch.randn(1, 2, 8, 4)

    class Causal(torch.nn.Module):
        def forward(self, q):
            return functional.scaled_dot_product_attention(q, q, q, is_causal=True)

    program = exported(Causal(), q)
    in_query_blocks(program, 4)
    assert len(calls(program)) == 1


@pytest.mark.parametrize(("bound", "blocks"), [(0, 1), (8192, 4)])
def test_blocks_are_counted_in_activations_and_in_bytes_that_move(monkeypatch, bound, blocks):
    """By hand: 2 heads, 64 queries, keys and values of 8 in fp32, 2 KiB a head's each. A call holds
    its scores twice. Blocks: each slices its queries, the results are joined, and all but the first
    read keys and values again."""
    shape = (1, 2, 64, 8)
    one = 4 * math.prod(shape)
    scores = 4 * 2 * 64 * 64
    inputs = tuple(Input(n, shape) for n in "qkv")

    class Plain(torch.nn.Module):
        def forward(self, q, k, v):
            return functional.scaled_dot_product_attention(q, k, v)

    register(monkeypatch, attend=lambda: Graph(Plain().eval(), inputs, ("y",)))
    given = ", ".join(f"{n}: {{kind: tensor, shape: {list(shape)}, default: 0.5}}" for n in "qkv")
    text = f"""
        inputs: {{{given}}}
        stages: {{attend: {{graph: own.attend, inputs: {{q: q, k: k, v: v}}}}}}
        outputs: {{y: {{kind: tensor, value: attend.y}}}}
    """
    (part,) = traced(text, score_bytes=bound).graphs["attend"]
    block = one // blocks
    # The last block: its queries, what was made so far, and its scores; or the join of all.
    before = one if blocks > 1 else 0
    sliced = block if blocks > 1 else 0
    during = 3 * one + max(before, block) + sliced + 2 * scores // blocks
    assert activation_peak(part.ops, part.inputs, part.outputs) == during
    flops = 2 * 128 * 64 * 16 + 5 * 128 * 64
    moved = 3 * one + (2 * (one + one) if blocks > 1 else 0)
    again = (blocks - 1) * 2 * one
    assert work_of(part.ops, {}, 3 * one) == (
        Work("attention", flops, 2 * one + again), Work("move", 0, moved)
    )  # fmt: skip
