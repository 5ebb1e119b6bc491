"""Limits on what a package may allocate and how long its loops may go on."""

from __future__ import annotations

import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from hostile import edit, operation, refused

from entracte.reference import Limits, Model, PredictionError, load

COLUMN, ROW = np.zeros((40_000, 1), np.float32), np.zeros((1, 40_000), np.float32)


def table(x, y):
    return mb.add(x=x, y=y)


def outer(x, y):
    return mb.matmul(x=x, y=y)


def attended(x, y):
    """No result is large, but the scores between the two are."""
    flat = mb.reshape(x=y, shape=[40_000, 1])
    query = mb.expand_dims(x=x, axes=[0])
    key = mb.expand_dims(x=flat, axes=[0])
    mask = mb.const(val=np.zeros((1, 40_000), bool))
    return mb.scaled_dot_product_attention(query=query, key=key, value=key, attn_mask=mask)


@pytest.mark.parametrize("build", [table, outer, attended])
def test_small_inputs_that_make_a_large_tensor(make, build):
    """6 GB from 160 kB of inputs. Neither what is declared nor the inputs themselves are large."""
    path = make.mil(build, [((40_000, 1), "fp32"), ((1, 40_000), "fp32")], 18)

    def lie(block):
        for op in block.operations:
            for output in op.outputs:
                dims = output.type.tensorType.dimensions
                if np.prod([d.constant.size for d in dims]) > 1e6:
                    dims[0].constant.size = 1

    kind = {"table": "add", "outer": "matmul"}.get(build.__name__, "scaled_dot_product_attention")
    edit(path, lie)
    refused(path, {"x0": COLUMN, "x1": ROW}, f"{kind}: would make a tensor of", "1 GiB", kind)


def test_a_declared_tensor_beyond_the_limit(make):
    path = make.mil(table, [((40_000, 1), "fp32"), ((1, 40_000), "fp32")])
    refused(path, {}, "declares a tensor of 5.96 GiB", "Limits(tensor_bytes=...)")
    small = Limits(tensor_bytes=1000)
    path = make.mil(lambda x: mb.exp(x=x), [((300,), "fp32")])
    refused(path, {}, "declares a tensor of 1.17 KiB", "1000 B", limits=small)
    with Model(path, limits=Limits(tensor_bytes=1200)) as model:
        model.predict({"x0": np.zeros(300, np.float32)})


def test_the_inputs_that_are_given_justify_more(make):
    """1 MiB of input allows 1024 times as much, and 64 KiB more for the file."""

    def build(x):
        return mb.reduce_max(x=mb.add(x=x, y=mb.transpose(x=x, perm=[1, 0])), axes=[0, 1])

    path = make.mil(build, [((18_000, 1), "fp32")])
    message = refused(path, {"x0": COLUMN[:18_000]})
    assert "1.21 GiB" in message and "1 GiB are allowed" in message
    wide = make.mil(lambda x, y: build(x), [((18_000, 1), "fp32"), ((64, 1024, 16), "fp32")])
    with Model(wide) as model:
        guard = model._loaded._guard
        with guard.call(4 << 20):
            assert guard._bytes > 1024 * (4 << 20)


def test_many_tensors_that_are_each_allowed(make):
    def build(x):
        return tuple(mb.add(x=x, y=float(i)) for i in range(1, 13))

    path = make.mil(build, [((1000,), "fp32")])
    x = np.zeros(1000, np.float32)
    # With the input, the ninth of 4000 bytes is the first beyond eight times the limit.
    refused(path, {"x0": x}, "live tensors to 35.2 KiB", limits=Limits(tensor_bytes=4000))
    with Model(path, limits=Limits(tensor_bytes=6500)) as model:
        model.predict({"x0": x})


def test_a_state_and_a_list_beyond_the_limit(make):
    def build(x):
        ls = mb.make_list(init_length=1, dynamic_length=True, elem_shape=(3,), dtype="fp32")
        ls = mb.list_write(ls=ls, index=mb.cast(x=mb.reduce_max(x=x), dtype="int32"), value=x)
        return mb.list_read(ls=ls, index=0)

    path = make.mil(build, [((3,), "fp32")])
    with Model(path) as model:
        model.predict({"x0": np.full(3, 5, np.float32)})
        with pytest.raises(PredictionError, match="list_write.*the list would have"):
            model.predict({"x0": np.full(3, 1e9, np.float32)})


def test_a_shape_that_depends_on_values_is_looked_at_in_every_call(make):
    """The second call has the shapes of the first, and forty thousand times its result."""

    def build(x):
        places = mb.cast(x=mb.non_zero(x=x), dtype="fp32")
        return mb.reduce_max(x=mb.matmul(x=places, y=places, transpose_y=True), axes=[0, 1])

    path = make.mil(build, [((40_000,), "fp32")])
    few, many = np.zeros(40_000, np.float32), np.ones(40_000, np.float32)
    few[:3] = 1
    with Model(path) as model:
        model.predict({"x0": few})
        with pytest.raises(PredictionError, match="matmul: would make a tensor of 5.96 GiB"):
            model.predict({"x0": many})


def test_a_result_that_is_not_what_is_declared(make):
    path = make.mil(lambda x: mb.exp(x=mb.tile(x=x, reps=[4])), [((3,), "fp32")])

    def lie(block):
        operation(block, "tile").outputs[0].type.tensorType.dimensions[0].constant.size = 6

    edit(path, lie)
    refused(path, {"x0": np.zeros(3, np.float32)}, r"tile: declares fp32 (6,)", "(12,)")


def test_a_rehearsal_changes_nothing(make):
    """Random draws, states and lists are as without limits."""

    def build(x):
        noise = mb.random_normal(shape=[4, 3], seed=5)
        return mb.add(x=noise, y=x), mb.tile(x=x, reps=[2])

    path = make.mil(build, [((3,), "fp32")])
    x = {"x0": np.ones(3, np.float32)}
    with load(path) as trusted, Model(path) as model:
        for _ in range(2):
            for one, other in zip(
                trusted.predict(x).values(), model.predict(x).values(), strict=True
            ):
                np.testing.assert_array_equal(one.numpy(), other)


def test_loops_inside_loops_share_one_count(make):
    """A thousand times a thousand would be a million; the count stops both at a hundred."""

    def inner(v):
        again = mb.while_loop(
            _cond=lambda w: mb.less(x=mb.reduce_max(x=w), y=1e3),
            _body=lambda w: mb.add(x=w, y=1.0),
            loop_vars=(mb.mul(x=v, y=0.0),),
        )
        return mb.add(x=v, y=mb.mul(x=again, y=1e-3))

    def build(x):
        return mb.while_loop(
            _cond=lambda v: mb.less(x=mb.reduce_max(x=v), y=1e3), _body=inner, loop_vars=(x,)
        )

    path = make.mil(build, [((3,), "fp32")])
    one = {"x0": np.ones(3, np.float32)}
    refused(path, one, "while_loop", "100 iterations", limits=Limits(iterations=100))
