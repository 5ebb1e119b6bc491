"""What follows from given inputs alone is computed once: which steps, under which key, what is left
of the plan, and that runs of it give the same numbers within the same claim."""

import json
import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from entracte.check.proof import check
from entracte.devices.arrays import NUMPY
from entracte.ir import (
    Binding,
    By,
    Call,
    Chunk,
    ChunkFacts,
    DType,
    HostStep,
    Input,
    Output,
    Port,
    Program,
    Segment,
    TensorDecl,
    Window,
)
from entracte.plan.forecast import forecast
from entracte.program.conditions import conditions, without
from entracte.program.frees import with_frees
from entracte.program.workload import Workload
from entracte.run.condition_keys import key_of
from entracte.run.conditioning import Conditioning
from entracte.run.possible import fault_of
from entracte.run.runner import run_plan
from entracte.run.values import read_notes
from entracte.schedule.choose import make_schedule
from entracte.store.cache import Cache
from entracte.store.tensor_file import read_header
from tests.planner.plans import make_target, plan_of
from tests.planner.programs import DOUBLE_BUFFER, ONLINE, SEQUENTIAL, Part, drawn_parts, packages
from tests.planner.toy import ToyDevice

H = DType.FP16
SIZES = {"enc": 400, "proj": 100, "times": 60, "deep": 300, "last": 80}


class Device(ToyDevice):
    """One that says how it computes, and counts."""

    def __init__(self, program, numerics="toy"):
        super().__init__(program, {})
        self.numerics, self.loads, self.calls = numerics, [], []

    def load(self, package, folder, function="main"):
        self.loads.append(package.chunk)
        self.loaded_bytes += package.weight_bytes
        return package

    def free(self, handle):
        self.loaded_bytes -= handle.weight_bytes

    def call(self, handle, function, inputs):
        self.calls.append(handle.chunk)
        # A default that fills a tensor is fp32, whatever the port.
        own = {p.name: NUMPY[p.dtype] for p in handle.ports_of(function)[0]}
        cast = {name: value.astype(own[name], copy=False) for name, value in inputs.items()}
        return super().call(handle, function, cast)


def sampler(policy=ONLINE, spare=0):
    """A text encoder, a projection of its result, embeddings of three times, noise of a seed, a
    loop that reads all, and a last chunk. `strength` is a number that stands for a prompt."""
    shapes = {"s": (1,), "e": (4,), "k": (8,), "t": (2,), "z": (4,), "v": (4,), "table": (3, 2)}
    ports = {
        "enc": (["s"], ["e"]), "proj": (["e"], ["k"]), "times": (["r"], ["t"]),
        "deep": (["z", "k", "t"], ["n"]), "last": (["z"], ["v"]),
    }  # fmt: skip
    kinds = {**shapes, "r": (1, 2), "n": (4,)}
    dtypes = {"s": DType.FP32, "z": DType.FP32, "n": DType.FP32, "table": DType.FP32,
              "r": DType.FP32}  # fmt: skip

    def port(name, as_name=None):
        return Port(as_name or name, kinds[name], dtypes.get(name, H))

    def call(chunk, **more):
        own, made = ports[chunk]
        windows = (Window(0, 1, 3, 1),)
        read = [
            Binding("r", "table", By.MAP, windows) if x == "r"
            else Binding("t", "t", By.ITERATION) if x == "t" else Binding(x, x)
            for x in own
        ]  # fmt: skip
        wrote = [Binding("t", "t", By.MAP) if x == "t" else Binding(x, x) for x in made]
        return Call(stage=chunk, chunk=chunk, inputs=tuple(read), outputs=tuple(wrote), **more)

    noise = HostStep(
        stage="noise", op="random_normal", params=(("shape", (4,)),), inputs=(("seed", "seed"),),
        outputs=(Binding("noise", "z0"),),
    )  # fmt: skip
    program = with_frees(
        Program(
            inputs=(Input("s", "number", 1.0), Input("seed", "seed", 0)),
            constants=(port("table"),),
            tensors=(
                *(TensorDecl(port(x)) for x in ("s", "table", "e", "k", "z", "n", "v")),
                TensorDecl(port("t"), slots=3),
                TensorDecl(port("z", "z0")),
            ),
            segments=(
                Segment(name="a", count=1, steps=(
                    call("enc"), noise, call("proj"), call("times", repeat=3),
                )),
                Segment(name="loop", count=3, steps=(call("deep"),), state=(("z", "z0", "n"),)),
                Segment(name="b", count=1, steps=(call("last"),)),
            ),
            outputs=(Output("v", "tensor", ("v",), 0),),
        )
    )  # fmt: skip
    chunks = tuple(
        Chunk(
            id=name, graph=name, start=0, stop=1,
            inputs=tuple(map(port, ports[name][0])), outputs=tuple(map(port, ports[name][1])),
            weight_bytes=SIZES[name], activation_bytes=50, flops=2, moved_bytes=1,
        )
        for name in SIZES
    )  # fmt: skip
    facts = tuple(
        ChunkFacts(id=n, weight_bytes=w, activation_bytes=50, load_s=1.0, exec_s=1.0)
        for n, w in SIZES.items()
    )
    return planned(program, chunks, facts, policy, 560 + spare)


def planned(program, chunks, facts, policy, budget):
    workload = Workload(program, {f.id: f for f in facts}, budget)
    schedule = make_schedule(workload, policy)
    proof = check(program, facts, schedule, budget_bytes=budget)
    return replace(
        plan_of((Part(1, (5,)),), SEQUENTIAL, 0), program=program, chunks=chunks,
        packages=packages(chunks), facts=facts, schedule=schedule, target=make_target(budget),
        forecast=forecast(workload, schedule, proof),
        files=(("constants.safetensors", "0" * 64),),
    )  # fmt: skip


def run(plan, stored=None, numerics="toy", **inputs):
    device = Device(plan.program, numerics)
    constants = {
        p.name: np.arange(np.prod(p.shape), dtype=np.float32).reshape(p.shape).astype(
            "f2" if p.dtype is H else "f4"
        )
        for p in plan.program.constants
    }  # fmt: skip
    outcome = run_plan(
        plan, Path("nowhere"), device, inputs, constants=constants, conditioning=stored
    )
    assert device.loaded_bytes == 0
    assert outcome.run.peak_bytes <= plan.forecast.peak_bytes
    assert fault_of(plan, outcome.run) is None
    return outcome, device


# ---------------------------------------------------------------- which steps, and what is left


def test_what_follows_from_the_same_inputs_is_a_condition():
    program = sampler().program
    prompt, times = conditions(program)
    assert (prompt.inputs, prompt.steps, prompt.values) == (("s",), ((0, 0), (0, 2)), ("k",))
    assert (times.inputs, times.steps, times.values) == ((), ((0, 3),), ("t",))
    rest = without(program, sampler().schedule, (prompt, times))
    assert [[x.stage for x in g.steps] for g in rest.program.segments] == [
        ["noise"], ["deep"], ["last"]
    ]  # fmt: skip
    assert [i.name for i in rest.program.inputs] == ["seed"]
    assert {c.name for c in rest.program.constants} == {"k", "t"}
    # noise, three iterations, the last one: by their numbers in the whole program.
    assert [rest.number(n) for n in range(5)] == [1, 4, 5, 6, 7]
    assert {load.chunk for load in rest.schedule.loads} == {"deep", "last"}


def test_a_seed_an_output_and_what_comes_after_the_loop_are_none():
    """The last chunk would be one, were it not behind a loop that draws on the seed."""
    plan = sampler()
    program = plan.program
    seeded = replace(program, inputs=(Input("s", "seed", 1), program.inputs[1]))
    assert [c.values for c in conditions(seeded)] == [("t",)]
    shown = replace(program, outputs=(*program.outputs, Output("k", "tensor", ("k",), 0)))
    # What makes an output is done in each run: of the prompt the encoder is left.
    assert [c.values for c in conditions(shown)] == [("e",), ("t",)]


# ---------------------------------------------------------------- runs


@pytest.mark.parametrize("policy", [SEQUENTIAL, DOUBLE_BUFFER, ONLINE])
def test_a_second_seed_loads_no_encoder_and_gives_the_same_numbers(policy, tmp_path):
    plan, stored = sampler(policy), Conditioning(tmp_path)
    first, device = run(plan, stored, seed=1)
    assert device.calls.count("enc") == 1 and not first.run.reused
    second, device = run(plan, stored, seed=2)
    np.testing.assert_array_equal(second.output, run(plan, seed=2)[0].output)
    assert set(device.calls) == set(device.loads) == {"deep", "last"}
    prompt, times = second.run.reused
    assert (prompt.inputs, prompt.chunks) == (("s",), ("enc", "proj"))
    assert (times.inputs, times.chunks) == ((), ("times",))
    # k: 8 numbers, t: three times 2, of two bytes each.
    assert (prompt.size_bytes, times.size_bytes) == (16, 12)
    bars = {(e.label, e.segment, e.iteration, e.step) for e in second.run.bars}
    assert ("deep", 1, 2, 0) in bars and ("last", 2, 0, 0) in bars


def test_another_prompt_computes_only_what_follows_from_it(tmp_path):
    plan, stored = sampler(), Conditioning(tmp_path)
    run(plan, stored, seed=1)
    other, device = run(plan, stored, seed=1, s=2.0)
    assert "enc" in device.calls and "times" not in device.calls
    np.testing.assert_array_equal(other.output, run(plan, seed=1, s=2.0)[0].output)
    assert "enc" not in run(plan, stored, seed=5, s=2.0)[1].calls


@pytest.mark.parametrize("seed", range(12))
def test_drawn_programs_give_the_same_with_what_is_stored(seed, tmp_path):
    """All that is random in the programs follows from one constant: whatever is before the first
    loop that may end early is left out, where the rest is proven."""
    rng = random.Random(f"conditions {seed}")
    shape = (Part(1, (40, 90)), *drawn_parts(rng))
    plan = plan_of(shape, rng.choice((ONLINE, DOUBLE_BUFFER)), rng.choice((0, 60, 400)))
    stored = Conditioning(tmp_path)
    plain, whole = run(plan)
    run(plan, stored)
    again, device = run(plan, stored)
    for name, value in plain.outputs.items():
        np.testing.assert_array_equal(again.outputs[name], value)
    gone = [c for r in again.run.reused for c in r.chunks]
    assert len(device.calls) < len(whole.calls) if gone else device.calls == whole.calls


# ---------------------------------------------------------------- keys and trust


def test_a_key_is_of_all_that_goes_into_the_values():
    plan = sampler()
    prompt, times = conditions(plan.program)
    told = {"s": 1.0, "seed": 3}

    def keys(changed=plan, told=told, numerics="toy"):
        return [key_of(changed, c, told, numerics) for c in (prompt, times)]

    def package(chunk, digest="e" * 64):
        made = (replace(p, digest=digest) if p.chunk == chunk else p for p in plan.packages)
        return replace(plan, packages=tuple(made))

    before = keys()

    def changed(*args, **more):
        return [a != b for a, b in zip(keys(*args, **more), before, strict=True)]

    assert keys() == before and len(set(before)) == 2
    assert changed(told={"s": 1.0, "seed": 9}) == [False, False]
    assert changed(told={"s": 2.0, "seed": 3}) == [True, False]
    assert changed(numerics="other") == [True, True]
    assert changed(package("enc")) == changed(package("proj")) == [True, False]
    assert changed(package("times")) == [False, True]
    assert changed(package("deep")) == [False, False]
    assert changed(replace(plan, files=(("constants.safetensors", "1" * 64),))) == [False, True]


def entry(folder: Path, plan, which=0) -> Path:
    condition = conditions(plan.program)[which]
    key = key_of(plan, condition, {"s": 1.0, "seed": 0}, "toy")
    return folder / "v1" / "conditioning" / key[:2] / key


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("0000-fp16.safetensors", np.zeros(9, np.float16), "holds F16 of .9,., the plan's k is"),
        ("0000-fp16.safetensors", np.zeros(8, np.int32), "holds I32 of .8,."),
        ("0000-fp16.safetensors", np.full(8, np.nan, np.float16), "no number .NaN."),
    ],
)
def test_what_a_stranger_stored_is_looked_at(name, array, message, tmp_path, log):
    """Under the right name and a seal of its own: only what it holds gives it away."""
    from safetensors.numpy import save_file

    from entracte.store.seal import SEAL, seal

    plan, stored = sampler(), Conditioning(tmp_path)
    right = run(plan, stored)[0].output
    place = entry(tmp_path, plan)
    place.chmod(0o755)
    for file in (place / name, place / SEAL):
        file.unlink()
    save_file({"value": array}, place / name)
    seal(place, f"conditioning/{place.name}")
    again, device = run(plan, stored)
    np.testing.assert_array_equal(again.output, right)
    assert "enc" in device.calls
    (said,) = log
    assert re.search(message, said), said
    assert "enc" not in run(plan, stored)[1].calls


def test_a_damaged_file_is_made_again(tmp_path):
    plan, stored = sampler(), Conditioning(tmp_path)
    right = run(plan, stored)[0].output
    file = entry(tmp_path, plan) / "0000-fp16.safetensors"
    assert read_header(file)["value"].shape == (8,)
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    again, device = run(plan, Conditioning(tmp_path))
    assert "enc" in device.calls
    np.testing.assert_array_equal(again.output, right)


def test_what_cannot_be_stored_costs_a_note(tmp_path):
    (tmp_path / "v1").write_text("in the way")
    outcome, _ = run(sampler(), Conditioning(tmp_path), seed=4)
    assert outcome.run.notes and outcome.run.notes[0].startswith("conditioning is not stored: ")
    np.testing.assert_array_equal(outcome.output, run(sampler(), seed=4)[0].output)


def test_a_device_that_does_not_say_how_it_computes_stores_nothing(tmp_path):
    run(sampler(), Conditioning(tmp_path), numerics="")
    assert not list(tmp_path.iterdir())


def test_a_run_that_fails_leaves_what_was_whole(tmp_path):
    """The encoder's entry is whole when the loop fails; nothing half made is left."""
    plan, stored = sampler(), Conditioning(tmp_path)

    class Failing(Device):
        def call(self, handle, function, inputs):
            if handle.chunk == "times":
                raise RuntimeError("no more")
            return super().call(handle, function, inputs)

    table = {"table": np.zeros((3, 2), np.float32)}
    with pytest.raises(RuntimeError, match="no more"):
        run_plan(
            plan, Path("nowhere"), Failing(plan.program), {}, constants=table, conditioning=stored
        )
    assert [p.name for p in tmp_path.glob("v1/conditioning/??/*")] == [entry(tmp_path, plan).name]
    assert not list((tmp_path / "v1" / "unfinished").iterdir())
    assert run(plan, stored)[1].calls.count("times") == 3


def test_notes_are_stored_with_what_they_are_of(tmp_path):
    """What a tokenizer said of a prompt is true of every run with it."""
    cache = Cache(tmp_path)
    with cache.making("conditioning", "ab" * 32) as folder:
        (folder / "notes.json").write_text(json.dumps(["stage t: cut"]))
    assert read_notes(cache.folder("conditioning", "ab" * 32)) == ("stage t: cut",)


# ---------------------------------------------------------------- the claim


def test_nothing_is_left_out_that_is_not_proven(tmp_path):
    """A value that is large and made late: given from the begin on it would lie beside what came
    before it, above the claim."""
    plan = crowded()
    stored = Conditioning(tmp_path)
    run(plan, stored)
    again, device = run(plan, stored)
    assert not again.run.reused and device.calls == ["big", "late", "last"]


def crowded():
    """A chunk that takes most of the memory, then one whose large result follows from nothing."""
    big, small = Port("b", (4,), H), Port("w", (400,), H)
    tensors = (
        TensorDecl(Port("n", (4,), DType.FP32)), TensorDecl(big), TensorDecl(small),
        TensorDecl(Port("o", (4,), H)),
    )  # fmt: skip

    def call(name, read, made):
        return Call(
            stage=name, chunk=name, inputs=tuple(Binding(x, x) for x in read),
            outputs=(Binding(made, made),),
        )  # fmt: skip

    noise = HostStep(
        stage="noise", op="random_normal", params=(("shape", (4,)),), inputs=(("seed", "seed"),),
        outputs=(Binding("noise", "n"),),
    )  # fmt: skip
    steps = (noise, call("big", ["n"], "b"), call("late", ["x"], "w"),
             call("last", ["b", "w"], "o"))  # fmt: skip
    x = Port("x", (4,), H)
    program = with_frees(
        Program(
            inputs=(Input("seed", "seed", 0),), constants=(x,), tensors=(TensorDecl(x), *tensors),
            segments=(Segment(name="a", count=1, steps=steps),),
            outputs=(Output("o", "tensor", ("o",), 0),),
        )
    )  # fmt: skip
    weights = {"big": 1000, "late": 10, "last": 10}
    features = {"big": [Port("n", (4,), DType.FP32)], "late": [x], "last": [big, small]}
    made = {"big": big, "late": small, "last": Port("o", (4,), H)}
    chunks = tuple(
        Chunk(
            id=n, graph=n, start=0, stop=1, inputs=tuple(features[n]), outputs=(made[n],),
            weight_bytes=w, activation_bytes=10, flops=2, moved_bytes=1,
        )
        for n, w in weights.items()
    )  # fmt: skip
    facts = tuple(
        ChunkFacts(id=n, weight_bytes=w, activation_bytes=10, load_s=1.0, exec_s=1.0)
        for n, w in weights.items()
    )
    return planned(program, chunks, facts, SEQUENTIAL, 1100)
