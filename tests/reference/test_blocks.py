"""fp16 computed in fp32 blocks gives what one piece gives."""

from __future__ import annotations

import pytest
import torch
from direct import evaluate
from torch.nn import functional

from entracte.reference import blocks


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(blocks, "ACTIVATION_ELEMENTS", 64)
    monkeypatch.setattr(blocks, "WEIGHT_ELEMENTS", 64 * 8 * 9)


@pytest.mark.parametrize(
    "shape, kept", [((7, 33), 0), ((3, 5, 20), 1), ((2, 9, 3, 4), 2), ((5, 100), 1)]
)
def test_rows_in_blocks_equal_the_whole(small, shape, kept):
    x = torch.randn(shape).half()
    inner = list(range(-kept, 0))
    functions = [lambda v: v * 2 + 1]
    if kept:
        functions += [lambda v: torch.softmax(v, -1), lambda v: v.amax(inner)]
    for run in functions:
        assert torch.equal(blocks.in_rows(run, x, kept), run(x.float()).half())


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (0, 3), (1,)])
def test_empty_and_scalar_tensors(shape):
    x = torch.ones(shape).half()
    assert blocks.in_rows(lambda v: v + 1, x, 0).shape == shape
    if shape:
        assert blocks.in_rows(lambda v: v.sum(-1), x, 1).shape == shape[:-1]


def test_weight_rows_cover_each_row_once(small):
    for rows in (1, 63, 64, 65, 200, 512):
        weight = torch.empty(rows, 8, 3, 3)
        taken = [i for part in blocks.weight_rows(weight) for i in range(rows)[part]]
        assert taken == list(range(rows))
    assert list(blocks.weight_rows(torch.empty(0, 8, 3, 3))) == [slice(0, 1)]


@pytest.mark.parametrize("pad", [[1, 1, 1, 1], [0, 1, 2, 0]], ids=["even", "uneven"])
def test_a_convolution_in_blocks_equals_the_whole(small, pad):
    torch.manual_seed(0)
    x, w = torch.randn(2, 8, 9, 7).half(), torch.randn(200, 8, 3, 3).half()
    b = torch.randn(200).half()
    assert len(list(blocks.weight_rows(w))) > 1
    tensors = {"x": x.numpy(), "weight": w.numpy(), "bias": b.numpy()}
    found = evaluate("conv", tensors, {"pad_type": "custom", "pad": pad}, out="fp16")
    padded = functional.pad(x.float(), [pad[2], pad[3], pad[0], pad[1]])
    wanted = functional.conv2d(padded, w.float(), b.float()).half()
    # Kernels for 64 and 200 channels may sum in another order: a last place of fp16 at times.
    torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(
    "kind, options",
    [
        ("gelu", {"mode": "EXACT"}),
        ("gelu", {"mode": "SIGMOID_APPROXIMATION"}),
        ("softmax", {"axis": -1}),
        ("softmax", {"axis": 0}),
        ("reduce_mean", {"axes": [-1], "keep_dims": True}),
        ("reduce_sum", {"axes": [1, 2], "keep_dims": False}),
        ("reduce_mean", {"axes": [0], "keep_dims": True}),
        ("layer_norm", {"axes": [-1], "epsilon": 1e-5}),
        ("square", {}),
    ],
)
def test_halves_are_rounded_once(small, kind, options):
    torch.manual_seed(0)
    x = torch.randn(3, 4, 50).half()
    found = evaluate(kind, {"x": x.numpy()}, options, out="fp16")
    exact = evaluate(kind, {"x": x.double().float().numpy()}, options, out="fp32")
    # fp32's own error may cross the middle between two halves: one place of fp16, 2^-10.
    torch.testing.assert_close(
        torch.from_numpy(found).float(), torch.from_numpy(exact), rtol=2**-10, atol=1e-6
    )


def test_a_half_square_overflows_as_it_must():
    x = torch.tensor([255.0, 256.0, -300.0]).half()
    found = evaluate("square", {"x": x.numpy()}, out="fp16")
    assert found[0] == 65024 and found[1] == found[2] == float("inf")
