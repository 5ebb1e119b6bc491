"""Operations over drawn shapes, axes, types and attributes, against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from direct import evaluate
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from compiler.reference import PackageError

settings.register_profile("reference", max_examples=40, deadline=None, database=None)
settings.load_profile("reference")

NUMBERS = st.floats(-100, 100, width=16)
SHAPES = hnp.array_shapes(min_dims=1, max_dims=5, min_side=1, max_side=5)
ANY_SHAPES = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4)


def arrays(shape, dtype=np.float32):
    return hnp.arrays(dtype, shape, elements=NUMBERS)


@st.composite
def with_axes(draw):
    x = draw(arrays(draw(SHAPES)))
    axes = draw(st.lists(st.integers(0, x.ndim - 1), min_size=1, unique=True))
    return x, [a - x.ndim if draw(st.booleans()) else a for a in axes]


@given(arrays(ANY_SHAPES))
def test_elementwise_takes_any_rank_and_empty_tensors(x):
    np.testing.assert_array_equal(evaluate("abs", {"x": x}), np.abs(x))
    np.testing.assert_array_equal(evaluate("relu", {"x": x}), np.maximum(x, 0))
    np.testing.assert_array_equal(evaluate("add", {"x": x, "y": x}), x + x)


@given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=5, max_side=4), st.data())
def test_binary_operations_broadcast(shapes, data):
    x, y = (data.draw(arrays(s)) for s in shapes.input_shapes)
    for name, function in (("add", np.add), ("mul", np.multiply), ("maximum", np.maximum)):
        np.testing.assert_array_equal(evaluate(name, {"x": x, "y": y}), function(x, y))
    np.testing.assert_array_equal(evaluate("less", {"x": x, "y": y}, out="bool"), x < y)


@given(hnp.arrays(np.float16, (4, 5), elements=st.floats(width=16)))
def test_infinities_and_nan_go_through_as_in_numpy(x):
    with np.errstate(all="ignore"):
        for name, function in (("exp", np.exp), ("sqrt", np.sqrt), ("sign", np.sign)):
            found = evaluate(name, {"x": x}, out="fp16")
            wanted = function(x.astype(np.float32)).astype(np.float16)
            np.testing.assert_allclose(found, wanted, rtol=1e-3, err_msg=name)


@given(with_axes(), st.booleans())
def test_reductions_over_any_axes(drawn, keep):
    x, axes = drawn
    options = {"axes": axes, "keep_dims": keep}
    for name in ("reduce_sum", "reduce_max", "reduce_mean"):
        function = getattr(np, name.removeprefix("reduce_"))
        wanted = function(x, axis=tuple(axes), keepdims=keep)
        found = evaluate(name, {"x": x}, options)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4, err_msg=name)


@given(with_axes(), st.booleans())
def test_arg_reductions_take_the_first(drawn, keep):
    x, axes = drawn
    x = np.round(x / 30)
    found = evaluate("reduce_argmax", {"x": x}, {"axis": axes[0], "keep_dims": keep}, out="int32")
    np.testing.assert_array_equal(found, np.argmax(x, axes[0], keepdims=keep))


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


@given(arrays(SHAPES), st.data())
def test_pads_are_numpys(x, data):
    mode = data.draw(st.sampled_from(["constant", "replicate", "reflect"]))
    top = {"constant": 3, "replicate": 3}.get(mode)
    rank = data.draw(st.integers(1, x.ndim))
    pairs = [(0, 0)] * (x.ndim - rank)
    for size in x.shape[x.ndim - rank :]:
        most = size - 1 if top is None else top
        pairs.append(tuple(data.draw(st.integers(0, most)) for _ in range(2)))
    flat = [n for pair in pairs[x.ndim - rank :] for n in pair]
    options = {"pad": flat, "mode": mode, "constant_val": 2.5}
    names = {"constant": {"mode": "constant", "constant_values": 2.5},
             "replicate": {"mode": "edge"}, "reflect": {"mode": "reflect"}}  # fmt: skip
    wanted = np.pad(x, pairs, **names[mode])
    np.testing.assert_array_equal(evaluate("pad", {"x": x}, options), wanted)


@given(arrays(SHAPES), st.data())
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


@given(arrays(SHAPES), st.data())
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


@given(arrays(SHAPES), st.data())
def test_cumulative_sums(x, data):
    axis = data.draw(st.integers(0, x.ndim - 1))
    exclusive, reverse = data.draw(st.booleans()), data.draw(st.booleans())
    values = np.flip(x, axis) if reverse else x
    wanted = np.cumsum(values, axis) - (values if exclusive else 0)
    wanted = np.flip(wanted, axis) if reverse else wanted
    options = {"axis": axis, "exclusive": exclusive, "reverse": reverse}
    np.testing.assert_allclose(evaluate("cumsum", {"x": x}, options), wanted, atol=1e-2)


@given(arrays(SHAPES), st.data())
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


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_linear_resampling_reproduces_a_ramp(size, count, data):
    mode = data.draw(st.sampled_from(["STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "UNALIGN_CORNERS",
                                      "DEFAULT", "OFFSET_CORNERS"]))  # fmt: skip
    x = np.broadcast_to(np.arange(size, dtype=np.float32), (1, 2, size)).copy()
    options = {"target_size_height": 2, "target_size_width": count, "sampling_mode": mode}
    found = evaluate("resize_bilinear", {"x": x}, options)
    index = np.arange(count)
    spacing = {"DEFAULT": size / count, "UNALIGN_CORNERS": size / count,
               "OFFSET_CORNERS": max(1, size - 1) / count}.get(
                   mode, (size - 1) / max(count - 1, 1))  # fmt: skip
    start = {"UNALIGN_CORNERS": 0.5 * spacing - 0.5, "OFFSET_CORNERS": 0.5 * spacing}.get(mode, 0)
    grid = start + index * spacing
    grid = np.array([(size - 1) / 2]) if mode == "ALIGN_CORNERS" and count == 1 else grid
    wanted = np.clip(grid, 0, size - 1)
    np.testing.assert_allclose(found[0], [wanted, wanted], atol=1e-5)


@given(arrays(SHAPES), st.data())
def test_reshapes_inherit_and_infer(x, data):
    opset = data.draw(st.sampled_from([16, 17]))
    shape = [0 if data.draw(st.booleans()) else s for s in x.shape]
    if data.draw(st.booleans()):
        shape[data.draw(st.integers(0, x.ndim - 1))] = -1
    found = evaluate("reshape", {"x": x}, {"shape": shape}, opset=opset)
    assert found.shape == x.shape
    flat = evaluate("reshape", {"x": x, "shape": np.array([-1], np.int32)})
    np.testing.assert_array_equal(flat, x.reshape(-1))


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
    from compiler.reference.ops import linear

    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 7, 64)).astype(np.float16)
    weight = rng.standard_normal((50, 64)).astype(np.float16)
    for bias in ({}, {"bias": rng.standard_normal(50).astype(np.float16)}):
        tensors = {"x": x, "weight": weight, **bias}
        whole = evaluate("linear", tensors, out="fp16")
        monkeypatch.setattr(linear, "_BLOCK_ELEMENTS", 64 * 8)
        np.testing.assert_allclose(evaluate("linear", tensors, out="fp16"), whole, atol=2e-2)
        monkeypatch.undo()
