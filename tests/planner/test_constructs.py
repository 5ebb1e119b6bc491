"""What the checker refuses of collected, streamed, cast, blended and resting values, and of
functions with ports of their own: right programs with one thing made wrong."""

from dataclasses import replace

import pytest

from entracte.check.pieces import check_features
from entracte.check.proof import check
from entracte.errors import PlanError
from entracte.ir import Binding, By, DType, HostStep, Input, Output, TensorDecl, Window
from entracte.program.workload import Workload
from entracte.schedule.choose import make_schedule
from tests.planner.lives import with_lives
from tests.planner.programs import DOUBLE_BUFFER, Part, make_program, port
from tests.planner.test_schedule import by_id

BUDGET = 100_000


def made(*parts):
    program, chunks, facts = make_program(parts)
    schedule = make_schedule(Workload(program, by_id(facts), BUDGET), DOUBLE_BUFFER)
    check(program, facts, schedule, budget_bytes=BUDGET)
    check_features(program, chunks)
    return program, facts, schedule


def refuse(case, change, message):
    program, facts, schedule = case
    with pytest.raises(PlanError, match=message):
        check(change(program), facts, schedule, budget_bytes=BUDGET)


def accept(case, change):
    program, facts, schedule = case
    check(change(program), facts, schedule, budget_bytes=BUDGET)


def with_segment(s, **changes):
    def change(program):
        segments = list(program.segments)
        segments[s] = replace(segments[s], **changes)
        return replace(program, segments=tuple(segments))

    return change


def with_step(s, k, **changes):
    def change(program):
        steps = list(program.segments[s].steps)
        steps[k] = replace(steps[k], **changes)
        return with_segment(s, steps=tuple(steps))(program)

    return change


def with_tensor(name, **changes):
    def change(program):
        decls = (replace(t, **changes) if t.name == name else t for t in program.tensors)
        return replace(program, tensors=tuple(decls))

    return change


def with_outputs(*outputs):
    return lambda program: replace(program, outputs=outputs)


def both(*changes):
    def change(program):
        for c in changes:
            program = c(program)
        return program

    return change


def outputs_of(case, s, k, n=None, **changes):
    """The outputs of a step, the n-th of them changed or (None) all."""
    bound = case[0].segments[s].steps[k].outputs
    return tuple(replace(b, **changes) if n in (i, None) else b for i, b in enumerate(bound))


# ---------------------------------------------------------------- streamed


@pytest.fixture
def streamed():
    """A whole part t0, then the pieces of a loop."""
    parts = (Part(1, (50,), also=("stream",)), Part(4, (70, 80), also=("stream",)), Part(1, (9,)))
    case = made(*parts)
    program = case[0]
    assert program.outputs[0].values == ("t0", "stream1")
    assert next(t for t in program.tensors if t.name == "stream1").streamed == 4
    assert "stream1" in program.segments[1].steps[1].frees
    return case


def test_a_streamed_tensor_is_never_read(streamed):
    read = (*streamed[0].segments[1].steps[1].inputs, Binding("more", "stream1"))
    refuse(streamed, with_step(1, 1, inputs=read), "which is .* streamed in 4 pieces")
    host = HostStep(stage="h", op="o", params=(), inputs=(("x", "stream1"),), outputs=())
    refuse(
        streamed,
        with_segment(2, steps=(host,)),
        "step 2.0 reads stream1, which is streamed: no step reads it",
    )
    refuse(
        streamed,
        with_segment(1, state=(("s1", "stream1", "t2"),)),
        "loop p1 carries stream1, which is streamed",
    )


def test_a_streamed_tensor_is_freed_by_its_own_step(streamed):
    frees = tuple(x for x in streamed[0].segments[1].steps[1].frees if x != "stream1")
    refuse(streamed, with_step(1, 1, frees=frees), "step 1.1 makes stream1 piece by piece, and doe")


def test_a_streamed_tensor_is_part_of_outputs_along_its_axis(streamed):
    own, last = streamed[0].outputs
    along = "stream1 is streamed, and must be part of outputs that are joined along one axis"
    refuse(streamed, with_outputs(last), along)
    alone = replace(own, name="again", values=("stream1",))
    accept(streamed, with_outputs(own, alone, last))
    # Its turn is shown in each of them.
    late = replace(own, name="late", values=("s1", "stream1"))
    refuse(streamed, with_outputs(alone, late, last), "output late: s1 is not complete")


def test_a_streamed_tensor_has_as_many_pieces_as_iterations(streamed):
    refuse(streamed, with_tensor("stream1", streamed=3), "makes 4 of stream1 in 4 iter.* it has 3")
    refuse(streamed, with_tensor("stream1", slots=2), "the output stream1 is .*, not one")
    windows = (Window(0, 4, 4, 4),)
    refuse(
        streamed,
        with_step(1, 1, outputs=outputs_of(streamed, 1, 1, 1, windows=windows)),
        "has windows in stream1, of which one piece is there",
    )
    refuse(
        streamed,
        with_step(1, 1, outputs=outputs_of(streamed, 1, 1, 1, by=By.WHOLE)),
        "bound whole to stream1, which is .* streamed in 4 pieces",
    )


def test_a_map_in_a_loop_streams_nothing(streamed):
    """It would make all of it again in every iteration."""
    change = both(
        with_step(1, 1, outputs=outputs_of(streamed, 1, 1, 1, by=By.MAP)),
        with_tensor("stream1", streamed=1),
    )
    refuse(streamed, change, "by map in each of 4 iterations")


def test_pieces_wait_for_the_parts_before_them(streamed):
    """The state of the same loop is complete only when it is over."""
    own, last = streamed[0].outputs
    late = replace(own, values=("s1", "stream1"))
    refuse(streamed, with_outputs(late, last), "pieces of stream1 .* out0: s1 is not complete")
    behind = replace(own, values=("t0", "stream1", "s1"))
    accept(streamed, with_outputs(behind, last))


# ---------------------------------------------------------------- whole parts


def test_a_part_is_freed_when_it_had_its_turn(streamed):
    own, last = streamed[0].outputs
    # t0 is freed when the loop is over (it is the state's first value): so is what is before it.
    accept(streamed, with_outputs(replace(own, values=("x", "t0", "stream1")), last))
    refuse(
        streamed,
        with_outputs(own, replace(last, name="other", values=("late", "t0")), last),
        "output other: late is not declared",
    )
    case = made(Part(1, (50, 60, 70)))
    frees = with_step(0, 1, frees=("t0", "t1"))
    order = Output("parts", "tensor", ("t1", "t2"), 0)
    bad = both(frees, with_step(0, 2, inputs=(Binding("in", "x"),), frees=("x",)))
    bad = both(bad, with_step(0, 0, frees=()))
    accept(case, both(bad, with_outputs(order)))
    refuse(
        case,
        both(bad, with_outputs(replace(order, values=("t2", "t1")))),
        "t1 is freed in segment 0 before its turn in output parts: t2 is not complete there",
    )


def test_a_part_is_made_in_one_place():
    case = made(Part(1, (50, 60)))
    twice = (Binding("out", "t1"), Binding("out", "t0"))
    refuse(
        case,
        both(with_step(0, 1, outputs=twice), with_outputs(Output("o", "tensor", ("t0", "t1"), 0))),
        "t0 is part of an output, and made in two places",
    )


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (Output("out", "tensor", (), 0), "output out has no parts"),
        (Output("out", "tensor", ("t1", "t1"), 0), "two parts are 't1'"),
        (Output("out", "smell", ("t1",), 0), "is a 'smell', not one of video"),
        (Output("out", "tensor", ("t1",), 1), "t1 has 1 axes, and none 1"),
        (Output("out", "tensor", ("t1", "flat"), 0), "flat are .* which differ beside axis 0"),
    ],
)
def test_parts_can_be_joined(output, message):
    case = made(Part(1, (50, 60)))
    flat = TensorDecl(replace(port("flat"), shape=(4, 2)))
    refuse(
        case,
        lambda p: replace(p, tensors=(*p.tensors, flat), outputs=(output,)),
        message,
    )


# ---------------------------------------------------------------- collected


@pytest.fixture
def collected():
    return made(Part(4, (70, 80, 60), also=("collect",)), Part(1, (50,), also=("collect",)))


def test_what_is_collected_is_read_after_the_loop(collected):
    program = collected[0]
    reader = program.segments[1].steps[0]
    assert "collect0" in {b.tensor for b in reader.inputs}
    inside = (*program.segments[0].steps[1].inputs, Binding("more", "collect0"))
    refuse(collected, with_step(0, 1, inputs=inside), "collects collect0, which a step of it reads")
    freed = (*program.segments[0].steps[2].frees, "collect0")
    refuse(collected, with_step(0, 2, frees=freed), "collects collect0, which a step of it frees")
    state = (("s0", "x", "t2"), ("collect0", "x", "t1"))
    refuse(collected, with_segment(0, state=state), "which is a state of it, or ends it")


def test_what_is_collected_covers_its_tensor(collected):
    def cut(**changes):
        window = replace(Window(0, 4, 4, 4), **changes)
        return with_step(0, 2, outputs=outputs_of(collected, 0, 2, 1, windows=(window,)))

    refuse(collected, cut(count=3), "has 3 pieces of collect0, in 4 iterations")
    refuse(collected, cut(start=1), "makes 1 to 17 of collect0")
    refuse(collected, cut(stride=3), "makes 0 to 13 of collect0")
    refuse(
        collected,
        both(cut(stride=3), with_tensor("collect0", port=port("collect0", 13))),
        "are blended, which is summed in fp32, and collect0 is fp16",
    )
    accept(
        collected,
        both(cut(stride=3), with_tensor("collect0", port=port("collect0", 13, DType.FP32))),
    )


def test_a_repeated_call_collects_nothing(collected):
    refuse(collected, with_step(0, 2, repeat=2), "bound whole, and each of the 2 repetitions")
    only = (replace(collected[0].segments[0].steps[2].outputs[1]),)
    refuse(
        collected,
        with_step(0, 2, repeat=2, outputs=only),
        "bound by iteration, and each of the 2 repetitions would overwrite it",
    )


def test_what_is_collected_is_whole_in_memory_from_the_first_iteration():
    """16 elements of fp16 in every step of the loop, whatever was collected so far."""
    plain, more = (made(Part(4, (0, 0), also=also)) for also in ((), ("collect",)))
    peaks = [check(*x[:3], budget_bytes=BUDGET).peak_bytes for x in (plain, more)]
    assert peaks[1] - peaks[0] == 2 * 16


def test_a_piece_that_leaves_is_all_that_is_in_memory():
    plain, more = (made(Part(7, (0, 0), also=also)) for also in ((), ("stream",)))
    peaks = [check(*x[:3], budget_bytes=BUDGET).peak_bytes for x in (plain, more)]
    assert peaks[1] - peaks[0] == 2 * 4


# ---------------------------------------------------------------- states


def test_a_state_may_be_another_float_than_what_it_takes():
    case = made(Part(4, (70, 80), also=("cast",)))
    (state,) = (t.port for t in case[0].tensors if t.name == "s0")
    assert state.dtype is DType.FP32
    # 8 bytes of the state are 16.
    plain = made(Part(4, (70, 80)))
    peaks = [check(*x[:3], budget_bytes=BUDGET).peak_bytes for x in (plain, case)]
    assert peaks[1] - peaks[0] == 8
    whole_number = with_tensor("s0", port=port("s0", 4, DType.INT32))
    refuse(case, whole_number, "state s0 is .*int32")
    refuse(case, with_tensor("s0", port=port("s0", 5)), "state s0 is .* starts as")


# ---------------------------------------------------------------- calls that rest


@pytest.fixture
def resting():
    """c0.01 in even iterations, c0.02 in every fourth, c0.03 in all of them."""
    case = made(Part(7, (70, 80, 60, 50), also=("rest",)))
    assert [x.at for x in case[0].segments[0].steps] == [(), (0, 4), (0, 2, 4, 6), ()]
    return case


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ((2, 4), "rests in the first iteration"),
        ((0, 4, 4), "at \\[0, 4, 4\\], which does not rise"),
        ((0, 4, 2), "which does not rise"),
        ((0, 7), "is called at 7, of 7 iterations"),
    ],
)
def test_calls_rest_in_iterations_that_there_are(resting, at, message):
    refuse(resting, with_step(0, 2, at=at), message)


def test_what_rests_stays_for_those_who_do_not(resting):
    """t1 is made in every fourth iteration and read in every second one; t2, read in all."""
    loop = resting[0].segments[0]
    assert {"t1", "t2"} <= set(loop.frees)
    freed = both(
        with_step(0, 2, frees=("t1",)),
        with_segment(0, frees=tuple(x for x in loop.frees if x != "t1")),
    )
    # As a whole: `with_segment` keeps the old steps.
    steps = freed(resting[0]).segments[0].steps
    steps = (steps[0], steps[1], replace(loop.steps[2], frees=("t1",)), steps[3])
    frees = tuple(x for x in loop.frees if x != "t1")
    early = with_segment(0, steps=steps, frees=frees)
    refuse(resting, early, "makes t1, which a step of the loop frees, and c0.02 reads it where")
    alike = (steps[0], steps[1], replace(steps[2], at=(0, 4)), steps[3])
    accept(resting, with_segment(0, steps=alike, frees=frees))
    less = (steps[0], steps[1], replace(steps[2], at=(0,)), steps[3])
    accept(resting, with_segment(0, steps=less, frees=frees))


def test_nobody_waits_for_what_rests(resting):
    refuse(resting, with_step(0, 3, at=(0, 2)), "rests, and makes t3, which state s0 takes")
    case = made(Part(4, (70, 80, 60), until=True))
    refuse(case, with_step(0, 0, at=(0, 2)), "rests, and makes done0, by which the loop may end")
    case = made(Part(4, (70, 80, 60), also=("collect",)))
    refuse(case, with_step(0, 2, at=(0, 2)), "bound by iteration, and rests in some")


# ---------------------------------------------------------------- sliced segments, tiles, functions


def test_slices_read_what_lies_in_their_tensor():
    case = made(Part(3, (70, 80), also=("groups",)))
    program = case[0]
    s = next(n for n, g in enumerate(program.segments) if g.sliced)
    step = program.segments[s].steps[0]
    (window,) = step.inputs[0].windows
    far = replace(step.inputs[0], windows=(replace(window, stride=window.stride + 1),))
    refuse(case, with_step(s, 0, inputs=(far, *step.inputs[1:])), "takes .* of wide0 along axis 0")


def test_slots_are_as_many_as_who_reads_them_takes():
    case = made(Part(3, (70, 80), also=("groups",)))
    s = next(n for n, g in enumerate(case[0].segments) if g.name == "p0.join")
    (binding,) = case[0].segments[s].steps[0].inputs
    assert binding.by is By.MAP and not binding.windows
    refuse(case, with_step(s, 0, repeat=4), "takes 4 of m0.1 in 4 repetitions, it has 3")


def test_tiles_are_blended_in_fp32():
    case = made(Part(1, (70,), also=("tiles",)))
    (decl,) = (t for t in case[0].tensors if t.name == "blend0")
    half = with_tensor("blend0", port=replace(decl.port, dtype=DType.FP16))
    refuse(case, half, "are blended, which is summed in fp32, and blend0 is fp16")


def test_what_overlaps_is_read_as_what_it_is():
    """Only what is summed may be made in another type than its tensor's."""
    program, chunks, _ = make_program((Part(1, (70,), also=("tiles",)),))
    check_features(program, chunks)
    (wide,) = (t.port for t in program.tensors if t.name == "wide0")
    other = with_tensor("wide0", port=replace(wide, dtype=DType.FP32))(program)
    spread = next(i for i, c in enumerate(chunks) if c.id == "c0.91")
    port_of = replace(chunks[spread].outputs[0], dtype=DType.FP32)
    made = (*chunks[:spread], replace(chunks[spread], outputs=(port_of,)), *chunks[spread + 1 :])
    with pytest.raises(PlanError, match=r"c0.00, in wants fp16 \(3, 4\), tensor wide0 gives fp32"):
        check_features(other, made)


def test_a_call_does_not_read_what_it_makes_in_pieces():
    case = made(Part(1, (70,), also=("tiles",)))
    s = next(n for n, g in enumerate(case[0].segments) if g.name == "p0")
    read = (*case[0].segments[s].steps[0].inputs, Binding("old", "blend0"))
    refuse(case, with_step(s, 0, inputs=read), "reads blend0, which it makes piece by piece")


def test_a_function_of_another_stage_has_its_own_ports():
    program, chunks, _ = make_program((Part(1, (70,)), Part(1, (5,), also=("shared",))))
    check_features(program, chunks)
    call = program.segments[1].steps[0]
    assert (call.chunk, call.function) == ("c0.00", "f1")
    main = replace(program, segments=with_step(1, 0, function="main")(program).segments)
    with pytest.raises(PlanError, match=r"c0.00 has inputs \['in'\], the call binds \['wide'\]"):
        check_features(main, chunks)
    (variant,) = chunks[0].variants
    other = replace(variant, inputs=(port("wide", 5),))
    with pytest.raises(PlanError, match=r"c0.00 \(f1\), wide wants fp16 \(5,\)"):
        check_features(program, (replace(chunks[0], variants=(other,)), *chunks[1:]))
    own = replace(variant, graph="", inputs=(), outputs=())
    with pytest.raises(PlanError, match=r"c0.00 \(f1\) has inputs \['in'\]"):
        check_features(program, (replace(chunks[0], variants=(own,)), *chunks[1:]))


# ---------------------------------------------------------------- inputs


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "image", "port": None}, "is an image, without shape and type"),
        ({"kind": "number"}, "is a number, which has no shape and type"),
        ({"kind": "text", "port": None}, "is a text, which is no tensor"),
        ({"port": port("picture0", 39)}, "is a tensor, fp16 \\(39,\\); its tensor is fp16 \\(40,"),
        ({"kind": "choice", "port": None}, "is a choice, int32 \\(1,\\); its tensor is fp16"),
    ],
)
def test_inputs_have_their_tensors(given, message):
    case = made(Part(1, (70,), also=("given",)))
    (picture,) = case[0].inputs
    refuse(case, lambda p: replace(p, inputs=(replace(picture, **given),)), message)
    if given.get("kind") == "image":
        lost = Input("other", "tensor", 0, port("other", 4))
        refuse(
            case,
            lambda p: replace(p, inputs=(*p.inputs, lost)),
            "other is a tensor; its tensor is not declared",
        )


def test_the_lives_are_the_planners_own():
    """`with_lives` is what these programs are made with; nothing of it is assumed."""
    program, *_ = make_program((Part(4, (70, 80), also=("collect",)),))
    assert with_lives(program) == program
