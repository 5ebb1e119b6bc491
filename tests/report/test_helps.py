"""What would help, against sums and times by hand."""

from dataclasses import replace

import pytest

from entracte.ir import Plan
from entracte.report.helps import helps
from entracte.report.model import page_of
from entracte.report.page import render
from entracte.units import format_seconds
from tests.planner.plans import plan_of
from tests.planner.programs import DOUBLE_BUFFER, OPTIMAL, Part

MIB = 2**20


def streaming() -> Plan:
    """Six iterations of three chunks of 3 MiB each, of which two fit."""
    return plan_of((Part(6, (3 * MIB,) * 3),), DOUBLE_BUFFER, 3 * MIB)


def test_with_memory_for_the_loop_each_chunk_is_loaded_once():
    plan = streaming()
    assert plan.forecast.loads > 3
    (*_, most) = helps(plan)
    # 9 MiB of weights; a step's activations and tensors are some bytes.
    assert most.typed == "target.memory=10MiB"
    assert (most.loads, most.loaded_bytes) == (3, 9 * MIB)
    assert most.makespan_s < plan.forecast.makespan_s
    bigger = replace(plan, target=replace(plan.target, memory_bytes=10 * MIB))
    assert helps(bigger) == ()


@pytest.mark.parametrize("policy", [DOUBLE_BUFFER, OPTIMAL], ids=lambda p: p.name)
def test_memory_that_nothing_needs_is_named(policy):
    plan = plan_of((Part(6, (3 * MIB,) * 3),), policy, 100 * MIB)
    (less,) = helps(plan)
    assert (less.typed, less.loads, plan.forecast.loads) == ("target.memory=10MiB", 3, 3)
    assert less.makespan_s == pytest.approx(plan.forecast.makespan_s)


def test_the_limit_is_told_and_not_the_budget():
    """A tenth in reserve and 5 MiB of its own: 9 MiB and a little are 10 MiB free, so 16."""
    plan = streaming()
    limit = int(plan.target.memory_bytes / 0.9) + 5 * MIB
    target = replace(
        plan.target, memory_bytes=limit, settle_fraction=0.1, base_footprint_bytes=5 * MIB
    )
    assert helps(replace(plan, target=target))[-1].typed == "target.memory=16MiB"


def test_the_page_says_what_to_type():
    plan = streaming()
    found = helps(plan)
    text = render(page_of(plan, (), None, found))
    assert '<code class="typed">target.memory=10MiB</code>' in text
    assert f">{format_seconds(found[-1].makespan_s)}</td>" in text
    assert "Other memory would change little." in render(page_of(plan, ()))
