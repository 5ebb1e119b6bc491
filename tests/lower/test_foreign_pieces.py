"""The tool that cuts other libraries' models: its pieces compute what the whole does."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.lower.core_ml import export_graph
from tools.foreign.cut import pieces_of


class Branched(nn.Module):
    """Two outputs, one of them made early; a table that is computed of no input; truth values."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        table = torch.arange(4) * self.first.bias.sin()
        a = self.first(x).tanh() + table
        early = a * 2
        chosen = torch.where(a > 0, a, y)
        return early, self.last(chosen.exp()) * table + x


def test_pieces_chained_are_the_whole() -> None:
    module, inputs = Branched().eval(), (torch.randn(2, 4), torch.randn(2, 4))
    program = export_graph(module, inputs)
    values = dict(zip(program.graph_signature.user_inputs, inputs, strict=True))
    pieces = pieces_of(program, 3)
    assert len(pieces) == 3
    for piece in pieces:
        found = piece.module(*(values[name] for name in piece.inputs))
        assert all(t.dtype is torch.float32 for t in found)
        values |= dict(zip(piece.outputs, found, strict=True))
    for name, right in zip(program.graph_signature.user_outputs, module(*inputs), strict=True):
        torch.testing.assert_close(values[name], right, rtol=1e-6, atol=1e-6)
