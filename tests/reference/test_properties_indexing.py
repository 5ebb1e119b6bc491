"""Slices, gathers, scatters, joins and orders over drawn shapes, against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from direct import evaluate
from draws import SHAPES, any_sign, arrays
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from entracte.reference import PackageError


@st.composite
def sliced(draw):
    x = draw(arrays(draw(SHAPES)))
    parts, masks = [], [[], [], []]
    begin, end, stride = [], [], []
    for size in x.shape:
        step = draw(st.sampled_from([1, 2, 3, -1, -2]))
        first, last = (draw(st.integers(-size, size - 1)) for _ in range(2))
        squeeze, no_begin, no_end = (draw(st.booleans()) for _ in range(3))
        squeeze = squeeze and draw(st.booleans())
        no_begin = no_begin and not squeeze
        for mask, value in zip(masks, (no_begin, no_end, squeeze), strict=True):
            mask.append(value)
        begin.append(first)
        end.append(last)
        stride.append(1 if squeeze else step)
        ends = None if no_end else last
        parts.append(first if squeeze else slice(None if no_begin else first, ends, step))
    options = {"stride": stride, "begin_mask": masks[0], "end_mask": masks[1],
               "squeeze_mask": masks[2]}  # fmt: skip
    return x, begin, end, options, tuple(parts)


@given(sliced(), st.booleans())
def test_slices_are_numpys(drawn, computed):
    x, begin, end, options, index = drawn
    tensors = {"x": x}
    if computed:
        tensors |= {"begin": np.array(begin, np.int32), "end": np.array(end, np.int32)}
    else:
        options = options | {"begin": begin, "end": end}
    np.testing.assert_array_equal(evaluate("slice_by_index", tensors, options), x[index])


@given(sliced())
def test_a_slice_update_replaces_its_slice(drawn):
    x, begin, end, options, index = drawn
    update = x[index] + 1
    wanted = x.copy()
    wanted[index] = update
    found = evaluate(
        "slice_update", {"x": x, "update": np.asarray(update, np.float32)},
        options | {"begin": begin, "end": end}, opset=18,
    )  # fmt: skip
    np.testing.assert_array_equal(found, wanted)


@given(SHAPES.flatmap(arrays), st.data())
def test_gathers_are_numpys(x, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    size = x.shape[axis]
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=2, max_side=3))
    opset = data.draw(st.sampled_from([15, 16, 17, 18]))
    low = -size if opset < 17 else 0
    indices = data.draw(hnp.arrays(np.int32, shape, elements=st.integers(low, size - 1)))
    found = evaluate("gather", {"x": x, "indices": indices}, {"axis": axis}, opset=opset)
    np.testing.assert_array_equal(found, np.take(x, indices, axis))


@pytest.mark.parametrize("kind", ["gather", "gather_along_axis", "gather_nd"])
@pytest.mark.parametrize("index", [-1, 3])
def test_an_index_outside_is_an_error_from_ios17_on(kind, index):
    with pytest.raises(PackageError, match=kind):
        evaluate(kind, {"x": np.zeros(3, np.float32), "indices": np.array([index], np.int32)})


@given(SHAPES.flatmap(arrays), st.data())
def test_slices_of_a_size(x, data):
    """A size of -1 takes the rest."""
    begin = [data.draw(st.integers(0, n - 1)) for n in x.shape]
    size = [data.draw(st.integers(1, n - b)) for n, b in zip(x.shape, begin, strict=True)]
    index = tuple(slice(b, b + s) for b, s in zip(begin, size, strict=True))
    size = [-1 if b + s == n and data.draw(st.booleans()) else s
            for n, b, s in zip(x.shape, begin, size, strict=True)]  # fmt: skip
    found = evaluate("slice_by_size", {"x": x}, {"begin": begin, "size": size})
    np.testing.assert_array_equal(found, x[index])


@given(SHAPES.flatmap(arrays), st.data())
def test_gathers_along_an_axis(x, data):
    axis = any_sign(data.draw(st.integers(0, x.ndim - 1)), x.ndim, data)
    shape = list(x.shape)
    shape[axis] = data.draw(st.integers(1, 4))
    size = x.shape[axis]
    indices = data.draw(hnp.arrays(np.int32, tuple(shape), elements=st.integers(0, size - 1)))
    found = evaluate("gather_along_axis", {"x": x, "indices": indices}, {"axis": axis})
    np.testing.assert_array_equal(found, np.take_along_axis(x, indices, axis))


def coordinates(data, shape: tuple[int, ...], lead: tuple[int, ...] = ()) -> np.ndarray:
    """[*lead, 1 to 3 points, depth] places in an array of `shape`."""
    depth = data.draw(st.integers(1, len(shape)))
    count = data.draw(st.integers(1, 3))
    columns = [
        data.draw(hnp.arrays(np.int32, (*lead, count), elements=st.integers(0, shape[i] - 1)))
        for i in range(depth)
    ]
    return np.stack(columns, -1)


@given(SHAPES.flatmap(arrays), st.data())
def test_gathers_at_coordinates(x, data):
    batch = data.draw(st.integers(0, x.ndim - 1))
    lead = x.shape[:batch]
    places = coordinates(data, x.shape[batch:], lead)
    found = evaluate("gather_nd", {"x": x, "indices": places}, {"batch_dims": batch})
    depth = places.shape[-1]
    wanted = np.empty((*places.shape[:-1], *x.shape[batch + depth :]), np.float32)
    for place in np.ndindex(*places.shape[:-1]):
        wanted[place] = x[place[:batch] + tuple(places[place])]
    np.testing.assert_array_equal(found, wanted)


MODES = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "max": np.maximum,
    "min": np.minimum, "update": lambda old, new: new,
}  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@given(x=SHAPES.flatmap(lambda s: arrays(s)), data=st.data())
def test_scatters_at_coordinates(mode, x, data):
    """Elements and slices; the same place more than once, but for `update`."""
    places = coordinates(data, x.shape)
    if mode == "update":
        places = np.unique(places, axis=0)
    depth = places.shape[-1]
    rng = np.random.default_rng(x.size)
    updates = rng.choice([-2.0, -1.0, 0.5, 2.0], (len(places), *x.shape[depth:]))
    updates = updates.astype(np.float32)
    wanted = x.astype(np.float64)
    for place, update in zip(places, updates, strict=True):
        wanted[tuple(place)] = MODES[mode](wanted[tuple(place)], update)
    tensors = {"data": x, "indices": places, "updates": updates}
    found = evaluate("scatter_nd", tensors, {"mode": mode})
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", ["scatter", "scatter_along_axis"])
@pytest.mark.parametrize("mode", MODES)
@given(x=SHAPES.flatmap(lambda s: arrays(s)), data=st.data())
def test_scatters_along_an_axis(kind, mode, x, data):
    axis = data.draw(st.integers(0, x.ndim - 1))
    size = x.shape[axis]
    count = data.draw(st.integers(1, size if mode == "update" else 3))
    unique = mode == "update"
    row = data.draw(st.lists(st.integers(0, size - 1), min_size=count, max_size=count,
                             unique=unique))  # fmt: skip
    shape = x.shape[:axis] + (count,) + x.shape[axis + 1 :]
    updates = np.random.default_rng(x.size).choice([-2.0, 0.5, 2.0], shape).astype(np.float32)
    wanted = np.moveaxis(x.astype(np.float64), axis, 0).copy()
    for place, update in zip(row, np.moveaxis(updates, axis, 0), strict=True):
        wanted[place] = MODES[mode](wanted[place], update)
    indices = np.array(row, np.int32)
    if kind == "scatter_along_axis":
        spread = [-1 if a == axis else 1 for a in range(x.ndim)]
        indices = np.broadcast_to(indices.reshape(spread), shape).copy()
    options = {"axis": any_sign(axis, x.ndim, data), "mode": mode}
    found = evaluate(kind, {"data": x, "indices": indices, "updates": updates}, options)
    np.testing.assert_allclose(found, np.moveaxis(wanted, 0, axis), rtol=1e-5, atol=1e-4)


@given(SHAPES.flatmap(arrays), st.data())
def test_concat_split_and_stack_undo_each_other(x, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    cuts = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    sizes = [c for c in cuts if c] + [x.shape[axis]]
    parts = [np.take(x, np.arange(s) % x.shape[axis], axis) for s in sizes]
    whole = evaluate("concat", {"values": parts}, {"axis": axis})
    np.testing.assert_array_equal(whole, np.concatenate(parts, axis))
    again = evaluate("split", {"x": whole}, {"axis": axis, "split_sizes": sizes},
                     out=("fp32",) * len(sizes))  # fmt: skip
    for part, found in zip(parts, again, strict=True):
        np.testing.assert_array_equal(found, part)


@given(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3), st.data())
def test_stacks_make_a_new_axis(shape, data):
    parts = [data.draw(arrays(shape)) for _ in range(data.draw(st.integers(1, 3)))]
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    found = evaluate("stack", {"values": parts}, {"axis": axis})
    np.testing.assert_array_equal(found, np.stack(parts, axis))


@given(SHAPES.flatmap(arrays), st.data())
def test_top_k_is_a_stable_sort(x, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    x = np.round(x / 20)
    k = data.draw(st.integers(1, x.shape[axis]))
    ascending = data.draw(st.booleans())
    values, places = evaluate(
        "topk", {"x": x}, {"k": k, "axis": axis, "ascending": ascending}, out=("fp32", "int32")
    )
    order = np.argsort(x if ascending else -x, axis, kind="stable")
    order = np.take(order, np.arange(k), axis)
    np.testing.assert_array_equal(places, order)
    np.testing.assert_array_equal(values, np.take_along_axis(x, order, axis))


@given(SHAPES.flatmap(arrays), st.data())
def test_orders_are_stable(x, data):
    axis = any_sign(data.draw(st.integers(0, x.ndim - 1)), x.ndim, data)
    x, ascending = np.round(x / 20), data.draw(st.booleans())
    options = {"axis": axis, "ascending": ascending}
    found = evaluate("argsort", {"x": x}, options, out="int32")
    np.testing.assert_array_equal(found, np.argsort(x if ascending else -x, axis, kind="stable"))


@given(SHAPES.flatmap(arrays))
def test_places_that_are_not_zero(x):
    x = np.round(x / 60)
    found = evaluate("non_zero", {"x": x}, out="int32")
    np.testing.assert_array_equal(found, np.argwhere(x))
