"""Single operations against torch and numpy, through packages built with the MIL builder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from coremltools.converters.mil.mil import Builder as mb
from packages import Maker, relative, run
from torch.nn import functional

RNG = np.random.default_rng(0)


def data(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def tensor(value: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(value)


UNARY = {
    "abs": np.abs, "acos": np.arccos, "asin": np.arcsin, "atan": np.arctan, "atanh": np.arctanh,
    "ceil": np.ceil, "cos": np.cos, "cosh": np.cosh, "exp": np.exp, "exp2": np.exp2,
    "floor": np.floor, "round": np.round, "sign": np.sign, "sin": np.sin, "sinh": np.sinh,
    "square": np.square, "tan": np.tan, "tanh": np.tanh,
    "erf": lambda x: torch.erf(tensor(x)).numpy(),
    "relu": lambda x: np.maximum(x, 0), "relu6": lambda x: np.clip(x, 0, 6),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "silu": lambda x: x / (1 + np.exp(-x)),
    "softplus": lambda x: np.log1p(np.exp(x)), "softsign": lambda x: x / (1 + np.abs(x)),
}  # fmt: skip


def _all_at_once(folder, table, build, *values) -> dict[str, np.ndarray]:
    """Every operation of a table as one output of one package: packages are slow to make."""
    kinds = [(v.shape, "fp32") for v in values]
    path = Maker(folder).mil(lambda *v: tuple(build(n, *v) for n in sorted(table)), kinds)
    return dict(zip(sorted(table), run(path, *values), strict=True))


@pytest.fixture(scope="module")
def unary(tmp_path_factory):
    x = np.clip(data(2, 3, 4), -0.95, 0.95)
    folder = tmp_path_factory.mktemp("unary")
    return x, _all_at_once(folder, UNARY, lambda n, x: getattr(mb, n)(x=x), x)


@pytest.mark.parametrize("name", sorted(UNARY))
def test_unary(name, unary):
    x, found = unary
    np.testing.assert_allclose(found[name], UNARY[name](x), rtol=2e-6, atol=1e-6)


BINARY = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "real_div": np.divide,
    "maximum": np.maximum, "minimum": np.minimum, "pow": np.power,
    "mod": np.mod, "floor_div": np.floor_divide,
}  # fmt: skip


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    x, y = np.abs(data(2, 1, 4)), data(3, 1) + 3
    folder = tmp_path_factory.mktemp("binary")
    return x, y, _all_at_once(folder, BINARY, lambda n, x, y: getattr(mb, n)(x=x, y=y), x, y)


@pytest.mark.parametrize("name", sorted(BINARY))
def test_binary_broadcasts(name, binary):
    x, y, found = binary
    np.testing.assert_allclose(found[name], BINARY[name](x, y), rtol=2e-6, atol=1e-6)


REDUCE = {
    "reduce_sum": np.sum, "reduce_mean": np.mean, "reduce_max": np.max, "reduce_min": np.min,
    "reduce_prod": np.prod, "reduce_l1_norm": lambda x, **k: np.abs(x).sum(**k),
    "reduce_l2_norm": lambda x, **k: np.sqrt((x**2).sum(**k)),
    "reduce_sum_square": lambda x, **k: (x**2).sum(**k),
    "reduce_log_sum_exp": lambda x, **k: np.log(np.exp(x).sum(**k)),
    "reduce_log_sum": lambda x, **k: np.log(x.sum(**k)),
}  # fmt: skip


@pytest.mark.parametrize("axes, keep", [(None, False), ([1], True), ([-1, 0], False)])
def test_reduce(axes, keep, tmp_path):
    x = np.abs(data(2, 3, 4)) + 0.1

    def build(name, x):
        return getattr(mb, name)(x=x, axes=axes, keep_dims=keep)

    axis = tuple(axes) if axes is not None else None
    for name, found in _all_at_once(tmp_path, REDUCE, build, x).items():
        wanted = REDUCE[name](x, axis=axis, keepdims=keep)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, err_msg=name)


SLICES = [
    ({"begin": [0, 1, 2], "end": [2, 3, 5]}, np.s_[0:2, 1:3, 2:5]),
    ({"begin": [0, -1, 4], "end": [2, -4, 0], "stride": [1, -1, -2]}, np.s_[0:2, -1:-4:-1, 4:0:-2]),
    (
        {
            "begin": [1, 0, 0], "end": [0, 0, 0], "squeeze_mask": [True, False, False],
            "begin_mask": [False, True, True], "end_mask": [False, True, True],
        },
        np.s_[1],
    ),
    (
        {
            "begin": [-1, 0, 3], "end": [0, 0, 0], "squeeze_mask": [True, False, True],
            "begin_mask": [False, True, False], "end_mask": [False, True, False],
            "stride": [1, -1, 1],
        },
        np.s_[-1, ::-1, 3],
    ),
]  # fmt: skip


@pytest.mark.parametrize("arguments, index", SLICES)
def test_slice_by_index(arguments, index, make):
    x = data(2, 4, 6)
    path = make.mil(lambda x: mb.slice_by_index(x=x, **arguments), [(x.shape, "fp32")])
    np.testing.assert_array_equal(run(path, x)[0], x[index])


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate"])
def test_pad_of_the_last_axes(mode, make):
    x = data(2, 3, 4, 5)
    extra = {"constant_val": 7.0} if mode == "constant" else {}
    build = lambda x: mb.pad(x=x, pad=[1, 2, 2, 1], mode=mode, **extra)  # noqa: E731
    (found,) = run(make.mil(build, [(x.shape, "fp32")]), x)
    names = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}
    options = {"constant_values": 7.0} if mode == "constant" else {}
    wanted = np.pad(x, [(0, 0), (0, 0), (1, 2), (2, 1)], mode=names[mode], **options)
    np.testing.assert_array_equal(found, wanted)


def test_pad_repeats_the_time_axis_of_a_video(make):
    x = data(1, 2, 3, 4, 4)
    pad = [0, 0, 0, 0, 2, 0, 0, 0, 0, 0]
    path = make.mil(lambda x: mb.pad(x=x, pad=pad, mode="replicate"), [(x.shape, "fp32")])
    wanted = np.pad(x, [(0, 0), (0, 0), (2, 0), (0, 0), (0, 0)], mode="edge")
    # Core ML refuses this pad, and so does the strict device.
    np.testing.assert_array_equal(run(path, x, strict=False)[0], wanted)


@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_conv_with_uneven_pads_strides_and_groups(spatial, make):
    x, weight, bias = data(2, 4, *[7] * spatial), data(6, 2, *[3] * spatial), data(6)
    pad = [1, 2] * spatial
    build = lambda x: mb.conv(  # noqa: E731
        x=x, weight=weight, bias=bias, strides=[2] * spatial, pad_type="custom", pad=pad, groups=2
    )
    (found,) = run(make.mil(build, [(x.shape, "fp32")]), x)
    conv = [functional.conv1d, functional.conv2d, functional.conv3d][spatial - 1]
    padded = functional.pad(tensor(x), pad)
    wanted = conv(padded, tensor(weight), tensor(bias), stride=2, groups=2)
    assert relative(found, wanted) < 1e-6


@pytest.mark.parametrize("pad_type", ["same", "same_lower"])
def test_conv_same_keeps_the_ceiling_of_the_size(pad_type, make):
    x, weight = data(1, 2, 7, 8), data(3, 2, 4, 3)
    build = lambda x: mb.conv(x=x, weight=weight, strides=[2, 2], pad_type=pad_type)  # noqa: E731
    (found,) = run(make.mil(build, [(x.shape, "fp32")]), x)
    # Totals: 3 rows (4 - 1 + 2 * 3 - 6), 1 column; the odd one goes behind, or before.
    pads = (0, 1, 1, 2) if pad_type == "same" else (1, 0, 2, 1)
    wanted = functional.conv2d(functional.pad(tensor(x), pads), tensor(weight), stride=2)
    assert relative(found, wanted) < 1e-6


@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_conv_transpose_crops(spatial, make):
    x, weight, bias = data(1, 4, *[5] * spatial), data(4, 3, *[4] * spatial), data(3)
    build = lambda x: mb.conv_transpose(  # noqa: E731
        x=x, weight=weight, bias=bias, strides=[2] * spatial, pad_type="custom",
        pad=[1, 2] * spatial,
    )  # fmt: skip
    (found,) = run(make.mil(build, [(x.shape, "fp32")]), x)
    names = [functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d]
    full = names[spatial - 1](tensor(x), tensor(weight), tensor(bias), stride=2)
    index = (slice(None), slice(None)) + (slice(1, -2),) * spatial
    assert relative(found, full[index]) < 1e-6


@pytest.mark.parametrize("ios", [15, 16, 17])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather(axis, ios, make):
    x, indices = data(3, 4, 5), np.array([[2, 0], [1, 1]], dtype=np.int32)
    build = lambda x, i: mb.gather(x=x, indices=i, axis=axis)  # noqa: E731
    path = make.mil(build, [(x.shape, "fp32"), (indices.shape, "int32")], ios)
    np.testing.assert_array_equal(run(path, x, indices)[0], np.take(x, indices, axis))


def test_gather_in_step_over_batches(make):
    x, indices = data(2, 3, 4, 5), np.array([[1, 3], [0, 2]], dtype=np.int32)
    build = lambda x, i: mb.gather(x=x, indices=i, axis=2, batch_dims=1)  # noqa: E731
    path = make.mil(build, [(x.shape, "fp32"), (indices.shape, "int32")])
    wanted = np.stack([np.take(x[b], indices[b], 1) for b in range(2)])
    np.testing.assert_array_equal(run(path, x, indices)[0], wanted)


SCATTER = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
           "max": np.maximum, "min": np.minimum, "update": None}  # fmt: skip


@pytest.mark.parametrize("mode", sorted(SCATTER))
def test_scatter(mode, make):
    x, updates = data(4, 3), data(2, 3) + 2
    build = lambda x, u: mb.scatter(  # noqa: E731
        data=x, indices=np.array([2, 0], np.int32), updates=u, axis=0, mode=mode
    )
    (found,) = run(make.mil(build, [(x.shape, "fp32"), (updates.shape, "fp32")]), x, updates)
    wanted = x.copy()
    ufunc = SCATTER[mode] or (lambda old, new: new)
    wanted[[2, 0]] = ufunc(wanted[[2, 0]], updates)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_layer_norm_over_a_middle_axis(make):
    x, gamma, beta = data(2, 5, 3), data(5), data(5)
    build = lambda x: mb.layer_norm(x=x, axes=[1], gamma=gamma, beta=beta, epsilon=1e-3)  # noqa: E731
    (found,) = run(make.mil(build, [(x.shape, "fp32")]), x)
    wanted = functional.layer_norm(
        tensor(x).transpose(1, 2), (5,), tensor(gamma), tensor(beta), 1e-3
    )
    assert relative(found, wanted.transpose(1, 2)) < 1e-6


def test_attention_masks(make):
    q, k, v, mask = data(1, 2, 3, 4), data(1, 2, 5, 4), data(1, 2, 5, 6), data(1, 1, 3, 5)
    build = lambda q, k, v, m: mb.scaled_dot_product_attention(  # noqa: E731
        query=q, key=k, value=v, attn_mask=m
    )
    kinds = [(a.shape, "fp32") for a in (q, k, v, mask)]
    (found,) = run(make.mil(build, kinds, 18), q, k, v, mask)
    wanted = functional.scaled_dot_product_attention(*map(tensor, (q, k, v, mask)))
    assert relative(found, wanted) < 1e-6

    kept = mask > -0.5
    kept[0, 0, 1] = True
    boolean = lambda q, k, v, m: mb.scaled_dot_product_attention(  # noqa: E731
        query=q, key=k, value=v, attn_mask=mb.cast(x=m, dtype="bool")
    )
    (found,) = run(make.mil(boolean, kinds, 18), q, k, v, kept.astype(np.float32))
    wanted = functional.scaled_dot_product_attention(*map(tensor, (q, k, v, kept)))
    assert relative(found, wanted) < 1e-6


@pytest.mark.parametrize("interleave", [False, True])
def test_concat(interleave, make):
    x, y = data(2, 3, 4), data(2, 3, 4)
    build = lambda x, y: mb.concat(values=[x, y], axis=1, interleave=interleave)  # noqa: E731
    (found,) = run(make.mil(build, [(x.shape, "fp32"), (y.shape, "fp32")]), x, y)
    wanted = np.concatenate([x, y], 1)
    wanted = np.stack([x, y], 2).reshape(2, 6, 4) if interleave else wanted
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("factor", [2, 3])
def test_nearest_upsampling_of_five_axes(factor, make):
    x = data(1, 2, 3, 4, 5)
    build = lambda x: mb.upsample_nearest_neighbor(  # noqa: E731
        x=x, scale_factor_height=factor, scale_factor_width=2
    )
    wanted = x.repeat(factor, -2).repeat(2, -1)
    np.testing.assert_array_equal(run(make.mil(build, [(x.shape, "fp32")]), x)[0], wanted)


def test_while_loop_and_cond(make):
    def build(x, n):
        n = mb.squeeze(x=n, axes=[0])
        start = mb.const(val=np.int32(0))
        _, total = mb.while_loop(
            _cond=lambda i, t: mb.less(x=i, y=n),
            _body=lambda i, t: (mb.add(x=i, y=1), mb.add(x=t, y=x)),
            loop_vars=(start, mb.const(val=np.zeros(3, np.float32))),
        )
        big = mb.greater(x=n, y=3)
        return mb.cond(pred=big, _true_fn=lambda: mb.mul(x=total, y=2.0),
                       _false_fn=lambda: mb.identity(x=total))  # fmt: skip

    x = data(3)
    path = make.mil(build, [((3,), "fp32"), ((1,), "int32")])
    np.testing.assert_allclose(run(path, x, np.int32([2]))[0], 2 * x, rtol=1e-6)
    np.testing.assert_allclose(run(path, x, np.int32([5]))[0], 10 * x, rtol=1e-6)


def test_scalar_results_have_no_axes(make):
    path = make.mil(lambda x: mb.reduce_sum(x=x, axes=[0]), [((4,), "fp32")])
    (found,) = run(path, np.ones(4, np.float32))
    assert found.shape == () and found == 4
