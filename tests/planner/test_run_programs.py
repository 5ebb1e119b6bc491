"""The runner on every construct of programs, against the interpreter of `tests/interpreter.py` and
sums on paper: windows, blends, collected and streamed tensors, casts, rests, slices that carry."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from entracte.check.proof import check
from entracte.ir import (
    Binding,
    By,
    Call,
    Chunk,
    ChunkFacts,
    DType,
    Input,
    Output,
    Port,
    Program,
    Segment,
    TensorDecl,
    Window,
)
from entracte.plan.forecast import forecast
from entracte.program.workload import Workload
from entracte.run.blend import ramp, weighted
from entracte.run.possible import fault_of
from entracte.run.runner import run_plan
from entracte.schedule.choose import make_schedule
from tests.interpreter import interpret
from tests.planner.plans import make_target, plan_of
from tests.planner.programs import DOUBLE_BUFFER, ONLINE, SEQUENTIAL, Part, packages
from tests.planner.test_run_by_hand import NumpyDevice

H, F, I = DType.FP16, DType.FP32, DType.INT32  # noqa: E741
M, T = By.MAP, By.ITERATION
WEIGHT, ACTIVATION = 100, 50
TABLE = np.array([[1, 2], [3, 5], [8, 13], [21, 34]], np.float32)
Z0 = np.array([[0.5, -1, 2], [3, 0.25, -2]], np.float16)
GRID = (Window(2, 4, 2, 2), Window(3, 4, 2, 2))


def tile(x):
    return {"y": (x * x.mean()).astype(np.float16)}


def rare(z):
    return {"c": z.sum(axis=1, keepdims=True)}


def step(z, c, row):
    n = (np.float32(0.5) * z + c + row[0, 1]).astype(np.float16)
    y = n.astype(np.float32)[:, :1] - row[0, 0]
    return {"n": n, "y": y, "over": np.float32([n.max() > 20])}


def first(y, k):
    return {"b": y * 2 + k, "k": y.sum(keepdims=True)[:1, :1]}


def second(b, k):
    return {"o": np.concatenate([b, b + k], 1).astype(np.float16)}


def last(o, z, kind):
    return {"v": o.astype(np.float32) * np.float32(kind) + z.max()}


FUNCTIONS = {"tile": tile, "rare": rare, "step": step, "first": first, "second": second,
             "last": last}  # fmt: skip
PORTS = {
    "tile": ([("x", (1, 3, 4, 4), F)], [("y", (1, 3, 4, 4), H)]),
    "rare": ([("z", (2, 3), F)], [("c", (2, 1), F)]),
    "step": ([("z", (2, 3), F), ("c", (2, 1), F), ("row", (1, 2), F)],
             [("n", (2, 3), H), ("y", (2, 1), F), ("over", (1,), F)]),
    "first": ([("y", (2, 2), F), ("k", (1, 1), F)], [("b", (2, 2), F), ("k", (1, 1), F)]),
    "second": ([("b", (2, 2), F), ("k", (1, 1), F)], [("o", (2, 4), H)]),
    "last": ([("o", (2, 4), H), ("z", (2, 3), F), ("kind", (1,), I)], [("v", (2, 4), F)]),
}  # fmt: skip


def tensor(name, shape, dtype, **more):
    return TensorDecl(Port(name, shape, dtype), **more)


def call(name, inputs, outputs, **more):
    return Call(stage=name, chunk=name, inputs=tuple(inputs), outputs=tuple(outputs), **more)


def everything(until=False) -> Program:
    """An image in tiles that are blended; a loop with a state of two types, a call that rests, and
    one output that is carried, collected and streamed; slices that carry, in two groups of chunks
    with slots between them; a map that is streamed."""
    picture = Input("picture", "image", 0.0, Port("picture", (1, 3, 6, 6), F))
    kind = Input("kind", "choice", 0, choices=("a", "b", "c"))
    loop = Segment(
        name="loop", count=4, state=(("z", "z0", "n"),), frees=("c", "table", "z0"),
        until="over" if until else None,
        steps=(
            call("rare", [Binding("z", "z")], [Binding("c", "c")], at=(0, 2)),
            call(
                "step",
                [Binding("z", "z"), Binding("c", "c"),
                 Binding("row", "table", T, (Window(0, 1, 4, 1),))],
                [Binding("n", "n"), Binding("y", "ys", T, (Window(1, 1, 4, 1),)),
                 Binding("y", "shown", T), Binding("over", "over")],
                frees=("shown",) if until else ("shown", "over"),
            ),
        ),
    )  # fmt: skip
    carried = Segment(
        name="first", count=2, sliced=True, state=(("k", "k0", "k1"),), frees=("k", "k0"),
        steps=(
            call(
                "first",
                [Binding("y", "ys", T, (Window(1, 2, 2, 2),)), Binding("k", "k")],
                [Binding("b", "bs", T), Binding("k", "k1"), Binding("k", "ks", T)],
            ),
        ),
    )  # fmt: skip
    joined = Segment(
        name="second", count=2, sliced=True, frees=("bs", "ks"),
        steps=(
            call(
                "second",
                [Binding("b", "bs", T), Binding("k", "ks", T)],
                [Binding("o", "os", T, (Window(1, 4, 2, 4),))],
            ),
        ),
    )  # fmt: skip
    ends = Segment(
        name="ends", count=1,
        steps=(
            call(
                "last",
                [Binding("o", "os", M, (Window(1, 4, 3, 2),)), Binding("z", "z"),
                 Binding("kind", "kind")],
                [Binding("v", "vs", M)], repeat=3, frees=("kind", "os", "vs"),
            ),
        ),
    )  # fmt: skip
    tiles = Segment(
        name="tiles", count=1,
        steps=(
            call(
                "tile", [Binding("x", "picture", M, GRID)], [Binding("y", "soft", M, GRID)],
                repeat=4, frees=("picture", "soft"),
            ),
        ),
    )  # fmt: skip
    return Program(
        inputs=(picture, kind),
        constants=(Port("table", (4, 2), F), Port("z0", (2, 3), H), Port("k0", (1, 1), F)),
        tensors=(
            tensor("picture", (1, 3, 6, 6), F), tensor("kind", (1,), I),
            tensor("table", (4, 2), F), tensor("z0", (2, 3), H), tensor("k0", (1, 1), F),
            tensor("soft", (1, 3, 6, 6), F), tensor("z", (2, 3), F), tensor("n", (2, 3), H),
            tensor("c", (2, 1), F), tensor("ys", (2, 4), F), tensor("over", (1,), F),
            tensor("shown", (2, 1), F, streamed=4), tensor("k", (1, 1), F),
            tensor("k1", (1, 1), F), tensor("bs", (2, 2), F, slots=2),
            tensor("ks", (1, 1), F, slots=2), tensor("os", (2, 8), H),
            tensor("vs", (2, 4), F, streamed=3),
        ),
        segments=(tiles, loop, carried, joined, ends),
        outputs=(
            Output("soft", "tensor", ("soft",), 0),
            Output("clip", "tensor", ("shown", "ys", "vs"), 1),
            Output("state", "tensor", ("z",), 0),
        ),
    )  # fmt: skip


def plan_for(program, policy):
    """Its plan in a budget that keeps two chunks at most, checked."""
    used = {x.chunk for g in program.segments for x in g.steps if isinstance(x, Call)}
    chunks, facts = [], []
    for name in (n for n in FUNCTIONS if n in used):
        inputs, outputs = (tuple(Port(*p) for p in side) for side in PORTS[name])
        chunks.append(
            Chunk(
                id=name, graph=name, start=0, stop=1, inputs=inputs, outputs=outputs,
                weight_bytes=WEIGHT, activation_bytes=ACTIVATION, flops=2, moved_bytes=1,
            )
        )  # fmt: skip
        facts.append(
            ChunkFacts(
                id=name, weight_bytes=WEIGHT, activation_bytes=ACTIVATION, load_s=1.0, exec_s=1.0
            )
        )
    budget = 432 * 2 + 2 * WEIGHT + ACTIVATION + 200
    workload = Workload(program, {f.id: f for f in facts}, budget)
    schedule = make_schedule(workload, policy)
    proof = check(program, tuple(facts), schedule, budget_bytes=budget)
    return replace(
        plan_of((Part(1, (5,)),), SEQUENTIAL, 0), program=program, chunks=tuple(chunks),
        packages=packages(tuple(chunks)), facts=tuple(facts), schedule=schedule,
        target=make_target(budget), forecast=forecast(workload, schedule, proof), files=(),
    )  # fmt: skip


class Device(NumpyDevice):
    """Chunks as functions; it notes what was called, and what was made of zeros."""

    def __init__(self, functions=FUNCTIONS):
        super().__init__()
        self.functions, self.made = functions, []

    def call(self, handle, function, inputs):
        assert handle.chunk in self.loaded
        ports = {p.name: p for p in handle.inputs}
        for name, value in inputs.items():
            assert value.shape == ports[name].shape, (handle.chunk, name)
            assert value.dtype == {"fp16": "f2", "fp32": "f4", "int32": "i4"}[ports[name].dtype]
        self.log.append(("call", handle.chunk))
        return self.functions[handle.chunk](**inputs)

    def zeros(self, shape, dtype):
        self.made.append(shape)
        return super().zeros(shape, dtype)


PICTURE = np.random.default_rng(0).normal(size=(1, 3, 6, 6)).astype(np.float32)
CONSTANTS = {"table": TABLE, "z0": Z0, "k0": np.full((1, 1), 7, np.float32)}


def run(plan, device, **inputs):
    given = {"picture": PICTURE, "kind": "b"} | inputs
    return run_plan(plan, Path("nowhere"), device, given, constants=CONSTANTS)


def truth(program):
    return interpret(
        program,
        {n: lambda _, inputs, n=n: FUNCTIONS[n](**inputs) for n in FUNCTIONS},
        given={"picture": PICTURE, "kind": np.array([1], np.int32)},
        constants=CONSTANTS,
    )


@pytest.mark.parametrize("policy", [SEQUENTIAL, DOUBLE_BUFFER, ONLINE], ids=lambda p: p.name)
def test_every_construct_is_what_the_interpreter_says(policy):
    program = everything()
    plan, device, wanted = plan_for(program, policy), Device(), truth(program)
    outcome = run(plan, device)
    assert {n: o.dtype for n, o in outcome.outputs.items()} == dict.fromkeys(
        ("soft", "clip", "state"), np.float32
    )
    for name, made in outcome.outputs.items():
        np.testing.assert_array_equal(made, wanted.outputs[name].whole)
    assert outcome.outputs["clip"].shape == (2, 4 + 4 + 12)
    assert [c for what, c in device.log if what == "call"] == [c for c, *_ in wanted.calls]
    assert dict(outcome.run.outputs) == {"soft": 1, "clip": 4 + 1 + 3, "state": 1}
    assert dict(outcome.run.inputs)["kind"] == "b"
    assert outcome.run.peak_bytes <= plan.forecast.peak_bytes
    assert fault_of(plan, outcome.run) is None
    # Each is made once, and written in place.
    assert sorted(device.made) == sorted([(1, 3, 6, 6), (2, 4), (2, 8)])


def test_pieces_go_to_the_writers_of_two_outputs():
    program = everything()
    again = Output("again", "tensor", ("shown",), 1)
    program = replace(program, outputs=(*program.outputs, again))
    plan, wanted = plan_for(program, SEQUENTIAL), truth(program)
    outcome = run(plan, Device())
    for name in ("clip", "again"):
        np.testing.assert_array_equal(outcome.outputs[name], wanted.outputs[name].whole)
    np.testing.assert_array_equal(outcome.outputs["again"], outcome.outputs["clip"][:, :4])
    assert dict(outcome.run.outputs)["again"] == 4 and fault_of(plan, outcome.run) is None


def test_a_call_rests_where_it_is_said_to():
    outcome = run(plan_for(everything(), SEQUENTIAL), device := Device())
    assert [c for what, c in device.log if what == "call"].count("rare") == 2
    bars = [(b.label, b.iteration) for b in outcome.run.bars if b.queue == "compute"]
    assert [i for label, i in bars if label == "rare"] == [0, 2]
    counts = {c.chunk: c.calls for c in outcome.run.chunks}
    assert counts["rare"] == 2 and counts["step"] == 4


def test_a_loop_that_ends_early_gives_its_writers_what_it_made():
    """It is over in the third of four iterations: the fourth column is in no output, though those
    who read what was collected see zeros there."""
    program = everything(until=True)
    plan, wanted = plan_for(program, SEQUENTIAL), truth(program)
    done = wanted.iterations[1]
    assert done == 3
    outcome = run(plan, Device())
    assert dict(outcome.run.outputs)["clip"] == done + 1 + 3
    clip = outcome.outputs["clip"]
    np.testing.assert_array_equal(clip, wanted.outputs["clip"].whole)
    assert clip.shape[1] == 3 + 3 + 12
    assert fault_of(plan, outcome.run) is None
    for bad in (
        replace(outcome.run, outputs=(("clip", 8),)),
        replace(outcome.run, outputs=(("clop", 7),)),
        replace(outcome.run, outputs=(("clip", 7), ("clip", 7))),
    ):
        assert fault_of(plan, bad).startswith("outputs: ")


def test_a_call_that_is_told_where_it_rests_cannot_be():
    plan = plan_for(everything(), SEQUENTIAL)
    run_ = run(plan, Device()).run
    [bar] = [b for b in run_.bars if (b.queue, b.label, b.iteration) == ("compute", "rare", 2)]
    bars = tuple(replace(b, iteration=3) if b is bar else b for b in run_.bars)
    assert "'rare' is called in iteration 3, where it rests" in fault_of(
        plan, replace(run_, bars=bars)
    )


def test_what_is_held_is_what_the_checker_counts():
    """The tiles: one chunk, its activations, picture and result of 432 each, and what waits."""
    plan = plan_for(everything(), SEQUENTIAL)
    waiting = 4 * 8 + 2 * 6 + 4 + 4  # table, z0, k0, kind
    assert run(plan, Device()).run.peak_bytes == WEIGHT + ACTIVATION + 2 * 432 + waiting
    assert plan.forecast.peak_bytes == WEIGHT + ACTIVATION + 2 * 432 + waiting
    assert truth(everything()).held_bytes == 2 * 432 + waiting


# ---------------------------------------------------------------- blends on paper


def test_weights_on_paper():
    """Three pieces of 4 every 2: over two elements the weight is 0 and 1/2, and 1 and 1/2."""
    window = Window(0, 4, 3, 2)
    assert ramp(window, 0).tolist() == [1, 1, 1, 0.5]
    assert ramp(window, 1).tolist() == [0, 0.5, 1, 0.5]
    assert ramp(window, 2).tolist() == [0, 0.5, 1, 1]
    # An overlap of one element is the later piece's.
    assert ramp(Window(0, 3, 2, 2), 0).tolist() == [1, 1, 1]
    assert ramp(Window(0, 3, 2, 2), 1).tolist() == [0, 1, 1]
    assert ramp(Window(0, 4, 3, 4), 1).tolist() == [1, 1, 1, 1]


def test_weights_add_up_to_one_and_a_constant_stays():
    windows = (Window(0, 5, 3, 3), Window(1, 4, 2, 3))
    total = np.zeros((11, 7), np.float32)
    for k in range(6):
        add(total, weighted(np.ones((5, 4)), windows, k))
    np.testing.assert_allclose(total, 1, atol=2e-7)


def add(total, blocks):
    """Each where it says."""
    many = 0
    for where, block in blocks:
        at = [slice(0, n) for n in block.shape]
        for axis, begin in where:
            at[axis] = slice(begin, begin + block.shape[axis])
        total[tuple(at)] += block
        many += 1
    return many


@pytest.mark.parametrize("axes", [(0, 1), (1, 0)])
def test_in_blocks_it_is_the_same_to_the_last_bit(axes):
    windows = (Window(axes[0], 5, 3, 3), Window(axes[1], 4, 2, 3))
    shape = (5, 4) if axes == (0, 1) else (4, 5)
    piece = np.random.default_rng(0).normal(size=(*shape, 3)).astype(np.float16)
    whole, parts = (np.zeros((11, 11, 3), np.float32) for _ in range(2))
    assert add(whole, weighted(piece, windows, 4)) == 1
    assert add(parts, weighted(piece, windows, 4, most=24)) == 3
    np.testing.assert_array_equal(whole, parts)


def diffusers_blend(a, b, extent):
    """`AutoencoderKL.blend_v` of diffusers, its loop copied by hand: b fades in over a's end."""
    b = b.copy()
    for y in range(extent):
        b[y] = a[-extent + y] * (1 - y / extent) + b[y] * (y / extent)
    return b


def test_along_one_axis_it_is_diffusers_own():
    rng = np.random.default_rng(1)
    size, stride, count = 8, 5, 3
    window = (Window(0, size, count, stride),)
    pieces = [rng.normal(size=(size, 2)).astype(np.float32) for _ in range(count)]
    total = np.zeros((stride * (count - 1) + size, 2), np.float32)
    for k, piece in enumerate(pieces):
        add(total, weighted(piece, window, k))
    rows, before = [], None
    for k, piece in enumerate(pieces):
        shown = piece if before is None else diffusers_blend(before, piece, size - stride)
        rows.append(shown if k == count - 1 else shown[:stride])
        before = piece
    np.testing.assert_allclose(total, np.concatenate(rows), atol=1e-6)


def test_a_map_of_one_slice_is_its_slice():
    [(where, block)] = weighted(np.ones(4), (Window(0, 4, 1, 2),), 0)
    assert where == ((0, 0),) and block.tolist() == [1, 1, 1, 1]
