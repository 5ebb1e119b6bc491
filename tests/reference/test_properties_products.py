"""Matrix products over drawn shapes, against numpy."""

from __future__ import annotations

import numpy as np
from direct import evaluate
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 3))
def test_half_products_are_rounded_once(rows, inside, batch):
    rng = np.random.default_rng(rows * 100 + inside)
    x = rng.standard_normal((batch, 3, inside)).astype(np.float16)
    weight = rng.standard_normal((rows, inside)).astype(np.float16)
    bias = rng.standard_normal(rows).astype(np.float16)
    found = evaluate("linear", {"x": x, "weight": weight, "bias": bias}, out="fp16")
    exact = x.astype(np.float64) @ weight.T.astype(np.float64) + bias
    np.testing.assert_allclose(found, exact.astype(np.float16), rtol=1.1e-3, atol=1e-3)


def test_a_large_half_product_in_blocks_equals_the_whole(monkeypatch):
    from entracte.reference.ops import linear

    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 7, 64)).astype(np.float16)
    weight = rng.standard_normal((50, 64)).astype(np.float16)
    for bias in ({}, {"bias": rng.standard_normal(50).astype(np.float16)}):
        tensors = {"x": x, "weight": weight, **bias}
        whole = evaluate("linear", tensors, out="fp16")
        monkeypatch.setattr(linear, "_BLOCK_ELEMENTS", 64 * 8)
        np.testing.assert_allclose(evaluate("linear", tensors, out="fp16"), whole, atol=2e-2)
        monkeypatch.undo()


def normal(shape) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


@given(hnp.mutually_broadcastable_shapes(signature="(m,k),(k,n)->(m,n)", max_dims=3, min_side=0,
                                         max_side=4),
       st.booleans(), st.booleans())  # fmt: skip
def test_products_broadcast_over_their_batch(shapes, left, right):
    """Rank 2 to 5, empty sides, either operand transposed."""
    x, y = (normal(s) for s in shapes.input_shapes)
    wanted = x @ y
    tensors = {"x": x.swapaxes(-1, -2) if left else x, "y": y.swapaxes(-1, -2) if right else y}
    found = evaluate("matmul", tensors, {"transpose_x": left, "transpose_y": right})
    assert found.shape == shapes.result_shape
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@given(hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4), st.integers(1, 4),
       st.booleans())  # fmt: skip
def test_linear_layers(shape, rows, biased):
    x, weight = normal(shape), normal((rows, shape[-1]))
    bias = normal((rows,))
    tensors = {"x": x, "weight": weight} | ({"bias": bias} if biased else {})
    wanted = x @ weight.T + (bias if biased else 0)
    np.testing.assert_allclose(evaluate("linear", tensors), wanted, rtol=1e-5, atol=1e-5)


@given(st.integers(1, 2), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_attention_is_its_formula(heads, rows, columns, width, masked):
    query, key, value = (normal((1, heads, n, width)) for n in (rows, columns, columns))
    mask = normal((rows, columns))
    scores = query @ key.swapaxes(-1, -2) / np.sqrt(width) + (mask if masked else 0)
    raised = np.exp(scores - scores.max(-1, keepdims=True))
    wanted = raised / raised.sum(-1, keepdims=True) @ value
    tensors = {"query": query, "key": key, "value": value}
    tensors |= {"attn_mask": mask} if masked else {}
    found = evaluate("scaled_dot_product_attention", tensors, opset=18)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_einsum(batch, rows, inside, columns):
    x, y = normal((batch, rows, inside)), normal((batch, inside, columns))
    found = evaluate("einsum", {"values": [x, y]}, {"equation": "bij,bjk->bik"})
    np.testing.assert_allclose(found, np.einsum("bij,bjk->bik", x, y), rtol=1e-5, atol=1e-5)
