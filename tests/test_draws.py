"""What a chunk is fed when its real inputs are not known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn

from entracte.emit.draws import draws
from entracte.frontend.extract import extract
from entracte.ir import DType, Port


def residual(x: Tensor) -> Tensor:
    y = x + torch.nn.functional.layer_norm(x, (64,))
    return y + torch.nn.functional.layer_norm(y, (64,))


def rms(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


@pytest.mark.parametrize(
    ("function", "is_loud"),
    [
        (residual, True),
        (rms, True),
        (lambda x: torch.nn.functional.group_norm(x.reshape(1, 8, 32), 2), True),
        (lambda x: torch.tanh(x), False),
        (lambda x: x + torch.tanh(x), False),
        (lambda x: torch.nn.functional.layer_norm(x @ torch.ones(64, 64), (64,)), False),
    ],
)
def test_only_what_norms_take_is_drawn_loud(
    function: Callable[[Tensor], Tensor], is_loud: bool
) -> None:
    class Module(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)

    program = torch.export.export(Module(), (torch.zeros(4, 64),), strict=False)
    graph = fx.GraphModule(nn.Module(), program.run_decompositions({}).graph)
    made = draws([Port("x", (4, 64), DType.FP16)], {}, graph)
    assert [kind for kind, _ in made] == ["drawn"] * (1 + is_loud)
    for i, (_, (x,)) in enumerate(made):
        assert x.dtype == np.float16 and np.isfinite(x).all()
        rows = x.astype(np.float64).std(axis=1)
        low, high = (240, 3600) if i else (0.7, 1.4)
        assert (rows > low).all() and (rows < high).all()


TABLE = torch.zeros(5, 3)


@pytest.mark.parametrize(
    ("function", "dtype", "allowed"),
    [
        (lambda n: torch.nn.functional.embedding(n, TABLE), torch.int64, range(5)),
        (lambda n: torch.nn.functional.embedding((n + 1)[:, :2], TABLE), torch.int64, range(-1, 4)),
        (lambda n: TABLE[n * 2 - 1] + TABLE[(3 - n).reshape(-1)][0], torch.int64, range(1, 3)),
        (lambda n: TABLE.index_select(0, n.long().flatten()), torch.float32, range(5)),
        (lambda m: torch.softmax((1.0 - m)[:, :5].T * -1e9 + 2, -1), torch.float32, (0, 1)),
        (lambda m: torch.softmax((m - 1) * 1e4, -1), torch.int64, (0, 1)),
        (lambda m: TABLE[0, 0] + torch.zeros(4, 64).masked_fill(m == 0, -9.0), torch.int64, (0, 1)),
        (lambda m: torch.where(m.bool(), 1.0, 2.0), torch.int64, (0, 1)),
        (lambda n: n * 2.0, torch.int64, range(16)),
        (lambda x: (1 - x) * 3, torch.float32, None),
    ],
)  # fmt: skip
def test_numbers_are_drawn_where_the_graph_allows_them(
    function: Callable[[Tensor], Tensor], dtype: torch.dtype, allowed: range | None
) -> None:
    class Module(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)

    given = torch.ones(4, 64, dtype=dtype)
    program = torch.export.export(Module(), (given,), strict=False).run_decompositions({})
    names = [n.name for n in program.graph.nodes if n.op == "call_function"]
    root = extract(program, names, ["x"], names[-1:], {})
    kind = DType.FP32 if dtype.is_floating_point else DType.INT32
    ((_, (x,)), *_) = draws([Port("x", (4, 64), kind)], {}, root)
    found = set(x.flatten().tolist())
    if allowed is None:
        assert len(found) > 200
        return
    assert found == set(allowed)
    function(torch.from_numpy(x).to(dtype))  # torch takes them
    if tuple(allowed) == (0, 1):
        assert (x.max(axis=1) == 1).all() and 0.6 < x.mean() < 0.9


def test_what_is_known_is_used_as_it_is() -> None:
    ports = Port("x", (2, 3), DType.FP16), Port("n", (1,), DType.INT32)
    known = {"x": np.full((2, 3), 1 / 3, np.float32), "n": np.array([7])}
    ((kind, (x, n)),) = draws(ports, known, fx.GraphModule(nn.Module(), fx.Graph()))
    assert kind == "recorded"
    assert x.dtype == np.float16 and (x == np.float16(1 / 3)).all()
    assert n.dtype == np.int32 and n.tolist() == [7]
