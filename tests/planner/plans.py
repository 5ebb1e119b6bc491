"""Whole plans for tests of what reads them."""

from dataclasses import replace

from entracte.check.proof import check
from entracte.ir import Plan, Policy, Target
from entracte.plan.file import CONSTANTS, VERSION
from entracte.plan.forecast import forecast
from entracte.program.steps import expand
from entracte.program.workload import Workload
from entracte.schedule.choose import make_schedule
from tests.planner.programs import DOUBLE_BUFFER, ONLINE, Part, make_program, packages


def make_target(budget: int) -> Target:
    return Target(
        name="toy",
        title="A toy device",
        memory_bytes=budget,
        base_footprint_bytes=0,
        settle_fraction=0.0,
        chunk_limit_bytes=10**9,
        deployment="iOS18",
        compute_unit="all",
        load_bandwidth=100.0,
        load_overhead_s=0.0,
        compute_flops=2.0,
        memory_bandwidth=1.0,
        call_overhead_s=0.0,
        estimated=("call_overhead_s",),
    )


def plan_of(
    shape: tuple[Part, ...],
    policy: Policy,
    spare: int,
    *,
    built: bool = True,
    page_bytes: int = 0,
    reload_on_switch: bool = False,
) -> Plan:
    """A plan with `spare` bytes more than its hungriest call needs."""
    program, chunks, facts = make_program(shape)
    by_id = {f.id: f for f in facts}
    budget = spare + max(
        s.need_bytes + (by_id[s.chunk].weight_bytes if s.chunk else 0)
        for s in expand(program, by_id, 3)
    )
    habits = {"page_bytes": page_bytes, "reload_on_switch": reload_on_switch}
    workload = Workload(program, by_id, budget, **habits)
    schedule = make_schedule(workload, policy)
    proof = check(program, facts, schedule, budget_bytes=budget)
    promise = forecast(workload, schedule, proof)
    return Plan(
        version=VERSION,
        entracte="0.1.0",
        built=built,
        pipeline="toy",
        title="A toy pipeline",
        target=replace(make_target(budget), **habits),
        settings="{}",
        program=program,
        chunks=chunks,
        packages=packages(chunks) if built else (),
        facts=facts,
        schedule=schedule,
        forecast=promise,
        files=((CONSTANTS, "0" * 64),) if built else (),
    )


def make_special_plan() -> Plan:
    """A loop that may end early and changes its chunks' function after two iterations."""
    return plan_of((Part(1, (90,)), Part(6, (70, 80), until=True, switch=2)), DOUBLE_BUFFER, 40)


SHAPE = (Part(1, (90, 40)), Part(6, (70, 80, 90)), Part(1, (60,), repeat=3), Part(1, (10,)))
"""A prologue, a loop that streams, a map, an epilogue."""


def heavier(shape: tuple[Part, ...], times: int = 100) -> tuple[Part, ...]:
    """Weights so many times as large: pages have at least 4 KiB."""
    return tuple(replace(p, weights=tuple(times * w for w in p.weights)) for p in shape)


def make_online_plan(page_bytes: int = 0) -> Plan:
    """`make_plan` for a runner that follows the online rule, or, heavier, does so by pages."""
    if page_bytes == 0:
        return plan_of(SHAPE, ONLINE, 100)
    return plan_of(heavier(SHAPE), ONLINE, 11_000, page_bytes=page_bytes)


def make_plan(built: bool = True) -> Plan:
    """`SHAPE` by gates."""
    return plan_of(SHAPE, DOUBLE_BUFFER, 100, built=built)
