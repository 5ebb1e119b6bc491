"""Calibration finds the figures that made the times, and never a negative one."""

from dataclasses import replace

import numpy as np
import pytest

from entracte.cost import exec_seconds, load_seconds
from entracte.errors import PlanError
from entracte.ir import ChunkRun, Run, Settled, Work
from entracte.plan.file import write_plan
from entracte.run.origin import plan_digest
from entracte.run.record import write_run
from tests.planner.plans import make_plan
from tools.calibrate import (
    error_lines,
    fit_calls,
    fit_loads,
    non_negative,
    read_pair,
    settle_lines,
    target_lines,
)


def made():
    """A plan whose chunks differ, and a run that took exactly what the cost model says."""
    plan = make_plan()
    target = replace(
        plan.target,
        load_bandwidth=1e6,
        load_overhead_s=1e-5,
        compute_flops=1e9,
        memory_bandwidth=2e8,
        call_overhead_s=1e-3,
        efficiency=(("matmul", 1.0), ("conv", 0.5), ("attention", 0.25)),
    )
    draw = np.random.default_rng(0)
    chunks = tuple(
        replace(
            c,
            work=(
                Work("matmul", int(draw.integers(10**6, 10**8)), 0),
                Work("conv", int(draw.integers(10**6, 10**8)), 0),
                Work("attention", int(draw.integers(10**6, 10**8)), 0),
                Work("elementwise", 0, int(draw.integers(10**5, 10**7))),
            ),
        )
        for c in plan.chunks
    )
    size = {f.id: f.weight_bytes for f in plan.facts}
    runs = tuple(
        ChunkRun(
            chunk=c.id,
            loads=n,
            calls=n,
            load_s=n * load_seconds(size[c.id], target),
            exec_s=n * exec_seconds(c, target),
            peak_activation_bytes=0,
        )
        for n, c in enumerate(chunks, 1)
    )
    run = Run(device="toy", wall_s=1, peak_bytes=0, stall_s=0, loaded_bytes=0, chunks=runs)
    return replace(plan, chunks=chunks), run


def test_it_finds_the_figures_that_made_the_times():
    """1e-6: sums of double precision."""
    plan, run = made()
    loads, calls = fit_loads([(plan, run)]), fit_calls([(plan, run)])
    assert loads.values == pytest.approx((1e-5, 1e-6, 0, 0), rel=1e-6, abs=1e-12)
    assert calls.values == pytest.approx((1e-3, 1e-9, 2e-9, 4e-9, 5e-9, 0), rel=1e-6, abs=1e-15)
    assert target_lines(loads, calls) == [
        "load_overhead_s: 0.000010",
        'load_bandwidth: "1MB"',
        "compute_gflops: 1.0",
        "efficiency: {matmul: 1.00, conv: 0.50, attention: 0.25}",
        'memory_bandwidth: "200MB"',
        "call_overhead_s: 0.001000",
    ]
    assert error_lines(loads, calls)[0].startswith("# loads: median error of a chunk 0 %")


def test_what_comes_back_late_is_kept_free():
    plan, run = made()
    target = replace(plan.target, memory_bytes=10_020, base_footprint_bytes=20)
    plan = replace(plan, target=target)
    assert settle_lines([(plan, run)]) == []
    waits = (
        Settled(chunks=("a",), expected_bytes=1000, returned_bytes=900, wait_s=0.3),
        Settled(chunks=("a", "b"), expected_bytes=4000, returned_bytes=3666, wait_s=0.1),
        # More than expected came back: others' memory.
        Settled(chunks=("b",), expected_bytes=10, returned_bytes=99, wait_s=0.2),
        Settled(chunks=("c",), expected_bytes=0, returned_bytes=0, wait_s=9.0),
    )
    assert settle_lines([(plan, replace(run, settled=waits))]) == [
        "settle_fraction: 0.0334",
        "# 3 waits for freed memory: 0.200 s in the median, 0.300 s at most; then up to 334 bytes "
        "were still missing",
    ]


def test_no_coefficient_is_negative():
    rows = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
    assert non_negative(rows, np.array([3.0, 2.0, 1.0])) == pytest.approx([2.0, 0.0])


def test_it_reads_a_plans_own_records_only(tmp_path):
    plan = make_plan()
    write_plan(plan, tmp_path)
    run = replace(made()[1], plan=plan_digest(plan))
    write_run(run, tmp_path / "r.json")
    assert read_pair(tmp_path, tmp_path / "r.json") == (plan, run)
    write_plan(replace(plan, title="Another"), tmp_path)
    with pytest.raises(PlanError, match="of another plan"):
        read_pair(tmp_path, tmp_path / "r.json")
    with pytest.raises(PlanError, match="no run is recorded"):
        read_pair(tmp_path, tmp_path)
