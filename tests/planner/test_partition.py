"""What a chunk needs, from its operations: sums on paper against `decide.partition`."""

from dataclasses import replace

import pytest

from entracte.cost import emitted_facts, predicted_facts
from entracte.decide.partition import Measured, cut_stage
from entracte.ir import Bundle, Cut, DType, Memory, Op, Port, StageGraph, Variant, Weight
from tests.planner.plans import make_target
from tests.planner.programs import packages


def value(name: str, size_bytes: int) -> Port:
    return Port(name, (size_bytes // 2,), DType.FP16)


SIZES = {"x": 100, "a": 40, "b": 40, "c": 40, "d": 60, "e": 40, "f": 200}


def op(name: str, *inputs: str, weights=(), workspace: int = 0, **how) -> Op:
    return Op(name, "k", inputs, tuple(weights), 1, SIZES[name], workspace, False, **how)


OPS = (
    op("a", "x", weights=("w0",)),
    op("b", "a", memory=Memory.SHARED),
    op("c", "b", memory=Memory.SHARED),
    op("d", "x", weights=("w1", "w0")),
    op("e", "c", "d"),
    op("f", "e", weights=("w2",)),
)
"""c is a view of a view of a; e is the last to read it."""


def graph(ops=OPS, outputs=("f",), cuts=()) -> StageGraph:
    return StageGraph(
        name="g", stage="g", part="body", inputs=(value("x", 100),), ops=ops,
        outputs=tuple(value(n, SIZES[n]) for n in outputs),
        values=tuple(value(n, s) for n, s in SIZES.items()),
        weights=(Weight("w0", (1,), 1000), Weight("w1", (1,), 300), Weight("w2", (1,), 7)),
        cuts=tuple(cuts),
    )  # fmt: skip


def peak(ops=OPS, outputs=("f",), start: int = 0, stop: int | None = None) -> int:
    measured = Measured(graph(ops, outputs))
    return measured.chunk(start, len(ops) if stop is None else stop, 0).activation_bytes


def test_the_peak_by_hand():
    # x stays; at e: a, which c views, and d and e; at f: e and f.
    assert peak(stop=5, outputs=("e",)) == 100 + 40 + 60 + 40
    assert peak() == 100 + 40 + 200


def test_an_output_stays_to_the_end():
    assert peak(outputs=("f", "d")) == 100 + 60 + 40 + 200
    # A view that is an output keeps what it views.
    assert peak(outputs=("f", "c")) == 100 + 40 + 40 + 200


def test_scratch_counts_while_its_operation_runs():
    ops = (*OPS[:3], replace(OPS[3], workspace_bytes=500), *OPS[4:])
    assert peak(ops) == 100 + 40 + 60 + 500


def test_the_second_chunk_gets_what_crosses_the_cut():
    """From d on: a's view c crosses, and x is still read."""
    measured = Measured(graph())
    first, second = measured.chunk(0, 3, 0), measured.chunk(3, 6, 1)
    assert [p.name for p in first.outputs] == ["c"]
    assert sorted(p.name for p in second.inputs) == ["c", "x"]
    assert second.activation_bytes == 100 + 40 + max(60 + 40, 40 + 200)
    assert (first.weight_bytes, second.weight_bytes) == (1000, 1000 + 300 + 7)


def test_weights_count_where_they_are_first_used():
    assert Measured(graph()).position_weights == [0, 1000, 1000, 1000, 1300, 1300, 1307]


@pytest.mark.parametrize(("limit", "sizes"), [(100, [100] * 4), (200, [200] * 2), (399, [200] * 2)])
def test_chunks_keep_the_limit(limit, sizes):
    names = "abde"
    ops = tuple(
        op(n, p, weights=(f"w{k}",)) for k, (n, p) in enumerate(zip(names, "xabd", strict=True))
    )
    stack = replace(
        graph(ops, ("e",), [Cut(k, (names[k - 1],), 40) for k in (1, 2, 3)]),
        weights=tuple(Weight(f"w{k}", (1,), 100) for k in range(4)),
    )
    made = cut_stage(Measured(stack), limit, make_target(10**6), 1)
    assert [c.weight_bytes for c in made] == sizes


def test_the_larger_of_traced_and_emitted_counts():
    chunk = Measured(graph()).chunk(0, 6, 0)
    target = make_target(10**6)
    assert predicted_facts(chunk, target).activation_bytes == 340
    for emitted, counted in ((339, 340), (900, 900)):
        package = replace(packages((chunk,))[0], activation_bytes=emitted, weight_bytes=11)
        (facts,) = emitted_facts((chunk,), Bundle((package,)), target)
        assert (facts.activation_bytes, facts.weight_bytes) == (counted, 11)


def test_the_hungriest_function_counts():
    chunk = Measured(graph()).chunk(0, 6, 0)
    variant = Variant(name="v", start=0, stop=6, activation_bytes=999, flops=1, moved_bytes=1)
    hungry = replace(chunk, variants=(variant,))
    assert predicted_facts(hungry, make_target(10**6)).activation_bytes == 999
