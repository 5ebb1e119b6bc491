"""Convolutions, pools, padding and resampling over drawn geometry, against loops in numpy."""

from __future__ import annotations

import numpy as np
import pytest
from direct import evaluate
from draws import SHAPES, arrays
from hypothesis import given
from hypothesis import strategies as st


@given(SHAPES.flatmap(arrays), st.data())
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


class Geometry:
    """Sizes, kernel, strides, dilations and pads of a window in one to three dimensions."""

    def __init__(self, data: st.DataObject, dilated: bool = True) -> None:
        self.rank = data.draw(st.integers(1, 3))

        def draw(low: int, high: int) -> list[int]:
            return [data.draw(st.integers(low, high)) for _ in range(self.rank)]

        self.kernel, self.strides = draw(1, 3), draw(1, 3)
        self.dilations = draw(1, 2) if dilated else [1] * self.rank
        self.spans = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]
        self.sizes = [n + data.draw(st.integers(0, 3)) for n in self.spans]
        self.type = data.draw(st.sampled_from(["valid", "same", "same_lower", "custom"]))
        self.pad = [min(p, k - 1) for p, k in
                    zip(draw(0, 1) + draw(0, 2), self.kernel * 2, strict=True)]  # fmt: skip

    @property
    def pads(self) -> list[tuple[int, int]]:
        """(before, after) by the definition of each pad type."""
        if self.type == "valid":
            return [(0, 0)] * self.rank
        if self.type == "custom":
            return list(zip(self.pad[: self.rank], self.pad[self.rank :], strict=True))
        pads = []
        for size, span, stride in zip(self.sizes, self.spans, self.strides, strict=True):
            total = max((-(-size // stride) - 1) * stride + span - size, 0)
            less, more = total // 2, total - total // 2
            pads.append((less, more) if self.type == "same" else (more, less))
        return pads

    @property
    def options(self) -> dict:
        flat = [n for pair in self.pads for n in pair]
        custom = {"pad": flat} if self.type == "custom" else {}
        return {"strides": self.strides, "pad_type": self.type, **custom}

    def counts(self) -> list[int]:
        return [(n + sum(p) - s) // t + 1 for n, p, s, t in
                zip(self.sizes, self.pads, self.spans, self.strides, strict=True)]  # fmt: skip

    def window(self, place: tuple[int, ...]) -> tuple[slice, ...]:
        return tuple(slice(i * t, i * t + s, d) for i, t, s, d in
                     zip(place, self.strides, self.spans, self.dilations, strict=True))  # fmt: skip


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@given(st.data())
def test_convolutions(data):
    """Every pad type, stride, dilation, group and rank; with and without bias."""
    g = Geometry(data)
    groups, inner, outer, batch = (data.draw(st.integers(1, 2)) for _ in range(4))
    x, weight = numbers(batch, groups * inner, *g.sizes), numbers(groups * outer, inner, *g.kernel)
    bias = numbers(groups * outer) if data.draw(st.booleans()) else None
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *g.pads])
    wanted = np.zeros((batch, groups * outer, *g.counts()))
    for place in np.ndindex(*g.counts()):
        patch = padded[(..., *g.window(place))]
        for channel, kernel in enumerate(weight):
            first = channel // outer * inner
            part = patch[:, first : first + inner] * kernel
            wanted[(slice(None), channel, *place)] = part.reshape(batch, -1).sum(1)
    if bias is not None:
        wanted += bias.reshape(-1, *(1,) * g.rank)
    tensors = {"x": x, "weight": weight} | ({} if bias is None else {"bias": bias})
    options = {"dilations": g.dilations, "groups": groups, **g.options}
    np.testing.assert_allclose(evaluate("conv", tensors, options), wanted, rtol=1e-4, atol=1e-5)


@given(st.data())
def test_transposed_convolutions(data):
    """The scatter of every input element, cropped by the pads; `same` gives stride * size."""
    g = Geometry(data)
    g.type = data.draw(st.sampled_from(["valid", "custom"]))
    groups, inner, outer = (data.draw(st.integers(1, 2)) for _ in range(3))
    x, weight = numbers(1, groups * inner, *g.sizes), numbers(groups * inner, outer, *g.kernel)
    full = [(n - 1) * t + s for n, t, s in zip(g.sizes, g.strides, g.spans, strict=True)]
    whole = np.zeros((1, groups * outer, *full))
    for place in np.ndindex(*g.sizes):
        for channel in range(groups * inner):
            first = channel // inner * outer
            part = whole[(0, slice(first, first + outer), *g.window(place))]
            part += x[(0, channel, *place)] * weight[channel].astype(np.float64)
    crop = tuple(slice(b, n - a) for n, (b, a) in zip(full, g.pads, strict=True))
    options = {"dilations": g.dilations, "groups": groups, **g.options}
    found = evaluate("conv_transpose", {"x": x, "weight": weight}, options)
    np.testing.assert_allclose(found, whole[(..., *crop)], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["max_pool", "avg_pool", "l2_pool"])
@given(data=st.data())
def test_pools(name, data):
    """Every pad type; the last window is kept by `ceil_mode` if it starts inside."""
    g = Geometry(data, dilated=False)
    ceil = data.draw(st.booleans()) and g.type in ("valid", "custom") and name != "l2_pool"
    exclude = data.draw(st.booleans())
    x = numbers(1, 2, *g.sizes)
    counts = g.counts()
    if ceil:
        for i in range(g.rank):
            room = g.sizes[i] + sum(g.pads[i]) - g.kernel[i]
            count = -(-room // g.strides[i]) + 1
            inside = (count - 1) * g.strides[i] < g.sizes[i] + g.pads[i][0]
            counts[i] = count if inside else count - 1
    room = [(b, a + 9) for b, a in g.pads]
    fill = -np.inf if name == "max_pool" else 0.0
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *room], constant_values=fill)
    real = np.pad(np.ones(g.sizes), room)
    declared = np.pad(np.pad(np.ones(g.sizes), g.pads, constant_values=1), (0, 9))
    wanted = np.zeros((1, 2, *counts))
    for place in np.ndindex(*counts):
        window = g.window(place)
        patch = padded[(..., *window)].reshape(1, 2, -1)
        counted = (real if exclude else declared)[window].sum()
        wanted[(..., *place)] = {"max_pool": patch.max(-1), "avg_pool": patch.sum(-1) / counted,
                                 "l2_pool": np.sqrt((patch**2).sum(-1))}[name]  # fmt: skip
    options = {"kernel_sizes": g.kernel, **g.options}
    options |= {"ceil_mode": ceil} if name != "l2_pool" else {}
    options |= {"exclude_padding_from_average": exclude} if name == "avg_pool" else {}
    np.testing.assert_allclose(evaluate(name, {"x": x}, options), wanted, rtol=1e-5, atol=1e-6)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.integers(1, 3))
def test_whole_factors_repeat_elements(height, width, high, wide):
    x = numbers(1, 2, height, width)
    wanted = x.repeat(high, 2).repeat(wide, 3)
    options = {"scale_factor_height": high, "scale_factor_width": wide}
    found = evaluate("upsample_nearest_neighbor", {"x": x}, options)
    np.testing.assert_array_equal(found, wanted)
    options = {"target_size_height": height * high, "target_size_width": width * wide}
    found = evaluate("resize_nearest_neighbor", {"x": x}, options)
    np.testing.assert_array_equal(found, wanted)


@given(st.integers(2, 5), st.integers(2, 5), st.integers(2, 3), st.booleans())
def test_linear_upsampling_is_separable(height, width, factor, corners):
    """Along each axis the weights of two neighbours, by the documented grid."""
    x = numbers(1, 2, height, width)
    options = {"scale_factor_height": factor, "scale_factor_width": factor,
               "align_corners": corners}  # fmt: skip
    found = evaluate("upsample_bilinear", {"x": x}, options)
    wanted = x.astype(np.float64)
    for axis, size in ((2, height), (3, width)):
        count = size * factor
        places = np.arange(count) * (size - 1) / (count - 1) if corners else (
            np.arange(count) + 0.5) / factor - 0.5  # fmt: skip
        places = places.clip(0, size - 1)
        low = np.floor(places).astype(int).clip(0, size - 2)
        share = (places - low).reshape([-1 if a == axis else 1 for a in range(4)])
        wanted = wanted.take(low, axis) * (1 - share) + wanted.take(low + 1, axis) * share
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
