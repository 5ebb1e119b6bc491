"""Elementwise operations over drawn shapes, types and special values, against numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from direct import evaluate
from draws import ANY_SHAPES, NUMBERS, SPECIAL, arrays
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

UNARY = {
    "abs": np.abs, "acos": np.arccos, "asin": np.arcsin, "atan": np.arctan, "atanh": np.arctanh,
    "ceil": np.ceil, "cos": np.cos, "cosh": np.cosh, "exp": np.exp, "exp2": np.exp2,
    "floor": np.floor, "relu": lambda x: np.maximum(x, 0), "round": np.round, "sign": np.sign,
    "relu6": lambda x: np.clip(x, 0, 6), "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)), "sin": np.sin, "sinh": np.sinh,
    "softplus": lambda x: np.logaddexp(x, 0), "softsign": lambda x: x / (1 + np.abs(x)),
    "sqrt": np.sqrt, "square": np.square, "tan": np.tan, "tanh": np.tanh,
    "erf": np.vectorize(math.erf, otypes=[float]),
}  # fmt: skip
UNBOUNDED = {"silu": [-np.inf], "softsign": [np.inf, -np.inf]}
"""Where the formula is inf / inf or inf * 0 and either answer is right."""


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize("name", UNARY)
@given(data=st.data())
def test_unary_operations(name, dtype, data):
    """Any rank, empty, infinite and NaN; within 4e-6 in fp32, within one place in fp16."""
    kind = np.dtype(np.float16 if dtype == "fp16" else np.float32)
    elements = SPECIAL if dtype == "fp16" else st.one_of(NUMBERS, SPECIAL)
    x = data.draw(arrays(data.draw(ANY_SHAPES), kind, elements))
    x = np.where(np.isin(x, UNBOUNDED.get(name, [])), kind.type(1), x)
    found = evaluate(name, {"x": x}, out=dtype)
    with np.errstate(all="ignore"):
        wanted = UNARY[name](x.astype(np.float64)).astype(kind)
    assert found.shape == x.shape and found.dtype == kind
    # sin and cos of a large angle lose what the fp32 angle itself does not hold.
    tolerance = {"rtol": 1e-3, "atol": 6e-8} if dtype == "fp16" else {"rtol": 4e-6, "atol": 1e-6}
    np.testing.assert_allclose(found, wanted, **tolerance)


BINARY = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "maximum": np.maximum,
    "minimum": np.minimum, "real_div": np.divide, "floor_div": np.floor_divide, "mod": np.mod,
}  # fmt: skip
COMPARED = {
    "equal": np.equal, "not_equal": np.not_equal, "greater": np.greater, "less": np.less,
    "greater_equal": np.greater_equal, "less_equal": np.less_equal,
}  # fmt: skip
PAIRS = hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=5, min_side=0, max_side=3)


@pytest.mark.parametrize("name", [*BINARY, *COMPARED])
@given(shapes=PAIRS, data=st.data())
def test_binary_operations_broadcast(name, shapes, data):
    """Any two shapes that fit, empty ones too; infinities and NaN as in numpy."""
    elements = NUMBERS if name in ("floor_div", "mod") else SPECIAL
    x, y = (data.draw(arrays(s, elements=elements)) for s in shapes.input_shapes)
    if name in ("floor_div", "mod"):
        y = np.where(y == 0, np.float32(1), y)
    with np.errstate(all="ignore"):
        wanted = (BINARY | COMPARED)[name](x, y)
    found = evaluate(name, {"x": x, "y": y}, out="bool" if name in COMPARED else "fp32")
    assert found.shape == shapes.result_shape
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6 if name == "mod" else 0)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "maximum", "floor_div", "mod", "less"])
@given(shapes=PAIRS, data=st.data())
def test_integers_stay_integers(name, shapes, data):
    numbers = st.integers(-1000, 1000)
    x, y = (data.draw(arrays(s, np.int32, numbers)) for s in shapes.input_shapes)
    y = np.where(y == 0, np.int32(3), y) if name in ("floor_div", "mod") else y
    found = evaluate(name, {"x": x, "y": y}, out="bool" if name == "less" else "int32")
    wanted = (BINARY | COMPARED)[name](x, y)
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


@given(PAIRS, st.data())
def test_logic(shapes, data):
    x, y = (data.draw(hnp.arrays(np.bool_, s)) for s in shapes.input_shapes)
    for name in ("logical_and", "logical_or", "logical_xor"):
        found = evaluate(name, {"x": x, "y": y}, out="bool")
        np.testing.assert_array_equal(found, getattr(np, name)(x, y))
    np.testing.assert_array_equal(evaluate("logical_not", {"x": x}, out="bool"), ~x)


@given(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=5, min_side=0, max_side=3),
       st.data())  # fmt: skip
def test_select_takes_what_the_condition_says(shapes, data):
    first, *rest = shapes.input_shapes
    cond = data.draw(hnp.arrays(np.bool_, first))
    a, b = (data.draw(arrays(s, elements=SPECIAL)) for s in rest)
    found = evaluate("select", {"cond": cond, "a": a, "b": b})
    np.testing.assert_array_equal(found, np.where(cond, a, b))


@given(
    ANY_SHAPES.flatmap(lambda s: arrays(s, elements=SPECIAL)), NUMBERS, st.floats(0, 50, width=16)
)
def test_clip_and_threshold(x, low, width):
    options = {"alpha": low, "beta": low + width}
    np.testing.assert_array_equal(
        evaluate("clip", {"x": x}, options), np.clip(x, np.float32(low), np.float32(low + width))
    )
    np.testing.assert_array_equal(
        evaluate("threshold", {"x": x}, {"alpha": low}), np.maximum(x, np.float32(low))
    )


CASTS = {"fp16": np.float16, "fp32": np.float32, "int32": np.int32, "bool": np.bool_}


@pytest.mark.parametrize("target", CASTS)
@pytest.mark.parametrize("source", CASTS)
@given(data=st.data())
def test_casts_truncate_towards_zero(source, target, data):
    x = data.draw(arrays(data.draw(ANY_SHAPES), np.float32)).astype(CASTS[source])
    found = evaluate("cast", {"x": x}, {"dtype": target}, out=target)
    assert found.dtype == CASTS[target]
    np.testing.assert_array_equal(found, x.astype(CASTS[target]))


@given(ANY_SHAPES.flatmap(lambda s: arrays(s, elements=st.floats(0.125, 100, width=16))))
def test_logarithm_inverse_and_root_take_their_epsilon(x):
    for name, function in (("log", np.log), ("inverse", np.reciprocal),
                           ("rsqrt", lambda v: 1 / np.sqrt(v))):  # fmt: skip
        found = evaluate(name, {"x": x}, {"epsilon": 0.5})
        np.testing.assert_allclose(found, function(x + 0.5), rtol=2e-6, atol=1e-6, err_msg=name)
