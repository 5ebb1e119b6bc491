"""Attention in blocks of queries: the numbers of one call, and less memory."""

import pytest
import torch
from torch.nn import functional

from entracte.frontend.attention import in_query_blocks
from entracte.frontend.export import export_graph


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
