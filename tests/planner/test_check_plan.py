"""The checker on plans by hand: each thing that a plan can get wrong is refused, by its place.

Every case changes one value of a plan that is right; that the plan itself passes is tried first.
"""

import json
import math
from dataclasses import fields, is_dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entracte.check.numbers import check_numbers
from entracte.check.proof import check
from entracte.codec import decode, encode
from entracte.errors import PlanError
from entracte.ir import (
    Bar,
    Binding,
    By,
    Call,
    Chunk,
    ChunkFacts,
    DType,
    HostStep,
    Input,
    Output,
    Plan,
    Policy,
    Port,
    Program,
    Segment,
    TensorDecl,
    Window,
)
from entracte.plan.file import CONSTANTS, VERSION, check_plan
from entracte.plan.forecast import forecast
from entracte.program.assemble import with_frees
from entracte.program.workload import Workload
from entracte.schedule.choose import make_schedule
from tests.planner.examples import FEW
from tests.planner.plans import (
    make_online_plan,
    make_plan,
    make_special_plan,
    make_target,
    plan_of,
)
from tests.planner.programs import DOUBLE_BUFFER, POLICIES, packages, parts

H, F, I = DType.FP16, DType.FP32, DType.INT32  # noqa: E741
STEPS = 3
ROW = (Window(0, 1, STEPS, 1),)


def chunk(name: str, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> Chunk:
    return Chunk(
        id=name, graph=name, start=0, stop=1, inputs=inputs, outputs=outputs, weight_bytes=100,
        activation_bytes=50, flops=2, moved_bytes=1,
    )  # fmt: skip


EMBED = chunk("embed", (Port("ids", (1, 8), I), Port("row", (1, 2), F)), (Port("e", (1, 4), H),))
STEP = chunk(
    "step",
    (Port("z", (6, 4), F), Port("row", (1, 2), F), Port("e", (1, 4), H), Port("g", (1,), F)),
    (Port("next", (6, 4), F),),
)
DECODE = chunk("decode", (Port("z", (2, 4), F),), (Port("v", (4, 2), F),))

TENSORS = (
    Port("table", (STEPS, 2), F), Port("scale", (1,), F), Port("ids", (1, 8), I),
    Port("mask", (1, 8), F), Port("noise", (6, 4), F), Port("z", (6, 4), F),
    Port("next", (6, 4), F), Port("video", (4, 6), F),
)  # fmt: skip


def make_sampler(**changes) -> Plan:
    """A text and noise from the host, a stage run for each row of a table into slots, a loop that
    reads a slot, a row and a number, and a decoder over slices: every kind of binding."""
    host = (
        HostStep(
            stage="tokens", op="tokenize", params=(("tokenizer", "t.json"), ("length", 8)),
            inputs=(("text", "prompt"),),
            outputs=(Binding("input_ids", "ids"), Binding("mask", "mask")),
        ),
        HostStep(
            stage="noise", op="random_normal", params=(("shape", (6, 4)),),
            inputs=(("seed", "seed"),), outputs=(Binding("noise", "noise"),),
        ),
    )  # fmt: skip
    embed = Call(
        stage="embed", chunk="embed", repeat=STEPS,
        inputs=(Binding("ids", "ids"), Binding("row", "table", By.MAP, ROW)),
        outputs=(Binding("e", "e", By.MAP),),
    )  # fmt: skip
    step = Call(
        stage="step", chunk="step", outputs=(Binding("next", "next"),),
        inputs=(
            Binding("z", "z"), Binding("row", "table", By.ITERATION, ROW),
            Binding("e", "e", By.ITERATION), Binding("g", "scale"),
        ),
    )  # fmt: skip
    last = Call(
        stage="decode", chunk="decode", repeat=3,
        inputs=(Binding("z", "z", By.MAP, (Window(0, 2, 3, 2),)),),
        outputs=(Binding("v", "video", By.MAP, (Window(1, 2, 3, 2),)),),
    )  # fmt: skip
    program = with_frees(
        Program(
            inputs=(
                Input("prompt", "text", "x"), Input("seed", "seed", 0),
                Input("scale", "number", 4.0),
            ),
            constants=(Port("table", (STEPS, 2), F),),
            tensors=(*map(TensorDecl, TENSORS), TensorDecl(Port("e", (1, 4), H), STEPS)),
            segments=(
                Segment(name="before", count=1, steps=(*host, embed)),
                Segment(name="loop", count=STEPS, steps=(step,), state=(("z", "noise", "next"),)),
                Segment(name="after", count=1, steps=(last,)),
            ),
            outputs=(Output("video", "tensor", ("video",), 0),),
        )
    )  # fmt: skip
    chunks = (EMBED, STEP, DECODE)
    facts = tuple(
        ChunkFacts(id=c.id, weight_bytes=100, activation_bytes=50, load_s=1.0, exec_s=1.0)
        for c in chunks
    )
    target = make_target(2000)
    workload = Workload.on(target, program, facts)
    schedule = make_schedule(workload, DOUBLE_BUFFER)
    proof = check(program, facts, schedule, budget_bytes=2000)
    return Plan(
        version=VERSION, entracte="0", built=True, pipeline="p", title="t", target=target,
        settings="{}", program=program, chunks=chunks, packages=packages(chunks),
        facts=facts, schedule=schedule, forecast=forecast(workload, schedule, proof),
        files=((CONSTANTS, "0" * 64), ("t.json", "0" * 64)),
    )  # fmt: skip


PLAN = make_sampler()
BODY = json.dumps(encode(PLAN))


def body() -> dict:
    return json.loads(BODY)


def refused(given: dict, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        check_plan(decode(Plan, given))


def step(p: dict, segment: int, k: int = 0) -> dict:
    return p["program"]["segments"][segment]["steps"][k]


def tensor(p: dict, name: str) -> dict:
    return next(t for t in p["program"]["tensors"] if t["port"]["name"] == name)


def test_the_plan_itself_is_right():
    check_plan(PLAN)
    assert decode(Plan, body()) == PLAN


@pytest.mark.parametrize("make", [make_plan, make_special_plan, make_online_plan])
def test_other_plans_are_right(make):
    check_plan(make())


@FEW
@given(parts, st.sampled_from(POLICIES), st.integers(0, 600))
def test_every_plan_that_we_make_keeps_its_promise(shape, policy, spare):
    check_plan(plan_of(shape, policy, spare))


# ---------------------------------------------------------------- pieces


def bind(segment, k, side, index, **changes):
    def change(p):
        step(p, segment, k)[side][index].update(changes)

    return change


def cut(segment, k, side, index, **changes):
    def change(p):
        step(p, segment, k)[side][index]["windows"][0].update(changes)

    return change


def windows(*windows):
    """(axis, size, count, stride, start) each."""
    names = ("axis", "size", "count", "stride", "start")
    return [dict(zip(names, w, strict=True)) for w in windows]


PIECES = {
    "an axis that is not there": (cut(0, 2, "inputs", 1, axis=2), "slices axis 2 of table"),
    "a negative axis": (cut(0, 2, "inputs", 1, axis=-1), "axis: -1 is negative"),
    "slices of nothing": (cut(0, 2, "inputs", 1, size=0), "size: 0 is not 1 or more"),
    "a stride of nothing": (cut(0, 2, "inputs", 1, stride=0), "stride: 0 is not 1 or mo"),
    "slices that begin before": (cut(0, 2, "inputs", 1, start=-1), "start: -1 is negative"),
    "slices beyond the tensor": (cut(2, 0, "inputs", 0, size=3), "takes 7 of z .* it has 6"),
    "slices that begin too late": (cut(2, 0, "inputs", 0, start=1), "takes 7 of z .* it has 6"),
    "slices too far apart": (cut(2, 0, "inputs", 0, stride=3), "takes 8 of z .* it has 6"),
    "fewer pieces than repetitions": (cut(2, 0, "inputs", 0, count=2), "has 2 pieces of z, in 3"),
    "an iteration's row beyond the table": (
        cut(1, 0, "inputs", 1, size=2), "takes 4 of table along axis 0 in 3 iterations of 2, it has"
    ),
    "outputs that do not cover": (
        cut(2, 0, "outputs", 0, size=1), "makes 0 to 5 of video along axis 1 in pieces of 1, it has"
    ),
    "outputs that begin late": (cut(2, 0, "outputs", 0, start=1), "makes 1 to 7 of video"),
    "outputs beyond": (cut(2, 0, "outputs", 0, axis=0), "makes 0 to 6 of video .* it has 4"),
    "outputs with gaps": (
        lambda p: (
            tensor(p, "video")["port"].update(shape=[4, 5]),
            cut(2, 0, "outputs", 0, size=1)(p),
        ),
        "pieces of 1 every 2 leave gaps",
    ),
    "outputs that overlap threefold": (
        bind(2, 0, "outputs", 0, windows=windows((1, 4, 3, 1, 0))), "more than two at a time"
    ),
    "outputs that are blended in fp16": (
        lambda p: (
            tensor(p, "video")["port"].update(dtype="fp16", shape=[4, 7]),
            cut(2, 0, "outputs", 0, size=3)(p),
        ),
        "are blended, which is summed in fp32, and video is fp16",
    ),
    "two windows along one axis": (
        bind(2, 0, "inputs", 0, windows=windows((0, 2, 3, 2, 0), (0, 2, 1, 2, 0))),
        "two windows are along axis '0'",
    ),
    "three windows": (
        bind(2, 0, "inputs", 0, windows=windows((0, 2, 3, 2, 0), (1, 4, 1, 4, 0), (1, 4, 1, 4, 0))),
        "3 windows, at most 2",
    ),
    "outputs by iteration": (bind(2, 0, "outputs", 0, by="iteration"), "a step of it frees"),
    "whole outputs of a map": (
        bind(2, 0, "outputs", 0, by="whole", windows=[]), "each of the 3 repetitions"
    ),
    "whole, and sliced": (
        bind(1, 0, "inputs", 0, windows=windows((0, 6, 1, 6, 0))), "whole, and yet to slices"
    ),
    "whole, of slots": (bind(1, 0, "inputs", 2, by="whole"), "bound whole to e, which is .* 3 slo"),
    "slots of a single tensor": (
        bind(1, 0, "inputs", 0, by="iteration"), "slots of z, which is fp32 .* bound by windows"
    ),
    "an axis of slots": (
        bind(1, 0, "inputs", 2, windows=windows((0, 1, 3, 1, 0))),
        "slices axis 0 of e, which is .* slots",
    ),
    "fewer slots than repetitions": (
        lambda p: tensor(p, "e").update(slots=2), "makes 3 of e in 3 repetitions, it has 2"
    ),
    "more slots than repetitions": (
        lambda p: tensor(p, "e").update(slots=4), "makes 3 of e in 3 repetitions, it has 4"
    ),
    "more iterations than slots": (
        lambda p: p["program"]["segments"][1].update(count=4), "has 3 pieces of table, in 4 iterat"
    ),
    "a tensor that is not declared": (bind(1, 0, "inputs", 3, tensor="seed"), "seed, which is not"),
    "an output that is not declared": (bind(1, 0, "outputs", 0, tensor="no"), "no, which is not"),
    "two outputs in one tensor": (
        lambda p: step(p, 0, 0)["outputs"].append(dict(step(p, 0, 0)["outputs"][0], feature="x")),
        "two outputs are bound to tensor 'ids'",
    ),
    "a host's output by map": (bind(0, 0, "outputs", 0, by="map"), "a host step gives whole"),
    "another shape than the feature's": (
        lambda p: tensor(p, "scale")["port"].update(shape=[2]), "input scale is a number"
    ),
    "another type than the feature's": (
        lambda p: tensor(p, "e")["port"].update(dtype="fp32"), "chunk embed, e wants fp16"
    ),
    "a slice of another shape": (
        lambda p: [
            p[what][2]["inputs"][0].update(shape=[3, 4]) for what in ("chunks", "packages")
        ],
        "decode, z wants fp32 \\(3, 4",
    ),
    "a feature that is bound twice": (
        lambda p: step(p, 1)["inputs"].append(step(p, 1)["inputs"][0]), "two inputs are called 'z'"
    ),
    "a feature that is not bound": (
        lambda p: step(p, 1)["inputs"].pop(), "chunk step has inputs .* the call binds"
    ),
    "a constant of another shape": (
        lambda p: p["program"]["constants"][0].update(shape=[4, 2]), "constant table is fp32 \\(4,"
    ),
    "a constant without its tensor": (
        lambda p: p["program"]["constants"].append({"name": "c", "shape": [1], "dtype": "fp16"}),
        "constant c is fp16 \\(1,\\), its tensor is not declared",
    ),
    "a text as a tensor": (
        lambda p: p["program"]["inputs"][2].update(kind="text"), "scale is a text, which is no ten"
    ),
    "an input of no kind": (lambda p: p["program"]["inputs"][0].update(kind="x"), "not one of"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), PIECES.values(), ids=PIECES.keys())
def test_pieces_lie_in_their_tensors(change, message):
    given = body()
    change(given)
    refused(given, message)


# ---------------------------------------------------------------- states


@pytest.mark.parametrize("changes", [{"shape": [6, 5]}, {"dtype": "int32"}, {"slots": 2}])
@pytest.mark.parametrize("name", ["z", "noise", "next"])
def test_a_state_is_what_it_starts_as_and_goes_on_as(name, changes):
    given = body()
    changed = tensor(given, name)
    (changed if "slots" in changes else changed["port"]).update(changes)
    refused(given, "loop loop: state z is .*, starts as .* and goes on as")


def test_states_are_moved_one_by_one():
    given = body()
    given["program"]["segments"][1]["state"].append(["z", "noise", "next"])
    refused(given, "loop loop: two states are called 'z'")
    given["program"]["segments"][1]["state"][1] = ["mask", "mask", "next"]
    refused(given, "two states take what is called 'next'")
    given["program"]["segments"][1]["state"] = [["z", "noise", "z"]]
    refused(given, "goes on as z, which is itself a state")


# ---------------------------------------------------------------- names


def twice(*path):
    def change(p):
        for name in path:
            p = p[name]
        p.append(p[0])

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (twice("chunks"), "two chunks are called 'embed'"),
        (twice("facts"), "the facts of two chunks are called 'embed'"),
        (twice("packages"), "two packages are for chunk 'embed'"),
        (lambda p: p["packages"][1].update(path=p["packages"][0]["path"]), "two packages are at"),
        (twice("files"), "two files are called 'constants.safetensors'"),
        (lambda p: p["files"].append([p["packages"][0]["path"], "0"]), "is a package as well"),
        (twice("program", "tensors"), "two tensors are called 'table'"),
        (lambda p: p["program"]["segments"][2].update(name="loop"), "two segments are called 'loo"),
        (twice("program", "constants"), "two inputs or constants are called 'table'"),
        (lambda p: p["program"]["inputs"][0].update(name="seed"), "two inputs or constants are"),
        (lambda p: p["chunks"][0]["inputs"][1].update(name="ids"), "two inputs are called 'ids'"),
        (lambda p: p["facts"][0].update(exec_by=[["f", 1.0]] * 2), "embed has two times of"),
        (lambda p: p["target"].update(efficiency=[["x", 0.5]] * 2), "two shares are of"),
        (lambda p: p["facts"][0].update(id="x"), "facts about chunks have different names"),
        (lambda p: p["packages"][0].update(chunk="x"), "not every chunk has its package"),
    ],
)  # fmt: skip
def test_a_name_is_used_once(change, message):
    given = body()
    change(given)
    refused(given, message)


# ---------------------------------------------------------------- packages


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p["packages"][0]["inputs"][0].update(shape=[1, 9]), "has other ports than its"),
        (lambda p: p["packages"][1]["outputs"].pop(), "step.mlpackage has other ports than its"),
        (lambda p: p["packages"].pop(), "not every chunk has its package"),
        (lambda p: step(p, 1).update(function="x"), "calls function 'x' of step, which has"),
        (lambda p: step(p, 1).update(switch=[["x", 1]]), "calls function 'x' of step, which has"),
        (
            lambda p: p["packages"][1].update(functions=["x"]),
            "packages/step.mlpackage has the functions x, its chunk main",
        ),
    ],
)  # fmt: skip
def test_packages_are_of_their_chunks(change, message):
    given = body()
    change(given)
    refused(given, message)


# ---------------------------------------------------------------- numbers


def numbers(value, path=()):
    """Every number of an encoded value, by its path."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from numbers(item, (*path, key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from numbers(item, (*path, i))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


ALL = [path for path in numbers(body()) if "default" not in path]


@pytest.mark.parametrize("value", [-1, 2**63, math.nan, math.inf, -math.inf, 10**400, True])
def test_every_number_of_a_plan_is_checked(value):
    """Each in turn: negative, beyond 64 bits, not finite, no number at all."""
    for path in ALL:
        given = body()
        place = given
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        if value == -1 and path[-1] in ("low", "high"):
            continue  # what black is
        with pytest.raises(PlanError):
            check_plan(decode(Plan, given))
    assert len(ALL) > 150


def edge(what, **changes):
    return lambda p: p["program"][what][0].update(**changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edge("outputs", name="../clip"), r"an output is called '\.\./clip'; a name is letters"),
        (edge("outputs", name="/tmp/clip"), "an output is called '/tmp/clip'"),
        (edge("outputs", name="a\x1b[2J"), r"an output is called 'a\\x1b\[2J'"),
        (edge("outputs", kind="image", low=1.0, high=1.0), "black and white are both 1"),
        (edge("inputs", name="a=b"), "an input is called 'a=b'"),
        (edge("inputs", default=1.5), "input prompt: its default 1.5 is none of a text"),
        (edge("inputs", kind="number"), "input prompt: its default 'x' is none of a number"),
        (edge("inputs", fit="tile"), "its fit is 'tile', not one of crop, pad, stretch"),
    ],
)  # fmt: skip
def test_what_is_given_and_what_it_gives(change, message):
    given = body()
    change(given)
    refused(given, message)


@pytest.mark.parametrize(("kind", "rate", "message"), [
    ("image", 0.0, r"\(3, 2\) is the shape of no image"),
    ("video", 0.0, r"\(3, 2\) is the shape of no video"),
    ("audio", 9.0, r"\(3, 2\) is the shape of no audio"),
    ("audio", 0.0, "an audio of 0 samples a second"),
])  # fmt: skip
def test_shapes_of_what_is_given(kind, rate, message):
    shaped = Input("x", kind, None, Port("x", (3, 2), F), rate=rate)
    program = replace(PLAN.program, inputs=(*PLAN.program.inputs, shaped))
    program = replace(program, tensors=(*program.tensors, TensorDecl(Port("x", (3, 2), F))))
    with pytest.raises(PlanError, match=message):
        check_plan(replace(PLAN, program=program))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p["target"].update(contention=0.5), "contention: 0.5 is not from 1 to 1000"),
        (lambda p: p["target"].update(contention=1e300), "contention: 1e\\+300 is not from 1"),
        (lambda p: p["target"].update(settle_fraction=1.0), "settle_fraction: 1.0 is not at least"),
        (lambda p: p["target"].update(load_bandwidth=0.0), "load_bandwidth: 0.0 is not above 0"),
        (lambda p: p["target"].update(memory_bandwidth=0.0), "memory_bandwidth: 0.0 is not above"),
        (lambda p: p["target"].update(compute_flops=0.0), "compute_flops: 0.0 is not above 0"),
        (lambda p: p["target"].update(cold_bandwidth=0.0), "cold_bandwidth: 0.0 is not above 0"),
        (lambda p: p["target"].update(efficiency=[["a", 0.0]]), "efficiency.* is not above 0 and"),
        (lambda p: p["target"].update(efficiency=[["a", 1.5]]), "1.5 is not above 0 and at most 1"),
        (lambda p: p["target"].update(page_bytes=4095), "page_bytes: 4095 is not 0 or at least"),
        (lambda p: p["facts"][0].update(cold_s=-0.1), "facts\\[0\\].cold_s: -0.1 is negative"),
        (lambda p: p["facts"][0].update(load_s=1e300), "load_s: 1e\\+300 is more than 1000000000"),
        (lambda p: p["facts"][0].update(exec_by=[["f", -1.0]]), "exec_by.* -1.0 is negative"),
        (lambda p: p["chunks"][0].update(compute_unit="gpu"), "unit 'gpu' is not one of cpuAndGPU"),
        (lambda p: p["chunks"][0].update(flops=-1), "chunks\\[0\\].flops: -1 is negative"),
        (lambda p: tensor(p, "z").update(slots=0), "slots: 0 is not 1 or more"),
        (lambda p: tensor(p, "z")["port"].update(shape=[0, 4]), "shape\\[0\\]: 0 is not 1 or more"),
        (lambda p: tensor(p, "z")["port"].update(shape=[2**40] * 2), "more elements than any mem"),
        (lambda p: tensor(p, "z")["port"].update(shape=[1] * 99), "99 axes, at most 16"),
        (lambda p: p["program"]["segments"][1].update(count=0), "count: 0 is not 1 or more"),
        (lambda p: p["program"]["segments"][1].update(count=10**6), "steps, at most 15000 are"),
        (lambda p: step(p, 2).update(repeat=10**7), "calls, at most 1000000 are possible"),
        (lambda p: step(p, 0, 1).update(params=[["shape", [6, 2**63]]]), "64 bits"),
        (lambda p: p["program"]["inputs"][1].update(default=10**30), "is (not between|of no)"),
    ],
)  # fmt: skip
def test_numbers_are_in_their_ranges(change, message):
    given = body()
    change(given)
    refused(given, message)


def test_values_made_in_python_are_walked_too():
    """The walk itself, without the reader's own refusals."""
    for value in (math.nan, math.inf, -1.0):
        facts = replace(PLAN.facts[0], cold_s=value)
        with pytest.raises(PlanError, match="\\[0\\].cold_s: .* is (not finite|negative)"):
            check_numbers((facts,), "plan.facts")
        with pytest.raises(PlanError, match="cold_s"):
            check(PLAN.program, (facts, *PLAN.facts[1:]), PLAN.schedule, budget_bytes=2000)
    with pytest.raises(PlanError, match="lookahead: 9223372036854775808 is not between"):
        check_numbers(
            replace(PLAN, schedule=replace(PLAN.schedule, policy=Policy("p", 2**63, True)))
        )


def test_the_walk_reaches_every_type_of_a_plan():
    """A type that the walk did not enter would keep its numbers unchecked."""
    seen = set()

    def kinds(value):
        if isinstance(value, tuple):
            for item in value:
                kinds(item)
        elif is_dataclass(value):
            seen.add(type(value))
            for f in fields(value):
                kinds(getattr(value, f.name))

    kinds(PLAN)
    assert {Bar, Binding, ChunkFacts, Policy, Port, TensorDecl, Input} <= seen


# ---------------------------------------------------------------- host steps and files


HOST = [
    (lambda p: step(p, 0).update(op="dice"), "stage tokens: the host step 'dice' is none of"),
    (
        lambda p: step(p, 0, 1).update(params=[["shape", [6, 5]]]),
        "noise as fp32 \\(6, 5\\), tensor",
    ),
    (lambda p: step(p, 0, 1).update(params=[["shape", [2**26, 2]]]), "at most 67108864 elements"),
    (lambda p: step(p, 0, 1).update(params=[]), "'shape' is missing"),
    (lambda p: step(p, 0, 1)["params"].append(["shape", [6, 4]]), "is given twice"),
    (lambda p: step(p, 0, 1).update(params=[["shape", [6, True]]]), "is not a list of sizes"),
    (lambda p: step(p, 0, 1).update(inputs=[["sede", "seed"]]), "inputs: 'sede' is unknown"),
    (lambda p: step(p, 0, 1).update(inputs=[["seed", "prompt"]]), "'prompt', which is a text"),
    (lambda p: step(p, 0, 1).update(inputs=[["seed", "table"]]), "a host step reads inputs of th"),
    (lambda p: step(p, 0)["params"][1].__setitem__(1, 9), "input_ids as int32 \\(1, 9\\), "),
    (lambda p: step(p, 0)["params"][1].__setitem__(1, 0), "params.length: 0 is not a whole"),
    (
        lambda p: step(p, 0)["params"][0].__setitem__(1, "../t.json"),
        "is not a file's name, without",
    ),
    (lambda p: step(p, 0)["params"][0].__setitem__(1, "u.json"), "needs u.json, which is no"),
    (lambda p: step(p, 0)["outputs"][0].update(feature="ids"), "gives input_ids, mask, not"),
    (lambda p: tensor(p, "mask")["port"].update(dtype="int32"), "gives mask as fp32 .* is int32"),
    (lambda p: p["files"].pop(0), "has constants, but constants.safetensors is no file of it"),
]


@pytest.mark.parametrize(("change", "message"), HOST)
def test_host_steps_are_rows_of_the_table(change, message):
    given = body()
    change(given)
    refused(given, message)


# ---------------------------------------------------------------- promises


def claim(**changes):
    return lambda p: p["forecast"].update(changes)


F0 = PLAN.forecast
PROMISES = [
    (claim(peak_bytes=F0.peak_bytes - 1), "claims a peak of"),
    (claim(peak_bytes=F0.peak_bytes + 1), "claims a peak of"),
    (claim(peak_step="step 9.9.9 (x)"), "claims its peak at 'step 9.9.9"),
    (claim(lower_bound="luck"), "the bound 'luck' is not one of"),
    (claim(lower_bound_s=F0.makespan_s + 0.01), "and that none is below"),
    (claim(compute_s=F0.compute_s - 0.01), "s of computing, by its own numbers it is 9.0 s"),
    (claim(compute_s=F0.compute_s + 0.5), "s of computing, by its own numbers"),
    (claim(loading_s=F0.loading_s - 0.01), "s of loading, by its own numbers"),
    (claim(stall_s=F0.stall_s + 0.01), "claims stalls of"),
    (claim(stalls=[]), "claims stalls by cause of"),
    (claim(stalls=[["luck", F0.stall_s]]), "the stall 'luck' is not one of"),
    (claim(makespan_s=F0.makespan_s / 2), "plan: claims|the run takes"),
    (
        claim(
            makespan_s=F0.makespan_s + 1, stall_s=F0.stall_s + 1, stalls=[["start", F0.stall_s + 1]]
        ),
        "the end of the last call",
    ),
    (claim(loads=F0.loads - 1), "claims 2 loads, its own numbers make it 3"),
    (claim(loads=F0.loads + 1), "claims 4 loads, its own numbers make it 3"),
    (claim(loaded_bytes=F0.loaded_bytes - 1), "bytes loaded, its own numbers make it 300"),
    (claim(stage_s=[["embed", F0.compute_s]] * 2), "two times are of"),
    (claim(stage_s=[["embed", F0.compute_s - 1]]), "claims all stages of"),
    (claim(stage_s=[["x", F0.compute_s]]), "seconds of stage 'x', which no step is of"),
    (claim(earliest_s=1.0), "no loop may end early, and the earliest end is 1.0 s"),
    (lambda p: p["forecast"]["bars"][0].update(queue="x"), "the queue is not one of"),
    (lambda p: p["forecast"]["bars"][0].update(label="x"), "there is no such chunk"),
    (lambda p: p["forecast"]["bars"][0].update(segment=9), "there is no iteration 0, step"),
    (lambda p: p["forecast"]["bars"][0].update(iteration=9), "there is no iteration 9"),
    (lambda p: p["forecast"]["bars"][0].update(step=9), "step 9 of segment"),
    (lambda p: p["forecast"]["bars"][0].update(size_bytes=101), "101 bytes, at most 100"),
    (lambda p: p["forecast"]["bars"][0].update(start_s=9.0), "from 9.0 to"),
    (lambda p: p["forecast"]["bars"][-1].update(end_s=1e6), "to 1000000.0 s, the run takes"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), PROMISES)
def test_a_promise_that_its_own_numbers_refute_is_refused(change, message):
    given = body()
    change(given)
    refused(given, message)


def test_calls_are_where_bars_say():
    given = body()
    bar = next(b for b in given["forecast"]["bars"] if b["queue"] == "compute")
    bar["label"] = "decode" if bar["label"] != "decode" else "embed"
    refused(given, "does not call it")


def test_the_earliest_end_is_told_where_there_is_one():
    plan = make_special_plan()
    for earliest_s, message in ((None, "not told"), (0.1, "a run that ends early"), (1e6, "early")):
        changed = replace(plan.forecast, earliest_s=earliest_s)
        with pytest.raises(PlanError, match=message):
            check_plan(replace(plan, forecast=changed))


def test_an_online_plan_loads_each_chunk_at_least_once():
    plan = make_online_plan()
    called = sum(f.weight_bytes for f in plan.facts)
    few = replace(plan.forecast, loaded_bytes=called - 1)
    with pytest.raises(PlanError, match=f"bytes loaded, its own numbers make it {called} or more"):
        check_plan(replace(plan, forecast=few))
