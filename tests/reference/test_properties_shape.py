"""Operations that move elements, over drawn shapes, against numpy."""

from __future__ import annotations

import numpy as np
from direct import evaluate
from draws import ANY_SHAPES, SHAPES, any_sign, arrays
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp


@given(SHAPES.flatmap(arrays), st.data())
def test_reshapes_inherit_and_infer(x, data):
    opset = data.draw(st.sampled_from([16, 17]))
    shape = [0 if data.draw(st.booleans()) else s for s in x.shape]
    if data.draw(st.booleans()):
        shape[data.draw(st.integers(0, x.ndim - 1))] = -1
    found = evaluate("reshape", {"x": x}, {"shape": shape}, opset=opset)
    assert found.shape == x.shape
    flat = evaluate("reshape", {"x": x, "shape": np.array([-1], np.int32)})
    np.testing.assert_array_equal(flat, x.reshape(-1))


@given(ANY_SHAPES.flatmap(arrays), st.data())
def test_transposes(x, data):
    perm = data.draw(st.permutations(range(x.ndim)))
    given_perm = [any_sign(a, x.ndim, data) for a in perm]
    found = evaluate("transpose", {"x": x}, {"perm": np.array(given_perm, np.int32)})
    np.testing.assert_array_equal(found, np.transpose(x, perm))


@given(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3).flatmap(arrays), st.data())
def test_axes_come_and_go(x, data):
    rank = x.ndim + data.draw(st.integers(1, 5 - x.ndim))
    places = data.draw(st.lists(st.integers(0, rank - 1), min_size=rank - x.ndim,
                                max_size=rank - x.ndim, unique=True))  # fmt: skip
    axes = [any_sign(a, rank, data) for a in places]
    wide = evaluate("expand_dims", {"x": x}, {"axes": axes})
    np.testing.assert_array_equal(wide, np.expand_dims(x, tuple(places)))
    found = evaluate("squeeze", {"x": wide}, {"axes": axes})
    np.testing.assert_array_equal(found, x)
    np.testing.assert_array_equal(evaluate("squeeze", {"x": wide}), np.squeeze(wide))


@given(hnp.array_shapes(min_dims=1, max_dims=4, max_side=3).flatmap(arrays), st.data())
def test_tiles_and_reversals(x, data):
    reps = [data.draw(st.integers(1, 3)) for _ in x.shape]
    np.testing.assert_array_equal(evaluate("tile", {"x": x}, {"reps": reps}), np.tile(x, reps))
    places = data.draw(st.lists(st.integers(0, x.ndim - 1), min_size=1, unique=True))
    axes = [any_sign(a, x.ndim, data) for a in places]
    found = evaluate("reverse", {"x": x}, {"axes": axes})
    np.testing.assert_array_equal(found, np.flip(x, tuple(places)))


@given(ANY_SHAPES.flatmap(arrays), st.data())
def test_fills_shapes_and_flattening(x, data):
    np.testing.assert_array_equal(evaluate("shape", {"x": x}, out="int32"), x.shape)
    filled = evaluate("fill", {}, {"shape": np.array(x.shape or (1,), np.int32), "value": 2.5})
    np.testing.assert_array_equal(filled, np.full(x.shape or (1,), 2.5, np.float32))
    if x.ndim and x.size:
        axis = data.draw(st.integers(-x.ndim, x.ndim))
        rows = int(np.prod(x.shape[:axis])) if axis else 1
        found = evaluate("flatten2d", {"x": x}, {"axis": axis})
        np.testing.assert_array_equal(found, x.reshape(rows, -1))


@given(st.integers(-20, 20), st.integers(-20, 20), st.sampled_from([-7, -2, -1, 1, 2, 3]))
def test_ranges(start, end, step):
    tensors = {n: np.array(v, np.int32) for n, v in
               (("start", start), ("end", end), ("step", step))}  # fmt: skip
    found = evaluate("range_1d", tensors, out="int32")
    np.testing.assert_array_equal(found, np.arange(start, end, step))


@given(hnp.array_shapes(min_dims=1, max_dims=3, max_side=3), st.integers(1, 5), st.data())
def test_one_hot(shape, size, data):
    indices = data.draw(hnp.arrays(np.int32, shape, elements=st.integers(0, size - 1)))
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    options = {"one_hot_vector_size": size, "axis": axis, "on_value": 2.0, "off_value": -1.0}
    found = evaluate("one_hot", {"indices": indices}, options)
    wanted = np.where(np.arange(size) == indices[..., None], 2.0, -1.0)
    np.testing.assert_array_equal(found, np.moveaxis(wanted, -1, axis))


@given(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), st.integers(2, 3), st.data())
def test_depth_and_space(batch, channels, side, block, data):
    x = data.draw(arrays((batch, channels * block * block, side, side + 1)))
    found = evaluate("depth_to_space", {"x": x}, {"block_size": block})
    split = x.reshape(batch, block, block, channels, side, side + 1)
    wanted = split.transpose(0, 3, 4, 1, 5, 2).reshape(batch, channels, side * block, -1)
    np.testing.assert_array_equal(found, wanted)
    again = evaluate("space_to_depth", {"x": found}, {"block_size": block})
    np.testing.assert_array_equal(again, x)
    shuffled = evaluate("pixel_shuffle", {"x": x}, {"upscale_factor": block})
    split = x.reshape(batch, channels, block, block, side, side + 1)
    wanted = split.transpose(0, 1, 4, 2, 5, 3).reshape(batch, channels, side * block, -1)
    np.testing.assert_array_equal(shuffled, wanted)


@given(hnp.array_shapes(min_dims=2, max_dims=4, max_side=4).flatmap(arrays),
       st.integers(-1, 4), st.integers(-1, 4))  # fmt: skip
def test_bands(x, lower, upper):
    rows, columns = np.ogrid[: x.shape[-2], : x.shape[-1]]
    kept = (lower < 0) | (rows - columns <= lower)
    kept = kept & ((upper < 0) | (columns - rows <= upper))
    found = evaluate("band_part", {"x": x}, {"lower": lower, "upper": upper})
    np.testing.assert_array_equal(found, np.where(kept, x, 0))
