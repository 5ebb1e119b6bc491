"""One set of weights, two stage graphs: where they are cut together, and where they are not."""

from dataclasses import replace

import pytest

from entracte.check.proof import check
from entracte.clock.predict import predict
from entracte.decide.align import aligned, rising
from entracte.decide.decide import decide
from entracte.decide.partition import Measured
from entracte.decide.shared import measure
from entracte.errors import DoesNotFit
from entracte.ir import (
    Cut,
    DType,
    Input,
    Loop,
    MeasuredPipeline,
    Op,
    Output,
    Pipeline,
    Port,
    Stage,
    StageGraph,
    StageKind,
    Weight,
)
from entracte.schedule.choose import make_schedule
from tests.planner.plans import make_target
from tests.planner.programs import ONLINE, OPTIMAL


def port(name: str, elements: int = 10) -> Port:
    return Port(name, (elements,), DType.FP16)


def graph(stage: str, weights: str, elements: int = 10, **size: int) -> StageGraph:
    """A chain of operations, each with the weights named by a letter (`.` is none), cut anywhere;
    every value has `elements`."""
    size = {w: 1000 for w in weights if w != "."} | size
    names = [f"{stage}{i}" for i in range(len(weights))]
    inputs = [f"{stage}_in", *names[:-1]]
    ops = tuple(
        Op(n, "k", (i,), () if w == "." else (w,), 8, 2 * elements, 0, False)
        for n, i, w in zip(names, inputs, weights, strict=True)
    )
    return StageGraph(
        name=stage, stage=stage, part="body", inputs=(port(inputs[0], elements),),
        outputs=(port(names[-1], elements),), ops=ops,
        values=tuple(port(n, elements) for n in names),
        weights=tuple(Weight(w, (s // 2,), s) for w, s in sorted(size.items())),
        cuts=tuple(Cut(i, (names[i - 1],), 2 * elements) for i in range(1, len(ops))),
    )  # fmt: skip


def source(main: StageGraph, other: StageGraph, iterations: int = 1) -> MeasuredPipeline:
    """`main` runs once, then `other` with the weights of `main`, in a loop if it is repeated."""
    stages = (
        Stage(name="a", kind=StageKind.GRAPH, op="a", inputs=(("a_in", "x"),)),
        Stage(
            name="b", kind=StageKind.GRAPH, op="b", inputs=(("b_in", "go.z"),), weights_of="a"
        ),
    )  # fmt: skip
    made, first = f"b.{other.outputs[0].name}", f"a.{main.outputs[0].name}"
    loop = Loop(name="go", count=iterations, stages=("b",), state=(("z", first, made),))
    ports = {"x": port("x", 10), first: main.outputs[0], made: other.outputs[0]}
    ports["go.z"] = replace(main.outputs[0], name="z")
    return MeasuredPipeline(
        Pipeline(
            name="p", title="p", weights="random:0",
            inputs=(Input("x", "tensor", 0.0, port("x", 10)),), stages=stages, loops=(loop,),
            outputs=(Output("y", "tensor", ("go.z",), 0),),
        ),
        {"a": (main,), "b": (other,)},
        ports,
    )  # fmt: skip


# ---------------------------------------------------------------- alike


def test_cuts_are_alike_where_the_same_weights_lie_on_both_sides():
    a, b = graph("a", ".u.vw"), graph("b", "uv..w")
    # Behind u, before v: at 2 or 3 here, at 1 there. Before w: at 4, and at 2, 3 or 4.
    assert aligned(a, b) == {0: 0, 2: 1, 3: 1, 4: 2, 5: 5}


def test_a_weight_that_is_used_at_both_ends_lies_on_both_sides():
    """As tied embeddings do."""
    assert aligned(graph("a", "uvu"), graph("b", "uvu")) == {0: 0, 1: 1, 2: 2, 3: 3}
    # Here the last u is used before v: after it no u is left.
    assert aligned(graph("a", "uvu"), graph("b", "uuv")) == {0: 0, 3: 3, 1: 1}


def test_another_order_has_no_cut_alike():
    assert aligned(graph("a", "uvw"), graph("b", "wvu")) == {0: 0, 3: 3}


def test_weights_that_only_one_has_do_not_count():
    assert aligned(graph("a", "utv"), graph("b", "uvs")) == {0: 0, 1: 1, 2: 1, 3: 3}


def test_of_cuts_that_are_alike_the_cheapest_stays():
    b = graph("b", "u..v")
    cheap = replace(b, cuts=(b.cuts[0], replace(b.cuts[1], size_bytes=2), b.cuts[2]))
    assert aligned(graph("a", "uv"), cheap)[1] == 2
    price = {1: 20, 2: 4, 3: 20}
    assert rising([aligned(graph("a", "u..v"), graph("b", "uv"))], price) == [2]


def test_every_chunk_has_operations_of_all_graphs():
    """Between the cuts 1 and 2 of the first graph the second has nothing."""
    assert rising([{0: 0, 1: 1, 2: 1, 3: 3}, {0: 0, 1: 1, 2: 2, 3: 3}], {1: 9, 2: 5}) == [1]


# ---------------------------------------------------------------- chunks


def test_a_chunk_measures_both_functions_and_holds_the_weights_of_both():
    a, b = graph("a", "uv", t=0), graph("b", "uvs", elements=3, s=50)
    together = Measured(replace(a, variants=(b,)))
    assert together.position_weights == [0, 1000, 2050]
    assert together.crossing_bytes == {1: 20 + 6}
    first, last = together.chunk(0, 1, 0), together.chunk(1, 2, 1)
    assert (first.weight_bytes, last.weight_bytes) == (1000, 1050)
    (theirs,) = last.others
    assert (theirs.name, theirs.graph, theirs.start, theirs.stop) == ("b", "b", 1, 3)
    assert last.ports_of("main") == ((port("a0"),), (port("a1"),))
    assert last.ports_of("b") == ((port("b0", 3),), (port("b2", 3),))
    # x, two results of 3 elements in fp16, the first of which is held.
    assert theirs.activation_bytes == 3 * 2 * 3
    assert theirs.flops == 16


def chunks_of(main: StageGraph, other: StageGraph, limit: int) -> dict[str, list[str]]:
    found = measure(source(main, other), limit)
    return {n: [v.graph.name for v, _ in m.others] for n, m in found.measured.items()}


def test_graphs_are_cut_together_where_limits_allow_it():
    assert chunks_of(graph("a", "uvw"), graph("b", "uvw"), 1000) == {"a": ["b"]}
    # Another order: as one chunk they are alike, in smaller ones they are not.
    assert chunks_of(graph("a", "uvw"), graph("b", "wvu"), 3000) == {"a": ["b"]}
    assert chunks_of(graph("a", "uvw"), graph("b", "wvu"), 2999) == {"a": [], "b": []}
    # Neither could be cut at all: it is no fault of the other.
    whole = replace(graph("a", "uvw"), cuts=()), replace(graph("b", "wvu"), cuts=())
    assert chunks_of(*whole, 1000) == {"a": ["b"]}


def test_less_than_half_in_common_is_not_shared():
    a = graph("a", "uvw")
    assert chunks_of(a, graph("b", "uv", elements=3), 9000) == {"a": ["b"]}
    assert chunks_of(a, graph("b", "u", elements=3), 9000) == {"a": [], "b": []}
    assert chunks_of(a, graph("b", "uvxyz", elements=3), 9000) == {"a": [], "b": []}


# ---------------------------------------------------------------- decided


@pytest.fixture
def decided():
    both = source(graph("a", "uvw"), graph("b", "uvw"), iterations=4)
    return decide(both, make_target(9000), OPTIMAL, 1000)


def test_calls_of_the_other_stage_use_its_function_of_the_same_chunks(decided):
    calls = [[(s.stage, s.chunk, s.function) for s in g.steps] for g in decided.program.segments]
    ids = ["a.00", "a.01", "a.02"]
    assert calls == [[("a", i, "main") for i in ids], [("b", i, "b") for i in ids]]
    b = decided.program.segments[1].steps[1]
    assert [(x.feature, x.tensor) for x in (*b.inputs, *b.outputs)] == [
        ("b0", "b.b0"),
        ("b1", "b.b1"),
    ]
    assert decided.program.call_counts == dict.fromkeys(ids, 5)


def test_what_stays_is_loaded_once_for_both_segments(decided):
    """By the online rule; gates load for each segment, and never a second copy beside the first."""
    workload = decided.workload
    online = replace(decided.schedule, driver="online")
    assert predict(workload, online).loads == 3
    gates = replace(decided.schedule, driver="gates")
    assert predict(workload, gates).loads == 6
    proof = check(workload.program, decided.facts, gates, budget_bytes=workload.budget_bytes)
    least = sum(f.weight_bytes for f in decided.facts)
    assert proof.peak_bytes <= least + 500


def test_two_stages_of_one_loop_call_the_same_chunks():
    """One after the other in every iteration: chunks that stay serve both, others are loaded for
    each, and no second copy lies beside the first."""
    a, b = graph("a", "uvw"), graph("b", "uvw", elements=7)
    stages = tuple(
        Stage(
            name=g.name, kind=StageKind.GRAPH, op=g.name, weights_of="" if g is a else "a",
            inputs=((f"{g.name}_in", f"go.{g.name}"),),
        )
        for g in (a, b)
    )  # fmt: skip
    state = (("a", "x", "a.a2"), ("b", "y", "b.b2"))
    ports = {"x": port("x"), "y": port("y", 7), "a.a2": a.outputs[0], "b.b2": b.outputs[0]}
    ports |= {"go.a": port("a"), "go.b": port("b", 7)}
    both = MeasuredPipeline(
        Pipeline(
            name="p", title="p", weights="random:0", stages=stages,
            inputs=tuple(Input(n, "tensor", 0.0, ports[n]) for n in "xy"),
            loops=(Loop(name="go", count=5, stages=("a", "b"), state=state),),
            outputs=(Output("z", "tensor", ("go.a",), 0),),
        ),
        {"a": (a,), "b": (b,)},
        ports,
    )  # fmt: skip
    loads = {}
    for memory in (5000, 2600, 1400):
        target = replace(make_target(memory), load_bandwidth=1e4, compute_flops=1e5)
        target = replace(target, memory_bandwidth=1e5)
        made = decide(both, target, OPTIMAL, 1000)
        assert [c.id for c in made.partition.chunks] == ["a.00", "a.01", "a.02"]
        for driver in ("gates", "online"):
            schedule = replace(made.schedule, driver=driver)
            loads[memory, driver] = predict(made.workload, schedule).loads
            proof = check(made.program, made.facts, schedule, budget_bytes=target.budget_bytes)
            assert proof.peak_bytes <= memory
    assert loads[5000, "gates"] == loads[5000, "online"] == 3
    assert loads[1400, "gates"] == loads[1400, "online"] == 30
    assert loads[2600, "online"] < 30
    # Copies of one function are loaded again for each stage: all that stays, twice an iteration.
    binding = replace(made.workload, reload_on_switch=True)
    roomy = replace(binding, budget_bytes=5000)
    kept = make_schedule(roomy, ONLINE)
    assert predict(roomy, kept).loads == 3 + 3 * (2 * 5 - 1)
    assert predict(binding, schedule).loads == loads[1400, "online"]


def test_where_only_finer_chunks_fit_they_are_cut_apart():
    """Only their ends are alike, so together they need all weights at once."""
    both = source(graph("a", "uvw"), graph("b", "wvu"))
    roomy = decide(both, make_target(4000), OPTIMAL)
    assert {c.id for c in roomy.partition.chunks} == {"a.00"}
    tight = decide(both, make_target(1500), OPTIMAL)
    assert {c.graph for c in tight.partition.chunks} == {"a", "b"}
    assert len(tight.partition.chunks) == 6
    with pytest.raises(DoesNotFit, match=r"b\.0\d|a\.0\d"):
        decide(both, make_target(900), OPTIMAL)
