"""The table of host operations: another row is one value, and faults name what is allowed."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module

from entracte.compile.job import Built, compile_job
from entracte.declare.host_ops import (
    HOST_OPS,
    SIZE,
    TEXT,
    FileKind,
    HostOp,
    Param,
    Reads,
    Source,
    random_normal,
)
from entracte.declare.host_ops.noise import stream_seed
from entracte.declare.read import Job, read
from entracte.errors import ConfigError, RunError
from entracte.ir import Binding, DType, HostStep, Port
from entracte.plan.file import check_files, read_plan
from entracte.run.execute import execute, make_device
from entracte.run.host import run_host_step
from tests.noise import conf
from tools import make_host_vectors

PIPELINE = """
name: counted
title: Letters of a text, counted
weights: {weights}
outputs:
  counts: {{kind: tensor, value: count.counts}}
inputs:
  words: {{kind: text, default: null}}
stages:
  count:
    host: letters
    params: {params}
    inputs: {{text: words}}
"""

LETTERS = HostOp(
    name="letters",
    inputs=(Reads("text", "text"),),
    params=(Param("alphabet", TEXT), Param("times", SIZE, needed=False)),
    ports=lambda params, _: (Port("counts", (2,), DType.FP32),),
    files=("alphabet",),
    sources=lambda params, weights: (
        Source("alphabet", FileKind.COPY, weights, params["alphabet"]),
    ),
    run=lambda params, inputs, place: {
        "counts": np.array(
            [
                params.get("times", 1) * inputs["text"].count(letter)
                for letter in (place.folder / params["alphabet"]).read_text()
            ],
            np.float32,
        )
    },
)
"""How often each letter of a file's text occurs in a text."""


@pytest.fixture
def letters(monkeypatch):
    monkeypatch.setitem(HOST_OPS, "letters", LETTERS)


def job(folder: Path, params: dict[str, object]) -> Job:
    """A pipeline of one host step, its configuration and weights in a folder of its own."""
    (folder / "conf" / "pipeline").mkdir(parents=True, exist_ok=True)
    text = PIPELINE.format(weights=folder, params=json.dumps(params))
    (folder / "conf" / "pipeline" / "counted.yaml").write_text(text)
    (folder / "ab.txt").write_text("ab")
    search = f"hydra.searchpath=[file://{folder / 'conf'}]"
    with initialize_config_module("entracte.conf", version_base="1.3"):
        overrides = [search, "+target=host", "pipeline=counted", f"out={folder / 'build'}"]
        return read(compose("compile", overrides=overrides))


def built(folder: Path) -> Built:
    return compile_job(job(folder, {"alphabet": "ab.txt", "times": 3}))


def test_one_row_is_all_that_another_operation_takes(letters, tmp_path):
    """Compiled and run, its file with it; no torch module, no package."""
    folder = built(tmp_path).folder
    (tmp_path / "ab.txt").unlink()  # the build folder is complete
    plan = read_plan(folder)
    check_files(plan, folder)
    assert [path for path, _ in plan.files] == ["ab.txt"]
    given = {"words": "abba, a banana"}
    outcome = execute(plan, folder, make_device("reference", plan), given)
    np.testing.assert_array_equal(outcome.output, [3 * 6, 3 * 3])
    assert outcome.output.dtype == np.float32
    blank = execute(plan, folder, make_device("null", plan), given)
    assert blank.output.shape == (2,)


def test_its_file_is_checked_like_any_other(letters, tmp_path):
    with pytest.raises(ConfigError, match=r"stages\.count\.params: there is no file .*none\.txt"):
        compile_job(job(tmp_path, {"alphabet": "none.txt"}))
    assert not (tmp_path / "build").exists()


def test_a_file_has_a_name_of_its_own_beside_the_plan(letters, tmp_path):
    made = job(tmp_path, {"alphabet": "Plan.json"})
    (tmp_path / "Plan.json").write_text("ab")
    folder = compile_job(made).folder
    assert [path for path, _ in read_plan(folder).files] == ["Plan_count.json"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, r"stages\.count\.params: 'alphabet' is missing; letters needs alphabet and may have"),
        ({"alphabet": "x", "time": 1}, r"params: 'time' is unknown .*times.*; letters needs alpha"),
        ({"time": 1}, r"'time' is unknown .*, 'alphabet' is missing; letters needs alphabet"),
        ({"alphabet": "x", "times": 0}, r"params\.times: 0 is not a whole number above 0"),
        ({"alphabet": "x", "times": True}, r"params\.times: True is not a whole number above 0"),
        ({"alphabet": 7}, r"params\.alphabet: 7 is not a text"),
    ],
)
def test_params_are_checked_by_name_and_value(letters, tmp_path, params, message):
    with pytest.raises(ConfigError, match=message):
        job(tmp_path, params)


@pytest.mark.parametrize(
    ("op", "params", "inputs", "message"),
    [
        (
            "dice",
            {},
            {},
            "this runner has no host step 'dice'; it has tokenize, retokenize, random_",
        ),
        ("random_normal", {"shape": (2, 0)}, {"seed": 1}, r"params.shape: \[2, 0\] is not a list"),
        ("random_normal", {"shape_of": "a.b"}, {"seed": 1}, r"'shape' is missing"),
        ("random_normal", {"shape": (2,)}, {"sede": 1}, "'sede' is unknown .*, 'seed' is mis"),
        ("tokenize", {"tokenizer": "../t.json", "length": 4}, {"text": ""}, "a file's name, with"),
    ],
)
def test_a_plans_host_step_is_checked_before_it_runs(tmp_path, op, params, inputs, message):
    """A plan may be a stranger's: a message, no traceback, and no file from elsewhere."""
    wired = tuple((name, "value") for name in inputs)
    step = HostStep(stage="s", op=op, params=tuple(params.items()), inputs=wired, outputs=())
    with pytest.raises(RunError, match=message):
        run_host_step(step, inputs, tmp_path)


def test_a_plans_host_step_gives_its_rows_ports_only(tmp_path):
    made = (Binding("noise", "s.noise"), Binding("nose", "s.nose"))
    step = HostStep(
        stage="s", op="random_normal", params=(("shape", (2,)),), inputs=(("seed", "seed"),),
        outputs=made,
    )  # fmt: skip
    with pytest.raises(RunError, match="stage s: random_normal gives noise, not 'nose'"):
        run_host_step(step, {"seed": 1}, tmp_path)


def test_the_shape_of_a_graph_stands_for_a_shape():
    op = HOST_OPS["random_normal"]
    assert op.declared_fault({"shape_of": "denoise.z"}, {"seed": "seed"}) is None
    both = op.declared_fault({"shape_of": "denoise.z", "shape": (1,)}, {"seed": "seed"})
    assert both == "params: both shape and shape_of; give one of them"
    fault = HOST_OPS["tokenize"].declared_fault(
        {"shape_of": "x.y", "tokenizer": "t", "length": 1}, {"text": ""}
    )
    assert fault is not None and "'shape_of' is unknown" in fault


# ---------------------------------------------------------------- noise

NOISE = Path(__file__).parent / "vectors" / "noise.json"
WHOLE = 2**64


def mixed(x: int) -> int:
    """SplitMix64's output function, as Steele, Lea and Flood have it."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % WHOLE
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % WHOLE
    return x ^ (x >> 31)


def started(case: dict) -> int:
    """Docs/plan-format.md in plain Python."""
    seed, salt = case["seed"] % WHOLE, case["salt"]
    if case["stream"] == "once" and salt == 0:
        return seed
    i = case["iteration"] if case["stream"] == "iteration" else -1
    return mixed((mixed(seed) + salt * 0x9E3779B97F4A7C15 + 0xD1B54A32D192ED03 * (i + 1)) % WHOLE)


def normal(case: dict) -> list[float]:
    """SplitMix64 and Box-Muller."""
    start, made = started(case), []
    for k in range(1, case["count"] + 1, 2):
        words = [mixed((start + j * 0x9E3779B97F4A7C15) % WHOLE) for j in (k, k + 1)]
        u, v = (((w >> 11) + 1) / 2**53 for w in words)
        radius = math.sqrt(-2 * math.log(u))
        made += [radius * math.cos(2 * math.pi * v), radius * math.sin(2 * math.pi * v)]
    return made[: case["count"]]


def cases() -> list[dict]:
    return json.loads(NOISE.read_text())


@pytest.mark.parametrize("case", cases(), ids=lambda c: "-".join(map(str, list(c.values())[:4])))
def test_noise_is_the_documented_one(case, tmp_path):
    np.testing.assert_allclose(case["values"], normal(case), rtol=1e-12)
    assert case["start"] == f"{started(case):016x}"
    params = {"shape": (case["count"],), "stream": case["stream"], "salt": case["salt"]}
    step = HostStep(
        stage="s", op="random_normal", params=tuple(params.items()), inputs=(("seed", "seed"),),
        outputs=(Binding("noise", "s.noise"),),
    )  # fmt: skip
    made = run_host_step(step, {"seed": case["seed"]}, tmp_path, case["iteration"])["noise"]
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, np.float32(case["values"]), rtol=2e-7, atol=1e-9)


def test_streams_differ_and_once_without_salt_is_the_seed_itself():
    starts = {
        stream_seed(seed, salt=salt, iteration=i)
        for seed in (0, 1, 2)
        for salt in (0, 1, 2)
        for i in (None, 0, 1, 2)
    }
    assert len(starts) == 36 and {0, 1, 2} <= starts
    np.testing.assert_array_equal(random_normal(7, (5,)), random_normal(stream_seed(7), (5,)))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"stream": "twice"}, r"params.stream: 'twice' is not one of once, iteration"),
        ({"salt": -1}, "params.salt: -1 is not a whole number from 0"),
        ({"salt": 1.5}, "params.salt: 1.5 is not a whole number"),
        ({"salt": True}, "params.salt: True is not a whole number"),
    ],
)
def test_streams_are_checked(params, message):
    fault = HOST_OPS["random_normal"].fault({"shape": (2,)} | params, ["seed"])
    assert fault is not None and re.search(message, fault)


def noise_job(folder: Path, *overrides: str) -> Job:
    search = f"hydra.searchpath=[file://{conf(folder / 'conf', (2, 3))}]"
    with initialize_config_module("entracte.conf", version_base="1.3"):
        given = [search, "+target=host", "pipeline=noise", *overrides]
        return read(compose("compile", overrides=given))


def test_noise_by_iteration_needs_a_loop(tmp_path):
    with pytest.raises(ConfigError, match=r"noise\.params\.stream: noise is in no loop"):
        noise_job(tmp_path, "+pipeline.stages.noise.params.stream=iteration")


# ---------------------------------------------------------------- what is read


def test_an_input_of_another_kind_is_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"inputs\.seed: seed is no input of the kind seed; such a"
    ):
        noise_job(tmp_path, "pipeline.inputs.seed.kind=number", "pipeline.inputs.seed.default=3")


def test_host_steps_give_what_their_file_says():
    """Which runners in other languages pass too."""
    assert make_host_vectors.FILE.read_text() == make_host_vectors.made()
