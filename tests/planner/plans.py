"""Whole plans for tests of what reads them."""

from dataclasses import replace

from entracte.check.proof import check
from entracte.cost import emitted_facts
from entracte.ir import (
    Arrays,
    Bundle,
    Chunk,
    ChunkFacts,
    DType,
    Package,
    Plan,
    Policy,
    Port,
    Program,
    Target,
)
from entracte.plan.file import CONSTANTS, VERSION
from entracte.plan.forecast import forecast
from entracte.program.steps import expand
from entracte.program.workload import Workload
from entracte.schedule.choose import make_schedule
from entracte.store.arrays import header_of
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
    target = replace(make_target(0), page_bytes=page_bytes, reload_on_switch=reload_on_switch)
    own = packages(chunks) if built else ()
    return _planned(program, chunks, own, facts, target, policy, spare)


def _planned(  # noqa: PLR0913 (all that a plan is made of)
    program: Program,
    chunks: tuple[Chunk, ...],
    own: tuple[Package, ...],
    facts: tuple[ChunkFacts, ...],
    target: Target,
    policy: Policy,
    spare: int,
) -> Plan:
    """`own`: packages; a dry run has none."""
    by_id = {f.id: f for f in facts}
    budget = spare + max(
        s.need_bytes + (by_id[s.chunk].weight_bytes if s.chunk else 0)
        for s in expand(program, by_id, 3)
    )
    target = replace(target, memory_bytes=budget)
    workload = Workload.on(target, program, facts)
    schedule = make_schedule(workload, policy)
    proof = check(program, facts, schedule, budget_bytes=budget)
    return Plan(
        version=VERSION,
        entracte="0.1.0",
        built=bool(own),
        pipeline="toy",
        title="A toy pipeline",
        target=target,
        settings="{}",
        program=program,
        chunks=chunks,
        packages=own,
        facts=facts,
        schedule=schedule,
        forecast=forecast(workload, schedule, proof),
        files=((CONSTANTS, "0" * 64),) if own else (),
    )


def make_special_plan() -> Plan:
    """A loop that may end early and changes its chunks' function after two iterations."""
    return plan_of((Part(1, (90,)), Part(6, (70, 80), until=True, switch=2)), DOUBLE_BUFFER, 40)


def make_shared_plan(policy: Policy = DOUBLE_BUFFER, spare: int = 150) -> Plan:
    """The chunks of its loop run one graph, which takes their weights as inputs."""
    program, chunks, _ = make_program((Part(1, (90,)), Part(5, (70, 70, 70)), Part(1, (40,))))
    loop = [c.id for c in chunks if c.weight_bytes == 70]
    chunks = tuple(
        replace(c, shares=loop[0], activation_bytes=20) if c.id in loop else c for c in chunks
    )
    # Overheads, so that it shows which chunks have none.
    target = replace(make_target(0), load_overhead_s=0.25, cold_bandwidth=50.0)
    own = shared_packages(chunks)
    facts = emitted_facts(chunks, Bundle(own), target)
    return _planned(program, chunks, own, facts, target, policy, spare)


ARRAYS = (Port("w1", (2, 2), DType.FP32), Port("w0", (27,), DType.FP16))
"""70 bytes of weights."""


def shared_packages(chunks: tuple[Chunk, ...]) -> tuple[Package, ...]:
    """Packages of chunks; of those that share a graph that graph, and 70 bytes of arrays."""
    made = []
    for n, package in enumerate(packages(chunks)):
        if not chunks[n].shares:
            made.append(package)
            continue
        arrays = Arrays(
            path=f"packages/{package.chunk}.safetensors",
            digest=f"{n:x}" * 64,
            file_bytes=len(header_of(ARRAYS)) + 70,
            ports=ARRAYS,
        )
        graph = f"packages/{chunks[n].shares}.mlpackage"
        made.append(replace(package, path=graph, digest="e" * 64, file_bytes=12, arrays=arrays))
    return tuple(made)


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
