"""Which chunks of a map go together over its slices: by fit first, then by time. Stages of numbers:
a chain of blocks, each of which may hand something on to the next slice."""

import re
from dataclasses import replace

import pytest

from entracte.check.proof import check
from entracte.decide.decide import decide
from entracte.errors import DoesNotFit
from entracte.ir import (
    Call,
    Cut,
    DType,
    Input,
    Map,
    MeasuredPipeline,
    Op,
    Output,
    Pipeline,
    Port,
    Slices,
    Stage,
    StageGraph,
    StageKind,
    Weight,
)
from entracte.program.groups import groups_of, pieces_of
from tests.planner.plans import make_target
from tests.planner.programs import OPTIMAL

KB = 1000
SLICES = 10


def port(name: str, elements: int) -> Port:
    return Port(name, (elements,), DType.FP32)


def chain(blocks: int, weight: int, between: int, carry: bool) -> StageGraph:
    """x -> b0 -> b1 ...; block k also makes d<k> of c<k>. `between` elements cross each cut."""
    ops, cuts, made = [], [], "x"
    for k in range(blocks):
        size, name = (4 if k + 1 == blocks else between), f"b{k}"
        reads = (made, f"c{k}") if carry else (made,)
        ops.append(Op(name, "linear", reads, (f"w{k}",), 10**6, 4 * size, 0, False))
        if carry:
            ops.append(Op(f"d{k}", "linear", reads, (), 1, 4 * 8, 0, False))
        made = name
        if k + 1 < blocks:
            cuts.append(Cut(len(ops), (name,), 4 * between))
    names = {"x": 4} | {f"b{k}": between for k in range(blocks)} | {made: 4}
    names |= {f"{n}{k}": 8 for k in range(blocks) for n in ("c", "d")} if carry else {}
    ports = {n: port(n, e) for n, e in names.items()}
    carried = [f"c{k}" for k in range(blocks)] if carry else []
    return StageGraph(
        name="dec",
        stage="dec",
        part="body",
        inputs=tuple(ports[n] for n in ["x", *carried]),
        outputs=tuple(ports[n] for n in [made, *(n.replace("c", "d") for n in carried)]),
        ops=tuple(ops),
        values=tuple(ports.values()),
        weights=tuple(Weight(f"w{k}", (weight,), weight) for k in range(blocks)),
        cuts=tuple(cuts),
    )


def source(graph: StageGraph, order: str = "auto", size: int = 4) -> MeasuredPipeline:
    carried = [p.name for p in graph.inputs if p.name.startswith("c")]
    last = graph.outputs[0].name
    carry = tuple((c, f"z{c}", c.replace("c", "d")) for c in carried)
    stage = Stage(
        name="dec",
        kind=StageKind.GRAPH,
        op="toy",
        inputs=(("x", "x"),),
        map=Map(ports=("x",), slices=(Slices(0, size, 0, size),), carry=carry, order=order),
    )
    zeros = [Input(f"z{c}", "tensor", 0.0, Port(f"z{c}", (8,), DType.FP32)) for c in carried]
    whole = Input("x", "tensor", None, port("x", 4 * SLICES))
    pipeline = Pipeline(
        name="toy",
        title="toy",
        weights="random:0",
        inputs=(whole, *zeros),
        stages=(stage,),
        loops=(),
        outputs=(Output("y", "tensor", (f"dec.{last}",), 0),),
    )
    ports = {i.name: i.port for i in pipeline.inputs if i.port is not None}
    ports |= {f"dec.{p.name}": p for p in graph.outputs}
    ports[f"dec.{last}"] = port(last, 4 * SLICES)
    return MeasuredPipeline(pipeline, {"dec": (graph,)}, ports)


def decided(budget: int, given: MeasuredPipeline, chunk_bytes: int | None = 100 * KB):
    made = decide(given, make_target(budget), OPTIMAL, chunk_bytes)
    # What was chosen is safe by the checker, which shares nothing with the planner.
    check(made.program, made.facts, made.schedule, budget_bytes=budget)
    return made


@pytest.mark.parametrize("carry", [False, True])
def test_small_groups_where_they_fit(carry):
    """Every chunk is read once, though only two of four fit at a time."""
    made = decided(250 * KB, source(chain(4, 100 * KB, 25, carry)))
    assert made.grouping == {"dec": (1, 1, 1, 1)}
    assert [g.sliced for g in made.program.segments] == ([True] * 4 if carry else [False])
    assert len(made.schedule.loads) == 4
    assert all(load.iterations == "first" for load in made.schedule.loads)


@pytest.mark.parametrize("carry", [False, True])
def test_slice_after_slice_where_what_lies_between_does_not_fit(carry):
    """100 kB cross each cut: of ten slices 1 MB, of one it is there beside its chunk."""
    made = decided(700 * KB, source(chain(4, 100 * KB, 25 * KB, carry)))
    assert len(made.grouping["dec"]) < 4
    assert any(g.sliced and len(g.steps) > 1 for g in made.program.segments)
    held = [t for t in made.program.tensors if t.slots > 1]
    assert not held, "what crosses a cut between groups would be there for all ten slices"


def test_groups_may_be_between_both():
    """The first cut is wide and the others are not: it alone is inside of a group."""
    graph = chain(4, 100 * KB, 25, carry=True)
    wide = {"b0": port("b0", 25 * KB)}
    graph = replace(
        graph,
        ops=tuple(replace(o, output_bytes=100 * KB) if o.name == "b0" else o for o in graph.ops),
        values=tuple(wide.get(p.name, p) for p in graph.values),
        cuts=(replace(graph.cuts[0], size_bytes=100 * KB), *graph.cuts[1:]),
    )
    # Two chunks and the wide value of one slice, not three chunks.
    made = decided(420 * KB, source(graph))
    first, *rest = made.grouping["dec"]
    assert first >= 2 and sum(made.grouping["dec"]) == 4
    assert rest, "all in one group would load every chunk for every slice"
    loads = sum(
        1 if load.iterations == "first" else made.program.segments[load.segment].count - 1
        for load in made.schedule.loads
    )
    assert loads == 4


def test_a_stage_says_what_would_help():
    graph = chain(4, 100 * KB, 25 * KB, carry=False)
    with pytest.raises(DoesNotFit) as caught:
        decided(700 * KB, source(graph, "chunk"))
    assert re.search(
        r"`pipeline\.stages\.dec\.map\.size=2` or `pipeline\.stages\.dec\.map\.order=auto` or "
        r"`target\.memory=\d+MiB`",
        str(caught.value),
    )
    with pytest.raises(DoesNotFit) as caught:
        decided(50 * KB, source(graph))
    assert "order=auto" not in str(caught.value)


def test_what_is_carried_over_several_chunks_keeps_them_together():
    """c1 is read by the second chunk and made by the third; whatever groups are asked for."""
    graph = chain(4, 100 * KB, 25, carry=False)
    ops = list(graph.ops)
    ops[1] = replace(ops[1], inputs=("b0", "c1"))
    ops[2] = replace(ops[2], inputs=("b1",))
    ops.insert(3, Op("d1", "linear", ("b1",), (), 1, 32, 0, False))
    graph = replace(
        graph,
        ops=tuple(ops),
        inputs=(*graph.inputs, port("c1", 8)),
        outputs=(*graph.outputs, port("d1", 8)),
        values=(*graph.values, port("c1", 8), port("d1", 8)),
        cuts=(graph.cuts[0], graph.cuts[1], replace(graph.cuts[2], position=4)),
    )
    given = source(graph)
    made = decided(1000 * KB, given)
    stage, partition = given.pipeline.stage("dec"), made.partition
    pieces = pieces_of(partition, "dec")
    for sizes in ((1, 1, 1, 1), (2, 2), (1, 3), (4,)):
        spans = groups_of(stage, pieces, {"dec": sizes})
        assert any({1, 2} <= set(group) for group in spans)
        assert [i for group in spans for i in group] == [0, 1, 2, 3]
    assert made.grouping["dec"] == (1, 2, 1)
    steps = [s for g in made.program.segments for s in g.steps if isinstance(s, Call)]
    assert [s.repeat for s in steps] == [SLICES, 1, 1, SLICES]
