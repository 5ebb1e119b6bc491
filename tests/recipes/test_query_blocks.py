"""Attention cut along its queries is the same attention."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention as attention

from entracte.frontend.export import export_graph
from entracte.graphs.recipes.query_blocks import QueryBlocks
from entracte.lower.registrations import is_convertible

QUERIES, KEYS = 10, 7


def written_out(q, k, v, mask):
    scores = q.double() @ k.double().mT / q.shape[-1] ** 0.5
    return torch.softmax(scores + (0 if mask is None else mask), -1) @ v.double()


@pytest.mark.parametrize("mask", [None, (1, 1, 1, KEYS), (2, 3, QUERIES, KEYS)])
@pytest.mark.parametrize("most", [1, 3 * 2 * KEYS * 4, 10**6])
def test_blocks_of_queries_are_the_whole(mask, most):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, n, 4) for n in (QUERIES, KEYS, KEYS))
    added = None if mask is None else torch.randn(mask)
    with QueryBlocks(most):
        made = attention(q, k, v, attn_mask=added)
    torch.testing.assert_close(made.double(), written_out(q, k, v, added), atol=1e-6, rtol=1e-6)


def test_a_graph_has_as_many_attentions_as_blocks():
    class Module(torch.nn.Module):
        def forward(self, q, k, v):
            with QueryBlocks(3 * KEYS * 4):
                return attention(q, k, v)

    given = tuple(torch.randn(1, 3, n, 4) for n in (QUERIES, KEYS, KEYS))
    program = export_graph(Module().eval(), given, is_convertible, ("y",))
    called = [n for n in program.graph.nodes if "scaled_dot_product_attention" in str(n.target)]
    assert [tuple(n.meta["val"].shape)[2] for n in called] == [4, 4, 2]


def test_what_is_causal_stays_as_it_is():
    torch.manual_seed(0)
    q = torch.randn(1, 2, 6, 4)
    with QueryBlocks(1):
        made = attention(q, q, q, is_causal=True)
    assert torch.equal(made, attention(q, q, q, is_causal=True))
