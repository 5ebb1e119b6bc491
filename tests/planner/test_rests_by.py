"""Calls that a tensor lets rest (`Call.rests_by`): what is called, promised, proven and refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from entracte.check.proof import check
from entracte.cli.verdict import time_line
from entracte.clock.driver import StepDone
from entracte.clock.predict import predict
from entracte.clock.rule import OnlineRule
from entracte.clock.table import make_table
from entracte.codec import decode, encode
from entracte.errors import PlanError
from entracte.inspect.expected import expected
from entracte.ir import (
    Binding,
    By,
    Call,
    Chunk,
    ChunkFacts,
    DType,
    Plan,
    Port,
    Program,
    Segment,
    TensorDecl,
    Window,
)
from entracte.plan.file import check_plan
from entracte.plan.forecast import forecast
from entracte.program.steps import resting
from entracte.program.workload import Workload
from entracte.run.possible import fault_of
from entracte.run.runner import run_plan
from entracte.schedule.choose import make_schedule
from tests.planner.lives import with_lives
from tests.planner.plans import make_target, plan_of
from tests.planner.programs import (
    DOUBLE_BUFFER,
    ONLINE,
    OPTIMAL,
    STREAM,
    Part,
    make_program,
    packages,
    whole,
)
from tests.planner.test_run_programs import Device
from tests.planner.test_schedule import by_id, least_budget

ASKS = Part(6, (100, 100, 100), also=("ask",))
"""Six iterations of three chunks, loads and calls of a second; the first says whether the second
one rests."""


def asking(count=6):
    program, _, facts = make_program((replace(ASKS, count=count),))
    assert [x.rests_by for x in program.segments[0].steps] == ["", "asked0", ""]
    return program, facts


# ---------------------------------------------------------------- what happens


class Small(Device):
    def activation_peak_bytes(self):
        return 16


def functions(said):
    """z + 1, and what is said of this iteration; twice that; and a half more."""
    said = iter(said)
    return {
        "c0.00": lambda **x: {"out": x["in"] + np.float16(1),
                              "rests": np.array([next(said)], np.float16)},
        "c0.01": lambda **x: {"out": x["in"] * np.float16(2)},
        "c0.02": lambda **x: {"out": x["in"] + np.float16(0.5)},
    }  # fmt: skip


WITHIN = Part(6, (100, 100, 100, 100), also=("ask within",))
"""The second chunk is called in iterations 0, 2, 3 and 4, and says whether the third one rests,
which asks in these alone."""


@pytest.mark.parametrize("policy", [STREAM, ONLINE])
def test_it_is_asked_in_its_iterations_alone(policy, tmp_path):
    """By hand, from 0: 22.5; 22.5 (both rest: nobody is asked); 22.5 (33.5 is made, 22 stands);
    67.5; 67.5; 67.5."""
    plan = plan_of((WITHIN,), policy, 100)
    said = iter([1, 1, 0, 1])
    device = Small({
        "c0.00": lambda **x: {"out": x["in"] + np.float16(1)},
        "c0.01": lambda **x: {"out": x["in"] + np.float16(10),
                              "rests": np.array([next(said)], np.float16)},
        "c0.02": lambda **x: {"out": x["in"] * np.float16(2)},
        "c0.03": lambda **x: {"out": x["in"] + np.float16(0.5)},
    })  # fmt: skip
    done = run_plan(plan, tmp_path, device, {}, constants={"x": np.zeros(4, np.float16)})
    assert done.output.tolist() == [67.5] * 4 and next(said, None) is None
    assert {c.chunk: c.calls for c in done.run.chunks} == {
        "c0.00": 6, "c0.01": 4, "c0.02": 2, "c0.03": 6,
    }  # fmt: skip
    called = [b.iteration for b in done.run.bars if (b.queue, b.label) == ("compute", "c0.02")]
    assert called == [0, 3]
    assert fault_of(plan, done.run) is None and done.alarm is None
    assert done.run.peak_bytes <= plan.forecast.peak_bytes


@pytest.mark.parametrize("policy", [STREAM, ONLINE])
def test_what_it_made_last_stands(policy, tmp_path):
    """By hand, from 0: 2.5; 2.5 again (3.5 is made, 2 stands); 7.5; 7.5; 7.5; 17.5. In the first
    iteration nobody is asked; what is not zero means rest, -0.0 is zero."""
    plan = plan_of((ASKS,), policy, 100)
    device = Small(functions([1, 1, 0, -0.5, np.nan, -0.0]))
    zeros = {"x": np.zeros(4, np.float16)}
    done = run_plan(plan, tmp_path, device, {}, constants=zeros)
    assert done.output.tolist() == [17.5] * 4
    assert {c.chunk: c.calls for c in done.run.chunks} == {"c0.00": 6, "c0.01": 3, "c0.02": 6}
    called = [b.iteration for b in done.run.bars if (b.queue, b.label) == ("compute", "c0.01")]
    assert called == [0, 2, 5]
    assert fault_of(plan, done.run) is None and done.alarm is None
    assert done.run.peak_bytes <= plan.forecast.peak_bytes


def test_the_rule_learns_nothing_from_a_call_that_rested():
    program, facts = asking()
    rule = OnlineRule(make_table(Workload(program, by_id(facts), 10_000)))
    rule.ledger = replace(rule.ledger, running=True)
    before = rule.ledger.exec_scale
    rule.react(StepDone(10**9, resting=(1,)))
    rule.ledger = replace(rule.ledger, running=True)
    rule.react(StepDone(5))
    assert (rule.ledger.exec_scale, rule.ledger.at) == (before, 2)
    assert rule.ledger.resting == frozenset()


# ---------------------------------------------------------------- what is promised


@pytest.mark.parametrize("policy", [DOUBLE_BUFFER, ONLINE, OPTIMAL])
def test_both_ends_are_promised(policy):
    """With room for all: one load is waited for, then 18 calls, or 6 + 1 + 6."""
    plan = plan_of((ASKS,), policy, 10_000)
    check_plan(plan)
    assert (plan.forecast.makespan_s, plan.forecast.resting_s) == (19, 14)
    assert plan.forecast.compute_s == 18


def test_both_ends_of_what_is_asked_in_some_iterations():
    """With room for all: a load is waited for, then 6 + 4 + 4 + 6 calls, or 6 + 4 + 1 + 6."""
    plan = plan_of((WITHIN,), DOUBLE_BUFFER, 10_000)
    check_plan(plan)
    assert (plan.forecast.makespan_s, plan.forecast.resting_s) == (21, 18)
    # At half of the iterations, 0, 2 and 4: those are among the four.
    assert predict(Workload.of(plan), plan.schedule, share=0.5).makespan_s == 1 + 6 + 4 + 3 + 6


def test_a_share_of_the_iterations():
    program, facts = asking(10)
    rests = resting(program, 0.3)
    assert [i for i in range(10) if not rests(3 * i + 1)] == [0, 4, 7]
    assert not any(rests(3 * i + k) for i in range(10) for k in (0, 2))
    workload = Workload(program, by_id(facts), 10_000)
    schedule = make_schedule(workload, DOUBLE_BUFFER)
    assert predict(workload, schedule, share=0.3).makespan_s == 1 + 10 + 3 + 10
    assert [i for i in range(10) if not resting(program, 0)(3 * i + 1)] == [0]


def test_the_share_that_is_expected_is_of_the_settings():
    plan = plan_of((replace(ASKS, count=10),), DOUBLE_BUFFER, 10_000)
    at = {"change": 0.1, "expected": 0.3}
    settings = {"pipeline": {"stages": {"c0": {"reuse": {"at": at}}, "x": {"reuse": None}}}}
    declared = replace(plan, settings=json.dumps(settings))
    assert expected(declared) == (0.3, 1 + 10 + 3 + 10)
    assert "22.00 s if all do that may" in time_line(plan) and "30%" not in time_line(plan)
    assert "24.00 s if they run in 30% of them" in time_line(declared)
    for text in ("[]", "{}", "1", '{"pipeline": [1]}', '{"pipeline": {"stages": {"a": 1}}}'):
        assert expected(replace(plan, settings=text)) is None


def test_a_load_that_has_not_begun_is_left_out():
    """Nothing is kept, and a chunk's load begins when the step before it has ended, by which its
    rest is known: of 18 loads 5 are left out. One that runs ahead has begun: it is made, and comes
    before its step may end."""
    plan = plan_of((ASKS,), replace(STREAM, lookahead=0), 0)
    check_plan(plan)
    assert plan.forecast.loads == 18 and plan.forecast.makespan_s == 36
    rested = predict(Workload.of(plan), plan.schedule, share=0)
    assert (rested.loads, rested.makespan_s) == (13, 26)
    ahead = plan_of((ASKS,), STREAM, 100)
    rested = predict(Workload.of(ahead), ahead.schedule, share=0)
    assert rested.loads == 18 and rested.makespan_s == ahead.forecast.resting_s
    # The loader is never idle: 18 loads, and the last call.
    assert rested.makespan_s == 19


def test_promises_that_cannot_be():
    plan = plan_of((ASKS,), DOUBLE_BUFFER, 10_000)
    for told, words in ((None, "not told"), (12.9, "12.9 s"), (1e6, "1000000.0 s")):
        wrong = replace(plan, forecast=replace(plan.forecast, resting_s=told))
        with pytest.raises(PlanError, match=f"rest.*{words}|{words}.*rest"):
            check_plan(wrong)
    other = plan_of((Part(2, (1, 1)),), DOUBLE_BUFFER, 100)
    with pytest.raises(PlanError, match="no calls may rest by a tensor"):
        check_plan(replace(other, forecast=replace(other.forecast, resting_s=1.0)))


def test_a_plan_without_it_is_written_as_before():
    plan = plan_of((Part(2, (1, 1)),), DOUBLE_BUFFER, 100)
    text = repr(encode(plan))
    assert "rests_by" not in text and "resting_s" not in text
    asks = plan_of((ASKS,), DOUBLE_BUFFER, 100)
    assert decode(Plan, encode(asks)) == asks
    assert repr(encode(asks)).count("rests_by") == 1


# ---------------------------------------------------------------- what is refused


def with_steps(program, change):
    loop = program.segments[0]
    return replace(program, segments=(replace(loop, steps=tuple(change(*loop.steps))),))


def refused(program, facts, words):
    budget = 10_000
    schedule = make_schedule(Workload(asking()[0], by_id(facts), budget), DOUBLE_BUFFER)
    with pytest.raises(PlanError, match=words):
        check(program, tuple(facts), schedule, budget_bytes=budget)


def test_what_says_so_is_one_number_that_every_iteration_makes_before_it():
    program, facts = asking()
    wide = tuple(
        replace(t, port=Port("asked0", (2,), DType.FP16)) if t.name == "asked0" else t
        for t in program.tensors
    )
    refused(replace(program, tensors=wide), facts, "rests by asked0, which is not one number")
    refused(
        with_steps(program, lambda a, b, c: (a, replace(b, rests_by="no"), c)),
        facts, "rests by no, which is not one number",
    )  # fmt: skip
    refused(
        with_steps(program, lambda a, b, c: (replace(b, frees=()), replace(a, frees=b.frees), c)),
        facts, "rests by asked0, which no step before it makes|is not there any more or yet",
    )  # fmt: skip
    refused(
        with_steps(program, lambda a, b, c: (replace(a, at=(0, 2)), b, c)),
        facts, "makes asked0, which a step of the loop frees, and c0.01 reads it where",
    )  # fmt: skip
    refused(
        with_steps(program, lambda a, b, c: (replace(a, at=(0, 2)), replace(b, at=(0, 1, 2)), c)),
        facts, "makes asked0, which a step of the loop frees, and c0.01 reads it where this one",
    )  # fmt: skip


def test_what_asks_in_some_iterations_is_refused_elsewhere():
    program, _, facts = make_program((WITHIN,))
    loop = program.segments[0]
    assert [x.at for x in loop.steps] == [(), (0, 2, 3, 4), (0, 2, 3, 4), ()]
    assert [x.rests_by for x in loop.steps] == ["", "", "asked0", ""]

    def refuses(words, change):
        steps = with_steps(program, change).segments[0].steps
        wrong = replace(program, segments=(replace(loop, steps=steps),))
        schedule = make_schedule(Workload(program, by_id(facts), 10_000), DOUBLE_BUFFER)
        with pytest.raises(PlanError, match=words):
            check(wrong, tuple(facts), schedule, budget_bytes=10_000)

    # Nothing is freed by a step, so that only what is asked can be missing.
    loop = replace(loop, frees=(*loop.frees, "t1", "asked0"))
    for at in ((), (0, 1, 2), (0, 5)):
        refuses(
            "c0.02. rests by asked0, which is made in some iterations only",
            lambda a, b, c, d, at=at: (a, b, replace(c, at=at, frees=()), d),
        )
    loop = program.segments[0]
    refuses("rests in the first", lambda a, b, c, d: (a, b, replace(c, at=(2, 3)), d))
    # Within its iterations it rests too, where the tensor says so: what it made is read then.
    loop = replace(loop, frees=tuple(set(loop.frees) - {"t2"}))
    refuses("makes t2, which a step of the loop frees, and c0.03 reads it where this one rests",
            lambda a, b, c, d: (a, b, c, replace(d, frees=(*d.frees, "t2"), at=(0, 2, 3, 4))),
            )  # fmt: skip


def test_what_was_said_before_the_loop_is_refused():
    program, facts = asking()
    flag = Port("flag", (1,), DType.FP16)
    given = replace(
        program, constants=(*program.constants, flag),
        tensors=(*program.tensors, TensorDecl(flag)),
    )  # fmt: skip
    refused(
        with_steps(given, lambda a, b, c: (a, replace(b, rests_by="flag"), c)),
        facts, "rests by flag, which no step before it makes",
    )  # fmt: skip


def test_nobody_may_notice_that_it_rests():
    program, facts = asking()
    refused(
        with_steps(program, lambda a, b, c: (a, b, replace(c, rests_by="asked0"))),
        facts, "which state s0 takes",
    )  # fmt: skip
    freed = with_steps(program, lambda a, b, c: (a, b, replace(c, frees=(*c.frees, "t1"))))
    loop = freed.segments[0]
    freed = replace(freed, segments=(replace(loop, frees=tuple(set(loop.frees) - {"t1"})),))
    refused(freed, facts, "makes t1, which a step of the loop frees, and c0.02 reads it where")


def test_a_value_between_two_that_rest_together_is_freed_between_them():
    program, _, facts = make_program((replace(ASKS, weights=(1, 1, 1, 1)),))
    loop = program.segments[0]
    assert [x.rests_by for x in loop.steps] == ["", "asked0", "asked0", ""]
    assert loop.steps[2].frees == ("asked0", "t1") and "t2" in loop.frees
    schedule = make_schedule(Workload(program, by_id(facts), 10_000), DOUBLE_BUFFER)
    check(program, tuple(facts), schedule, budget_bytes=10_000)


def test_the_peak_is_that_of_the_run_in_which_all_happens():
    """Every set of iterations is covered: in none is more there than in all."""
    program, facts = asking()
    budget = least_budget(program, facts) + 100
    schedule = make_schedule(Workload(program, by_id(facts), budget), STREAM)
    always = with_steps(program, lambda *x: [replace(s, rests_by="") for s in x])
    one = check(program, tuple(facts), schedule, budget_bytes=budget)
    loop = always.segments[0]
    # Without a reader the tensor goes with its maker, as in any plan.
    kept = tuple(
        replace(s, frees=tuple(set(s.frees) - {"asked0"} | ({"asked0"} if k == 1 else set())))
        for k, s in enumerate(loop.steps)
    )
    other = replace(always, segments=(replace(loop, steps=kept),))
    assert one.peak_bytes == check(other, tuple(facts), schedule, budget_bytes=budget).peak_bytes
    assert isinstance(program.segments[0].steps[1], Call)
    assert TensorDecl(Port("asked0", (1,), DType.FP16)) in program.tensors


# ---------------------------------------------------------------- slices


ROWS = (Window(0, 1, 2, 1),)
"""Of tensors (2, 3): each row is a slice."""


def mapped():
    """Two rows: a + 1 and whether the row rests; twice that, kept side by side; a half more."""

    def cut(feature, tensor):
        return Binding(feature, tensor, By.MAP, ROWS)

    def call(chunk, read, *made, **more):
        return Call(stage=chunk, chunk=chunk, inputs=(read,), outputs=made, repeat=2, **more)

    def two(name, shape):
        return TensorDecl(Port(name, shape, DType.FP32))

    steps = (
        call("a", cut("in", "z"), cut("out", "x"), cut("rests", "asked")),
        call("b", cut("in", "x"), Binding("out", "y", By.MAP), rests_by="asked"),
        call("c", Binding("in", "y", By.MAP), cut("out", "next")),
    )
    row, one = Port("in", (1, 3), DType.FP32), Port("rests", (1,), DType.FP32)
    side = TensorDecl(Port("y", (1, 3), DType.FP32), slots=2)
    shapes = [two(n, (2, 3)) for n in ("z0", "z", "x", "next")]
    program = Program(
        inputs=(),
        constants=(Port("z0", (2, 3), DType.FP32),),
        tensors=(*shapes, two("asked", (2,)), side),
        segments=(Segment(name="loop", count=4, steps=steps, state=(("z", "z0", "next"),)),),
        outputs=(whole("z"),),
    )
    out = replace(row, name="out")
    ports = {"a": (out, one), "b": (out,), "c": (out,)}
    return with_lives(program), ports


def plan_of_slices(policy):
    program, ports = mapped()
    facts = tuple(
        ChunkFacts(id=c, weight_bytes=100, activation_bytes=16, load_s=1.0, exec_s=1.0)
        for c in ports
    )
    chunks = tuple(
        Chunk(id=c, graph=c, start=0, stop=1, inputs=(Port("in", (1, 3), DType.FP32),),
              outputs=made, weight_bytes=100, activation_bytes=16, flops=2, moved_bytes=1)
        for c, made in ports.items()
    )  # fmt: skip
    workload = Workload(program, by_id(facts), 10_000)
    schedule = make_schedule(workload, policy)
    proof = check(program, facts, schedule, budget_bytes=10_000)
    return replace(
        plan_of((Part(1, (5,)),), DOUBLE_BUFFER, 0), program=program, chunks=chunks,
        packages=packages(chunks), facts=facts, schedule=schedule, target=make_target(10_000),
        forecast=forecast(workload, schedule, proof),
    )  # fmt: skip


@pytest.mark.parametrize("policy", [STREAM, ONLINE])
def test_each_slice_decides_for_itself(policy, tmp_path):
    """By hand, from 0 and 10: 2.5 and 22.5; 2.5 (it rests) and 47.5; 7.5 and 47.5 (it rests); both
    rest."""
    said = iter([1, 1, 1, 0, 0, 1, 1, 1])
    device = Small({
        "a": lambda **x: {"out": x["in"] + 1, "rests": np.float32([next(said)])},
        "b": lambda **x: {"out": x["in"] * 2},
        "c": lambda **x: {"out": x["in"] + np.float32(0.5)},
    })  # fmt: skip
    plan = plan_of_slices(policy)
    check_plan(plan)
    begin = np.float32([[0, 0, 0], [10, 10, 10]])
    done = run_plan(plan, tmp_path, device, {}, constants={"z0": begin})
    assert done.output[:, 0].tolist() == [7.5, 47.5]
    assert {c.chunk: c.calls for c in done.run.chunks} == {"a": 8, "b": 4, "c": 8}
    called = [b.iteration for b in done.run.bars if (b.queue, b.label) == ("compute", "b")]
    assert called == [0, 1, 2]
    assert fault_of(plan, done.run) is None


def test_slices_without_a_number_each_are_refused():
    program, _ = mapped()
    facts = [
        ChunkFacts(id=c, weight_bytes=1, activation_bytes=1, load_s=1.0, exec_s=1.0) for c in "abc"
    ]
    schedule = make_schedule(Workload(program, by_id(facts), 10_000), DOUBLE_BUFFER)
    apart = tuple(
        TensorDecl(Port("asked", (1,), DType.FP32), slots=2) if t.name == "asked" else t
        for t in program.tensors
    )
    loop = program.segments[0]
    first = replace(
        loop.steps[0], outputs=(loop.steps[0].outputs[0], Binding("rests", "asked", By.MAP))
    )
    steps = (first, *loop.steps[1:])
    program = replace(program, tensors=apart, segments=(replace(loop, steps=steps),))
    with pytest.raises(PlanError, match="rests by asked, which is not 2 numbers"):
        check(program, tuple(facts), schedule, budget_bytes=10_000)
