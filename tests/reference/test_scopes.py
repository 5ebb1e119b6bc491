"""What a name means where: inside and behind blocks, and weights compressed twice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from direct import constant

from entracte.reference import PackageError, mil
from entracte.reference.options import Options
from entracte.reference.prepare import prepare
from entracte.reference.weights import Weights

VECTOR = mil.TensorType("fp32", (3,))
X = np.array([1, -2, 3], np.float32)


def operation(kind, name, dtype="fp32", blocks=(), **inputs):
    """An operation with one output of its own name; its inputs are names or values."""
    given = {k: (v if isinstance(v, (str, mil.Value)) else constant(v),) for k, v in inputs.items()}
    out = mil.Named(name, mil.TensorType(dtype, (None,), ranked=False))
    return mil.Operation(kind, name, given, (out,), blocks)


def run(operations, out, lazy=True):
    """The result of a function of `x` and `flag` for X and true."""
    inputs = (mil.Named("x", VECTOR), mil.Named("flag", mil.TensorType("bool", ())))
    function = mil.Function("main", inputs, 18, mil.Block((), (out,), tuple(operations)))
    program = mil.Program("memory", "memory", {"main": function}, {}, "main")
    options = Options("hybrid", strict=False, lazy=lazy)
    code = prepare(program, function, Weights(program, True), options).code
    return code([torch.from_numpy(X), torch.tensor(True)]).numpy()


def block(*operations):
    return mil.Block((), (operations[-1].name,), operations)


def branches():
    """A condition whose blocks have a constant `c` of their own, 5 and 7."""
    return [
        block(operation("const", "c", val=value), operation("mul", f"p{value}", x="x", y="c"))
        for value in (5.0, 7.0)
    ]


def test_an_inner_constant_hides_the_outer_one_only_inside():
    found = run(
        [
            operation("const", "c", val=2.0),
            operation("cond", "inner", pred="flag", blocks=tuple(branches())),
            operation("mul", "outer", x="x", y="c"),
            operation("add", "y", x="inner", y="outer"),
        ],
        "y",
    )
    assert np.array_equal(found, X * 5 + X * 2)


def test_what_only_a_block_defines_is_not_there_behind_it():
    operations = [
        operation("cond", "inner", pred="flag", blocks=tuple(branches())),
        operation("mul", "y", x="inner", y="c"),
    ]
    with pytest.raises(PackageError, match="operation 'y': reads 'c', which nothing before it"):
        run(operations, "y")


@pytest.mark.parametrize("lazy", [True, False])
def test_a_weight_whose_scale_is_compressed_too(lazy):
    def stored(array, dtype):
        return mil.Value(mil.TensorType(dtype, array.shape), data=array.tobytes())

    steps = np.array([2, 3, 4], np.int8)
    data = np.array([10, 20, -30], np.int8)
    found = run(
        [
            operation("constexpr_blockwise_shift_scale", "scale", data=stored(steps, "int8"),
                      scale=stored(np.array([0.5], np.float32), "fp32")),
            operation("constexpr_blockwise_shift_scale", "w", data=stored(data, "int8"),
                      scale="scale"),
            operation("mul", "y", x="x", y="w"),
        ],
        "y", lazy,
    )  # fmt: skip
    assert np.array_equal(found, X * (data * (steps * np.float32(0.5))))
