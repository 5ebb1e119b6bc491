"""The choice of chunk sizes, on stages made of numbers: equal blocks in a loop."""

import pytest

from entracte.decide.decide import decide
from entracte.ir import (
    Cut,
    DType,
    Input,
    Loop,
    MeasuredPipeline,
    Op,
    Pipeline,
    Port,
    Stage,
    StageGraph,
    StageKind,
    Target,
    Weight,
)
from entracte.schedule.bounds import best_bound
from entracte.schedule.choose import BASELINES
from tests.planner.programs import DOUBLE_BUFFER, OPTIMAL, whole

MB = 1_000_000


def port(name: str) -> Port:
    return Port(name, (1, 100), DType.FP16)


def stack(blocks: int, weight: int, flops: int) -> StageGraph:
    """A chain of blocks, one operation and one weight each, cuts between all of them."""
    names = [f"b{k}" for k in range(blocks)]
    before = ["x", *names[:-1]]
    ops = tuple(
        Op(n, "linear", (x,), (f"w{k}",), flops, 200, 0, False)
        for k, (n, x) in enumerate(zip(names, before, strict=True))
    )
    return StageGraph(
        name="stack",
        stage="stack",
        part="body",
        inputs=(port("x"),),
        outputs=(port(names[-1]),),
        ops=ops,
        values=tuple(port(n) for n in ["x", *names]),
        weights=tuple(Weight(f"w{k}", (weight,), weight) for k in range(blocks)),
        cuts=tuple(Cut(k + 1, (names[k],), 200) for k in range(blocks - 1)),
    )


def decided(
    budget: int, policy, *, blocks=30, weight=79 * MB, flops=5_000 * MB, steps=3, contention=1.0
):
    graph = stack(blocks, weight, flops)
    last = graph.outputs[0].name
    pipeline = Pipeline(
        name="toy",
        title="Toy",
        weights="random:0",
        inputs=(Input("seed", "seed", 0),),
        stages=(
            Stage(
                name="noise", kind=StageKind.HOST, op="random_normal", inputs=(("seed", "seed"),)
            ),
            Stage(name="stack", kind=StageKind.GRAPH, op="toy", inputs=(("x", "sample.x"),)),
        ),
        loops=(
            Loop(
                name="sample",
                count=steps,
                stages=("stack",),
                state=(("x", "noise.noise", f"stack.{last}"),),
            ),
        ),
        outputs=(whole("sample.x"),),
    )
    ports = {
        "seed": Port("seed", (1,), DType.INT32),
        "noise.noise": port("noise"),
        "sample.x": port("x"),
        f"stack.{last}": port(last),
    }
    target = Target(
        name="toy",
        title="Toy",
        memory_bytes=budget,
        base_footprint_bytes=0,
        settle_fraction=0.0,
        chunk_limit_bytes=2000 * MB,
        deployment="iOS18",
        compute_unit="all",
        load_bandwidth=2500.0 * MB,
        load_overhead_s=0.001,
        compute_flops=160e9,
        memory_bandwidth=50e9,
        call_overhead_s=0.0002,
        contention=contention,
    )
    made = decide(MeasuredPipeline(pipeline, {"stack": (graph,)}, ports), target, policy)
    bound = best_bound(made.workload)
    return made, bound


@pytest.mark.parametrize("policy", [DOUBLE_BUFFER, OPTIMAL], ids=lambda p: p.name)
def test_a_finer_level_is_found_behind_one_that_is_no_better(policy):
    """30 blocks of 79 MB in 610 MB: of six chunks no two fit at once, and neither do two of the
    next level's eight; from twelve pieces on, loading and computing overlap (docs/overlap.md)."""
    made, bound = decided(610 * MB, policy)
    assert len(made.partition.chunks) >= 8
    assert made.makespan_s <= 1.1 * bound.seconds


def test_chunks_have_equal_weights():
    made, _ = decided(610 * MB, OPTIMAL)
    weights = [c.weight_bytes for c in made.partition.chunks]
    # Whole blocks only, so one block's difference; the search's slack is a tenth.
    assert max(weights) - min(weights) <= 79 * MB


def test_chunks_stay_large_where_loading_does_not_matter():
    """Everything fits, and computing takes a hundred times as long."""
    made, _ = decided(3000 * MB, OPTIMAL, flops=500_000 * MB)
    assert len(made.partition.chunks) == 2  # the chunk limit is 2000 MB of 2370


def test_the_choice_is_the_same_each_time():
    one, other = decided(610 * MB, OPTIMAL)[0], decided(610 * MB, OPTIMAL)[0]
    assert one == other


@pytest.mark.parametrize("contention", [1.0, 1.6])
@pytest.mark.parametrize("budget", [250, 430, 800, 1300])
def test_ours_is_never_slower_than_a_baseline_with_chunks_of_its_own(budget, contention):
    """First looks at chunks try few kept sets, so a baseline may well choose better ones."""
    given = {"blocks": 12, "steps": 6, "contention": contention}
    ours, _ = decided(budget * MB, OPTIMAL, **given)
    for policy in BASELINES:
        theirs, _ = decided(budget * MB, policy, **given)
        # The online rule is taken up to a thousandth: it bears wrong times better.
        assert ours.makespan_s <= 1.001 * theirs.makespan_s, policy.name
