"""Memory by hand: the checker's peak, its tensors and its refusals against sums on paper.

The plan is `test_check_plan.make_sampler`. Its tensors, in bytes: table 24, scale 4, ids 32, mask
32, noise 96, z 96, next 96, e 3 x 8, video 96. Each chunk weighs 100 and needs 50 while it runs.
"""

from dataclasses import replace

import pytest

from entracte.check.life import check_tensors, unrolled
from entracte.check.proof import check
from entracte.errors import PlanError
from entracte.ir import DType, Gate, Load, Moment, Policy, Port, Schedule, TensorDecl
from entracte.program.steps import expand, unroll
from tests.planner.programs import Part, make_program
from tests.planner.test_check_plan import PLAN

PROGRAM = PLAN.program
FACTS = PLAN.facts
HELD = [
    4 + 24 + 32 + 32,  # tokens: what is given, and what it makes; nobody reads the mask
    4 + 24 + 32 + 96,  # noise
    4 + 24 + 32 + 96 + 24,  # embed, the last to read ids
    *[4 + 24 + 96 + 24 + 96 + 96] * 3,  # the loop: noise is kept up to its end, z, next
    96 + 96,  # decode
]


def load(chunk: str, segment: int, step: int, gate: Gate | None, moment: Moment = Moment.SAME):
    return Load(chunk, segment, "first", step, gate, step, moment)


EMBED = load("embed", 0, 2, None)
STEP = load("step", 1, 0, None, Moment.LAST)
DECODE = load("decode", 2, 0, Gate(1, 0, Moment.LAST))


def proven(*loads: Load, facts=FACTS, budget: int = 10_000, program=PROGRAM):
    schedule = Schedule(policy=Policy("p", 1, True), budget_bytes=budget, loads=loads, resident=())
    return check(program, facts, schedule, budget_bytes=budget).peak


def hungry(chunk: str, activation_bytes: int):
    more = {chunk: activation_bytes}
    return tuple(replace(f, activation_bytes=more.get(f.id, f.activation_bytes)) for f in FACTS)


def test_tensors_alive_by_hand():
    assert check_tensors(PROGRAM, unrolled(PROGRAM)) == HELD
    facts = {f.id: replace(f, activation_bytes=0) for f in FACTS}
    assert [x.need_bytes for x in expand(PROGRAM, facts)] == HELD


def test_the_fullest_step_by_hand():
    """In the loop: tensors 340, activations 50, the step's own weights."""
    peak = proven(EMBED, STEP, DECODE)
    assert (peak.total_bytes, peak.where) == (340 + 50 + 100, "step 1.0.0 (step)")
    assert (peak.chunk, peak.called, peak.ahead) == ("step", (), ())
    assert peak.tensors == ("e", "next", "noise", "scale", "table", "z")


def test_what_loads_ahead_counts_from_its_gate_on():
    """Decode may come while the loop runs, or from the very start."""
    peak = proven(EMBED, STEP, replace(DECODE, gate=Gate(0, 2, Moment.LAST)))
    assert (peak.total_bytes, peak.ahead) == (340 + 50 + 2 * 100, ("decode",))
    # While embed runs, step and decode may be there too; it is made to need most.
    peak = proven(EMBED, STEP, replace(DECODE, gate=None), facts=hungry("embed", 1000))
    assert (peak.total_bytes, peak.ahead) == (180 + 1000 + 3 * 100, ("step", "decode"))
    peak = proven(EMBED, STEP, DECODE, facts=hungry("embed", 1000))
    assert (peak.total_bytes, peak.ahead) == (180 + 1000 + 2 * 100, ("step",))


def test_a_copy_counts_up_to_its_last_use():
    """At the last step only decode is there, and it is there."""
    peak = proven(EMBED, STEP, DECODE, facts=hungry("decode", 1000))
    assert (peak.total_bytes, peak.where) == (192 + 1000 + 100, "step 2.0.0 (decode)")


def test_one_byte_less_is_refused():
    need = 340 + 50 + 100
    assert proven(EMBED, STEP, DECODE, budget=need).total_bytes == need
    with pytest.raises(PlanError, match=f"can need {need} bytes, the budget is {need - 1} bytes"):
        proven(EMBED, STEP, DECODE, budget=need - 1)


EACH = replace(STEP, iterations="each", free_moment=Moment.SAME)


@pytest.mark.parametrize(
    ("loads", "message"),
    [
        ((EMBED, STEP), "runs without its chunk"),
        ((EMBED, replace(STEP, free_moment=Moment.SAME), DECODE), "step 1.1.0 .* runs without"),
        ((EMBED, replace(STEP, gate=Gate(1, 0, Moment.SAME)), DECODE), "not between its gate"),
        ((EMBED, STEP, replace(EACH, gate=Gate(1, 0, Moment.PREVIOUS)), DECODE), "is loaded again"),
        ((EMBED, STEP, replace(DECODE, gate=Gate(2, 0, Moment.LAST))), "which is no earlier one"),
        ((replace(EMBED, step=0), STEP, DECODE), "kept loaded beyond its calls"),
        ((replace(EMBED, step=1, free_step=2), STEP, DECODE), "kept loaded beyond its calls"),
    ],
)  # fmt: skip
def test_loads_by_hand(loads, message):
    with pytest.raises(PlanError, match=message):
        proven(*loads)


def test_a_copy_goes_with_the_last_call_that_it_serves():
    program, _, facts = make_program((Part(1, (50, 60)),))
    first = load("c0.00", 0, 0, None)
    second = load("c0.01", 0, 1, Gate(0, 0, Moment.SAME))
    # Activations 16 and 17, two tensors of 8 at each step.
    peak = proven(first, second, facts=facts, program=program)
    assert peak.total_bytes == max(50 + 16 + 2 * 8, 60 + 17 + 2 * 8)
    with pytest.raises(PlanError, match="c0.00 is kept loaded beyond its calls"):
        proven(replace(first, free_step=1), second, facts=facts, program=program)


def test_a_copy_of_each_iteration_by_hand():
    """Loaded anew while the iteration before it runs would be two at once; after it, one."""
    first = replace(STEP, free_moment=Moment.SAME)
    again = replace(EACH, gate=Gate(1, 0, Moment.PREVIOUS))
    assert proven(EMBED, first, again, DECODE).total_bytes == 490
    with pytest.raises(PlanError, match="is loaded again while a copy may still be there"):
        proven(EMBED, first, replace(again, gate=None), DECODE)
    loads = (EMBED, first, again, DECODE)
    schedule = Schedule(policy=Policy("p", 1, True), budget_bytes=1, loads=loads, resident=())
    placed = [(x.chunk, x.gate, x.use, x.free) for x in unroll(PROGRAM, schedule)]
    assert placed == [
        ("embed", -1, 2, 2), ("step", -1, 3, 3), ("step", 3, 4, 4), ("step", 4, 5, 5),
        ("decode", 5, 6, 6),
    ]  # fmt: skip
    kept = replace(schedule, loads=(EMBED, STEP, DECODE))
    assert [(x.use, x.free) for x in unroll(PROGRAM, kept)] == [(2, 2), (3, 5), (6, 6)]


def changed(segment: int, step: int | None = None, **changes):
    segments = list(PROGRAM.segments)
    if step is None:
        segments[segment] = replace(segments[segment], **changes)
    else:
        steps = list(segments[segment].steps)
        steps[step] = replace(steps[step], **changes)
        segments[segment] = replace(segments[segment], steps=tuple(steps))
    return replace(PROGRAM, segments=tuple(segments))


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (changed(0, 0, frees=()), "tensor mask is never freed"),
        (changed(0, 2, frees=()), "tensor ids is never freed"),
        (changed(0, 1, frees=("ids",)), "step 0.0.2 \\(embed\\) reads ids, which is not there"),
        (changed(0, 1, frees=("z",)), "frees z, which is not there"),
        (changed(1, 0, frees=("e",)), "step 1.1.0 \\(step\\) reads e, which is not there"),
        (changed(1, 0, frees=("next",)), "loop loop: state z takes next, which is not there"),
        (changed(1, frees=()), "is never freed"),
        (changed(1, frees=("table", "scale", "e", "noise", "next", "nobody")),
         "segment loop frees nobody, which is not declared"),
        (changed(1, frees=("table", "scale", "e", "noise", "next", "e")), "loop frees twice 'e'"),
        (changed(0, 1, frees=("mask", "mask")), "frees twice 'mask'"),
        (changed(2, 0, frees=("video",)), "tensor z is never freed"),
        (changed(2, 0, outputs=()), "the output video is not there at the end"),
        (changed(0, 2, switch=(("f", 2), ("g", 2))), "switches functions at \\[2, 2\\]"),
    ],
)  # fmt: skip
def test_lives_by_hand(program, message):
    with pytest.raises(PlanError, match=message):
        proven(EMBED, STEP, DECODE, program=program)


def test_the_programs_frees_by_hand():
    """What nobody reads any more goes at once; what each iteration reads, at the loop's end."""
    frees = [[set(x.frees) for x in g.steps] for g in PROGRAM.segments]
    assert frees == [[{"mask"}, set(), {"ids"}], [set()], [{"z"}]]
    assert [set(g.frees) for g in PROGRAM.segments] == [
        set(), {"table", "scale", "e", "noise", "next"}, set()
    ]  # fmt: skip


# ---------------------------------------------------------------- the online rule


def online(facts=FACTS, budget: int = 10_000, program=PROGRAM):
    schedule = Schedule(
        policy=Policy("p", 1, True), budget_bytes=budget, loads=(EMBED, STEP, DECODE), resident=(),
        driver="online",
    )  # fmt: skip
    return check(program, facts, schedule, budget_bytes=budget).peak


def test_the_rules_peak_by_hand():
    """In the loop: all that is called from then on, step and decode."""
    peak = online()
    assert (peak.total_bytes, peak.ahead) == (340 + 50 + 2 * 100, ("decode",))
    # While embed runs, all three may be there.
    peak = online(hungry("embed", 1000))
    assert (peak.total_bytes, peak.ahead) == (180 + 1000 + 3 * 100, ("decode", "step"))
    # With less room the rule fills what there is.
    peak = online(budget=540)
    assert (peak.total_bytes, peak.room_bytes, peak.candidates) == (540, 50, ("decode",))
    with pytest.raises(PlanError, match="the budget is 489 bytes"):
        online(budget=489)


def test_what_an_early_end_leaves_counts_after_it():
    """A load in flight when the loop ends is still there while decode runs."""
    loop = PROGRAM.segments[1].steps[0]
    done = replace(loop.outputs[0], feature="done", tensor="done")
    program = changed(1, 0, outputs=(*loop.outputs, done))
    segments = list(program.segments)
    segments[1] = replace(segments[1], until="done")
    number = TensorDecl(Port("done", (1,), DType.FP32))
    program = replace(program, segments=tuple(segments), tensors=(*program.tensors, number))
    peak = online(hungry("decode", 1000), program=program)
    assert (peak.total_bytes, peak.ahead) == (192 + 1000 + 2 * 100, ("step",))
