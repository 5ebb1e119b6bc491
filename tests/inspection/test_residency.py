"""What is in memory when: never more than the proof, and the peak adds up."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entracte.clock.timeline import predicted
from entracte.inspect.peak import peak_of
from entracte.inspect.residency import fullest, stays_of, usage
from entracte.ir import Bar
from tests.planner.examples import FEW
from tests.planner.plans import ONLINE, heavier, make_plan, make_special_plan, plan_of
from tests.planner.programs import DOUBLE_BUFFER, POLICIES, Part, parts


@FEW
@given(parts, st.sampled_from((*POLICIES, ONLINE)), st.integers(0, 400))
def test_the_peak_adds_up_to_what_the_checker_proves(shape, policy, extra):
    plan = plan_of(shape, policy, extra)
    peak = peak_of(plan)
    assert peak.total_bytes == plan.forecast.peak_bytes
    assert sum(c.size_bytes for c in peak.candidates) > peak.room_bytes or not peak.candidates
    assert plan.forecast.peak_step.startswith(f"step {peak.segment}.{peak.iteration}.{peak.step} ")


@FEW
@given(
    parts,
    st.sampled_from((*POLICIES, ONLINE)),
    st.integers(0, 400),
    st.sampled_from((0, 4096)),
)
def test_the_predicted_run_stays_within_it(shape, policy, extra, page_bytes):
    shape = heavier(shape) if page_bytes else shape
    plan = plan_of(shape, policy, extra * (100 if page_bytes else 1), page_bytes=page_bytes)
    events = predicted(plan).bars
    samples = usage(plan, events)
    most = fullest(events, samples)
    assert most.total_bytes == max(s.total_bytes for s in samples)
    assert most.total_bytes == sum(size for _, _, size in most.parts)
    assert max(s.total_bytes for s in samples) <= plan.forecast.peak_bytes
    assert min(min(s.resident_bytes, s.loading_bytes) for s in samples) >= 0
    last = samples[-1]
    assert (last.resident_bytes, last.loading_bytes, last.activation_bytes) == (0, 0, 0)
    assert [s.at_s for s in samples] == sorted({s.at_s for s in samples})


def test_what_a_loop_collects_is_not_there_before_its_first_piece():
    """In the first iteration tensors are 64, 80, 88 and 112 bytes, counted by hand: 16 of
    the input, 32 that are carried, each step's 8 and what it hands on, and from the last step on
    the 16 that are collected."""
    policy = replace(DOUBLE_BUFFER, retain=True, keep="even")
    part = Part(1, (0, 3, 10, 0), also=("slices", "stream"))
    plan = plan_of((part,), policy, 3)
    samples = usage(plan, predicted(plan).bars)
    assert max(s.total_bytes for s in samples) == plan.forecast.peak_bytes
    first = [s for s in samples if s.activation_bytes in (21, 22, 23, 24)]
    held = list(dict.fromkeys((s.activation_bytes, s.tensor_bytes) for s in first))
    assert held[:4] == [(21, 64), (22, 80), (23, 88), (24, 112)]


def test_every_stay_of_a_streamed_chunk_is_told():
    plan = make_plan()
    made = [s for s in stays_of(predicted(plan).bars) if s.chunk == "c1.01"]
    assert len(made) == 6
    assert all(a.end_s <= b.start_s for a, b in zip(made, made[1:], strict=False))


def test_pages_of_a_chunk_make_one_stay():
    def event(queue, start, end):
        return Bar(queue, "a", 0, 0, 0, start, end, 5)

    events = [event("load", 0, 1), event("load", 1, 2), event("free", 3, 3), event("free", 4, 4)]
    (made,) = stays_of(events)
    assert (made.start_s, made.end_s) == (0, 4)


def test_what_is_never_freed_stays_to_the_end():
    (made,) = stays_of(
        [Bar("load", "a", 0, 0, 0, 1.0, 2.0, 5), Bar("compute", "a", 0, 0, 0, 2.0, 9.0)]
    )
    assert (made.start_s, made.end_s) == (1.0, 9.0)


def test_a_call_that_takes_no_time_leaves_no_activations():
    plan = plan_of((Part(1, (90, 40)), Part(3, (20, 30))), DOUBLE_BUFFER, 40)
    plan = replace(plan, facts=tuple(replace(f, exec_s=0.0) for f in plan.facts))
    assert {s.activation_bytes for s in usage(plan, predicted(plan).bars)} == {0}


@pytest.mark.parametrize("plan", [make_plan(), make_special_plan()])
def test_tensors_between_calls_are_those_that_are_left(plan):
    """At the end only outputs that nothing drops."""
    samples, program = usage(plan, predicted(plan).bars), plan.program
    size = {t.name: t.size_bytes for t in program.tensors}
    dropped = {x for g in program.segments for x in g.frees}
    dropped |= {x for g in program.segments for s in g.steps for x in s.frees}
    left = set(program.output_values) - dropped
    assert samples[-1].tensor_bytes == sum(size[name] for name in left)
    assert max(s.tensor_bytes for s in samples) >= size[program.output_values[0]]
