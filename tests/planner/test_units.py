"""What the Neural Engine suits: the published constraints, one by one; a unit for each chunk."""

from dataclasses import replace

import pytest

from entracte.decide.units import unit_of, unsuited
from entracte.ir import SUITED, Chunk, DType, Port, Stage, StageKind, Weight
from tests.planner.plans import make_target
from tests.planner.test_partition import graph, op

TARGET = replace(make_target(10**6), compute_unit="cpuAndGPU")
STAGE = Stage(name="s", kind=StageKind.GRAPH, op="toy", compute_unit=SUITED)
LINEAR = op("a", "x", weights=("w",))
SPACE = replace(op("b", "a", weights=("k",)), kind="convolution")
PLAIN = replace(op("c", "b", weights=("f",)), kind="conv2d")
WEIGHTS = (
    Weight("w", (8, 8), 1), Weight("k", (8, 8, 3, 3, 3), 1), Weight("f", (8, 8, 3, 3), 1),
)  # fmt: skip


def port(*shape):
    return Port("x", shape, DType.FP16)


def chunk(start, stop, *ports):
    return Chunk(
        id="c", graph="s", start=start, stop=stop, inputs=ports or (port(1, 8),), outputs=(),
        weight_bytes=1, activation_bytes=1, flops=1, moved_bytes=1,
    )  # fmt: skip


@pytest.fixture
def measured():
    return replace(graph(ops=(LINEAR, SPACE, PLAIN), outputs=("c",)), weights=WEIGHTS, values=())


def test_each_chunk_has_a_unit_of_its_own(measured):
    """Only the one with the 3-D convolution stays where the target is."""
    units = [unit_of(STAGE, measured, chunk(n, n + 1), TARGET) for n in range(3)]
    assert units == ["cpuAndNeuralEngine", "", "cpuAndNeuralEngine"]
    assert unit_of(STAGE, measured, chunk(0, 3), TARGET) == ""
    # What is said is done, whatever suits.
    said = replace(STAGE, compute_unit="cpuOnly")
    assert unit_of(said, measured, chunk(1, 2), TARGET) == "cpuOnly"
    assert unit_of(replace(STAGE, compute_unit=""), measured, chunk(0, 1), TARGET) == ""
    native = replace(TARGET, compute_unit="reference")
    assert unit_of(STAGE, measured, chunk(0, 1), native) == ""


@pytest.mark.parametrize(
    ("shape", "suits"),
    [
        ((1, 65536, 64, 64), True),
        ((1, 65537, 64, 64), False),
        ((1, 8, 16384, 64), True),
        ((1, 8, 64, 16385), False),
        ((1, 16385), False),
        ((4096, 16384), True),
    ],
)
def test_the_largest_axes(measured, shape, suits):
    assert (unsuited(STAGE, measured, chunk(0, 1, port(*shape))) == "") == suits


def test_what_does_not_suit_is_told(measured):
    fine = replace(STAGE, precision="fp32")
    assert unsuited(fine, measured, chunk(0, 1)) == "fp32: it computes in fp16"
    assert unsuited(STAGE, measured, chunk(1, 2)).startswith("3-D convolutions")
    # A value inside that could cross a cut counts too.
    inner = replace(measured, values=(replace(port(1, 20000), name="a"),))
    assert unsuited(STAGE, inner, chunk(0, 1)) == "a is 1x20000"
