"""The table of host operations: another row is one value, and faults name what is allowed."""

import json
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module

from entracte.build import Built, compile_job
from entracte.declare.host_ops import HOST_OPS, SIZE, TEXT, HostOp, Param
from entracte.declare.read import Job, read
from entracte.errors import ConfigError, RunError
from entracte.ir import Binding, DType, HostStep, Port
from entracte.plan.file import check_files, read_plan
from entracte.run.execute import execute, make_device
from entracte.run.host import run_host_step

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
    inputs=("text",),
    params=(Param("alphabet", TEXT), Param("times", SIZE, needed=False)),
    ports=lambda params: (Port("counts", (2,), DType.FP32),),
    files=lambda params, weights: ((weights, params["alphabet"]),),
    run=lambda params, inputs, folder: {
        "counts": np.array(
            [
                params.get("times", 1) * inputs["text"].count(letter)
                for letter in (folder / params["alphabet"]).read_text()
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


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, r"stages\.count\.params: 'alphabet' is missing; letters needs alphabet and may have"),
        ({"alphabet": "x", "time": 1}, r"params: 'time' is unknown; letters needs alphabet"),
        ({"time": 1}, r"'time' is unknown, 'alphabet' is missing; letters needs alphabet and may"),
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
        ("dice", {}, {}, "stage s: this runner has no host step 'dice'; it has tokenize, random_"),
        ("random_normal", {"shape": (2, 0)}, {"seed": 1}, r"params.shape: \[2, 0\] is not a list"),
        ("random_normal", {"shape_of": "a.b"}, {"seed": 1}, r"'shape' is missing"),
        ("random_normal", {"shape": (2,)}, {"sede": 1}, "inputs: 'sede' is unknown, 'seed' is mis"),
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
