"""Reductions, sums along an axis and normalisations over drawn axes, against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from direct import evaluate
from draws import SHAPES, SPECIAL, any_sign, arrays, with_axes
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

REDUCED = {
    "reduce_sum": np.sum, "reduce_mean": np.mean, "reduce_max": np.max, "reduce_min": np.min,
    "reduce_prod": np.prod,
    "reduce_l1_norm": lambda x, **o: np.abs(x).sum(**o),
    "reduce_l2_norm": lambda x, **o: np.sqrt((x * x).sum(**o)),
    "reduce_sum_square": lambda x, **o: (x * x).sum(**o),
    "reduce_log_sum": lambda x, **o: np.log(np.abs(x).sum(**o)),
    "reduce_log_sum_exp": lambda x, **o: np.logaddexp.reduce(x, **o),
}  # fmt: skip


def _scaled(name: str, x: np.ndarray) -> np.ndarray:
    """Numbers for which fp32 holds the result: products of 1024 factors, logarithms of sums."""
    if name == "reduce_prod":
        return (np.sign(x) * (1 + np.abs(x) / 2000)).astype(np.float32)
    return np.abs(x) if name == "reduce_log_sum" else x


@pytest.mark.parametrize("name", REDUCED)
@given(drawn=with_axes(), keep=st.booleans())
def test_reductions_over_any_axes(name, drawn, keep):
    x, axes = drawn
    x = _scaled(name, x)
    found = evaluate(name, {"x": x}, {"axes": axes, "keep_dims": keep})
    wanted = x.astype(np.float64)
    with np.errstate(divide="ignore"):
        if name == "reduce_log_sum_exp":
            for axis in sorted((a % x.ndim for a in axes), reverse=True):
                wanted = np.logaddexp.reduce(wanted, axis=axis, keepdims=keep)
        else:
            wanted = REDUCED[name](wanted, axis=tuple(axes), keepdims=keep)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("name", ["reduce_sum", "reduce_max", "reduce_min", "reduce_mean"])
@given(x=SHAPES.flatmap(lambda s: arrays(s, elements=SPECIAL)))
def test_all_axes_when_none_are_given_and_special_values_as_in_numpy(name, x):
    with np.errstate(all="ignore"):
        wanted = REDUCED[name](x.astype(np.float64))
    np.testing.assert_allclose(evaluate(name, {"x": x}), wanted, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("name", ["reduce_sum", "reduce_prod"])
@given(shape=hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=3), data=st.data())
def test_empty_axes_give_the_neutral_element(name, shape, data):
    axis = data.draw(st.integers(0, len(shape) - 1))
    x = np.zeros(shape[:axis] + (0,) + shape[axis + 1 :], np.float32)
    wanted = REDUCED[name](x, axis=axis)
    options = {"axes": [any_sign(axis, x.ndim, data)]}
    np.testing.assert_array_equal(evaluate(name, {"x": x}, options), wanted)


@pytest.mark.parametrize("name", ["reduce_argmax", "reduce_argmin"])
@given(drawn=with_axes(), keep=st.booleans())
def test_arg_reductions_take_the_first(name, drawn, keep):
    x, axes = drawn
    x = np.round(x / 30)
    found = evaluate(name, {"x": x}, {"axis": axes[0], "keep_dims": keep}, out="int32")
    function = getattr(np, name.removeprefix("reduce_"))
    np.testing.assert_array_equal(found, function(x, axes[0], keepdims=keep))


@given(arrays(SHAPES), st.data())
def test_cumulative_sums(x, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    exclusive, reverse = data.draw(st.booleans()), data.draw(st.booleans())
    values = np.flip(x, axis) if reverse else x
    wanted = np.cumsum(values, axis) - (values if exclusive else 0)
    wanted = np.flip(wanted, axis) if reverse else wanted
    options = {"axis": axis, "exclusive": exclusive, "reverse": reverse}
    np.testing.assert_allclose(evaluate("cumsum", {"x": x}, options), wanted, atol=1e-2)


@given(with_axes(), st.booleans(), st.floats(1e-5, 1))
def test_layer_norm_over_any_axes(drawn, affine, epsilon):
    x, axes = drawn
    places = sorted(a % x.ndim for a in axes)
    shape = [x.shape[a] for a in places]
    rng = np.random.default_rng(x.size)
    gamma, beta = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    tensors = {"x": x} | ({"gamma": gamma, "beta": beta} if affine else {})
    wide = x.astype(np.float64)
    mean = wide.mean(tuple(places), keepdims=True)
    wanted = (wide - mean) / np.sqrt(wide.var(tuple(places), keepdims=True) + epsilon)
    if affine:
        spread = [n if a in places else 1 for a, n in enumerate(x.shape)]
        wanted = wanted * gamma.reshape(spread) + beta.reshape(spread)
    found = evaluate("layer_norm", tensors, {"axes": axes, "epsilon": epsilon})
    # The deviation of nearly equal large numbers keeps few digits in fp32.
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=2e-2)


@given(hnp.array_shapes(min_dims=3, max_dims=5, max_side=4).flatmap(arrays), st.booleans())
def test_batch_and_instance_norm(x, affine):
    rng = np.random.default_rng(x.size)
    gamma, beta, mean = (rng.standard_normal(x.shape[1]).astype(np.float32) for _ in range(3))
    variance = mean**2 + 1
    extra = {"gamma": gamma, "beta": beta} if affine else {}
    spread = (1, -1) + (1,) * (x.ndim - 2)
    scale, shift = (v.reshape(spread) for v in (gamma, beta)) if affine else (1, 0)
    wide = x.astype(np.float64)

    def normal(mean, variance):
        return (wide - mean) / np.sqrt(variance + 0.25) * scale + shift

    found = evaluate("batch_norm", {"x": x, "mean": mean, "variance": variance, **extra},
                     {"epsilon": 0.25})  # fmt: skip
    wanted = normal(mean.reshape(spread), variance.reshape(spread))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3)
    axes = tuple(range(2, x.ndim))
    wanted = normal(wide.mean(axes, keepdims=True), wide.var(axes, keepdims=True))
    found = evaluate("instance_norm", {"x": x, **extra}, {"epsilon": 0.25})
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-2)


@given(SHAPES.flatmap(arrays), st.data())
def test_softmax_along_any_axis(x, data):
    axis = any_sign(data.draw(st.integers(0, x.ndim - 1)), x.ndim, data)
    raised = np.exp(x.astype(np.float64) - x.max(axis, keepdims=True))
    wanted = raised / raised.sum(axis, keepdims=True)
    np.testing.assert_allclose(evaluate("softmax", {"x": x}, {"axis": axis}), wanted, atol=1e-6)
