"""What a plan says of itself before its figures: its command, its sizes, what is untried."""

import json
import shlex
from dataclasses import replace

import pytest

from entracte.declare.compose import compose
from entracte.declare.read import read
from entracte.inspect.about import _made, about, about_lines
from entracte.inspect.command import OF_FOLDER, OF_OTHERS, UNTOLD, command_of
from entracte.ir import DType, HostStep, Output, Port, Run
from entracte.run.outputs import Made
from tests.planner.plans import make_plan, make_special_plan


def made_by(settings):
    return command_of(replace(make_plan(), settings=settings))


@pytest.mark.parametrize(
    "words",
    [
        "target=iphone15pro",
        "target=iphone15pro compression=int8 target.memory=24MiB pipeline.video.height=128 "
        "sampler.steps=10",
        "target=host policy=sequential \"pipeline.inputs.prompt.default='a blue one, or two'\" "
        "pipeline.stages.text.precision=fp32 partition.chunk_bytes=700KiB verify=off",
        "target=ipad_m4 sampler=lpl_static target.contention=1.25 "
        "+pipeline.stages.denoise.functions.merged=15 'pipeline.stages.denoise.at={every:2}'",
    ],
)
def test_what_was_typed_is_told(words):
    """Each word as it was, and none that follows from another: ten stages read `sampler.steps`."""
    told = made_by(read(compose(shlex.split(words))).settings)
    assert told.text == f"compile {words}"
    assert told.notes == ()


def test_a_value_in_quotes_comes_back_as_it_was():
    config = compose(["target=host"])
    config.pipeline.inputs.prompt.default = 'it\'s "one" of $5, `x`: {a}'
    settings = read(config).settings
    again = shlex.split(made_by(settings).text)
    assert read(compose(again[1:])).settings == settings


def test_of_a_folder_its_options_are_told_and_what_is_not_told_is_said():
    recorded = json.loads(read(compose(["target=host"])).settings)
    recorded["pipeline"] |= {"name": "sd", "folder": "/m/sd", "weights": "/m/sd",
                             "options": {"height": 64}, "models": {}, "video": {},
                             "steps": None}  # fmt: skip
    told = made_by(json.dumps(recorded))
    assert told.text == (
        "compile target=host pipeline=folder pipeline.weights=/m/sd pipeline.options.height=64 "
        "sampler.steps=30"
    )
    assert told.notes == (OF_FOLDER,)


def test_files_of_ones_own_are_named_and_not_guessed():
    recorded = json.loads(read(compose(["target=host", "verify=off"])).settings)
    recorded["target"] |= {"name": "mine", "memory": "1GB"}
    told = made_by(json.dumps(recorded))
    assert told.text == "compile --config-dir DIR target=mine verify=off"
    assert told.notes == (OF_OTHERS,)


def test_what_no_word_can_say_is_said():
    recorded = json.loads(read(compose(["target=host"])).settings)
    recorded["pipeline"]["inputs"]["prompt"]["default"] = "two\nlines \x1b[31m"
    told = made_by(json.dumps(recorded))
    assert told.text == "compile target=host"
    assert told.notes == (UNTOLD,)


@pytest.mark.parametrize(
    "settings", ["", "[]", "{}", '{"target": {"name": "${x}"}}', '{"target": 1}', "[" * 5000]
)
def test_settings_of_no_compile_give_no_command(settings):
    assert made_by(settings) is None


def words_of(plan, run=None):
    return dict(about_lines(about(plan), run))


def test_random_weights_are_called_random():
    settings = json.dumps({"pipeline": {"weights": "random:7", "stages": {
        "a": {"weights": "/m/a"}, "b": {"weights": None}}, "lora": ["x", "y"]}})  # fmt: skip
    told = words_of(replace(make_plan(), settings=settings))["weights"]
    assert told == (
        "random numbers (random:7): sizes and planned times are those of the model, what it makes "
        "is noise; of a: /m/a; with 2 LoRA files merged"
    )
    assert "weights" not in words_of(make_plan())


def test_sizes_are_those_of_packages_and_tables():
    plan = make_plan()
    packages = tuple(replace(p, file_bytes=2**20) for p in plan.packages)
    first = plan.program.segments[0]
    table = HostStep(stage="t", op="gather_rows", inputs=(), outputs=(),
                     params=(("file", "t.bin"), ("rows", 1024), ("width", 512),
                             ("dtype", "fp16")))  # fmt: skip
    segments = (replace(first, steps=(table, table, *first.steps)), *plan.program.segments[1:])
    plan = replace(plan, packages=packages, program=replace(plan.program, segments=segments))
    found = about(plan)
    assert found.package_bytes == len(plan.packages) * 2**20
    assert found.table_bytes == 1024 * 512 * 2
    assert f"{len(packages)} MiB of packages (" in words_of(plan)["size"]
    assert ", and 1 MiB of tables, on disk and in an app" in words_of(plan)["size"]


def test_a_dry_run_has_no_packages():
    plan = replace(
        make_plan(), built=False, packages=(), settings='{"pipeline": {"precision": "fp16"}}'
    )
    assert words_of(plan)["size"] == "440 B of weights, fp16; packages are not made yet"


def test_what_is_untried_is_said():
    plan = make_plan()
    told = words_of(plan)["untried"]
    assert told.startswith("Core ML, phones and Macs: ") and "the target: call_overhead_s" in told
    native = replace(plan, target=replace(plan.target, compute_unit="reference", estimated=()))
    assert words_of(native)["untried"].endswith("Times are predicted, the peak is proven")
    ran = Run(device="coreml", wall_s=1.0, peak_bytes=1, stall_s=0.0, loaded_bytes=1, chunks=())
    assert "has run on Core ML" in words_of(plan, ran)["untried"]


def test_loops_are_told_with_their_iterations():
    assert ("p1", 6, True) in about(make_special_plan()).loops


@pytest.mark.parametrize(
    ("kind", "shape", "told"),
    [
        ("video", (1, 3, 16, 48, 64), "video of 16 frames of 64 x 48, 8 a second"),
        ("image", (2, 3, 48, 64), "image of 2 of 64 x 48"),
        ("audio", (1, 800), "audio of 800 samples, 8 a second"),
        ("text", (1, 20), "text of 20 tokens at most"),
        ("tensor", (1, 4, 5), "tensor of 1 x 4 x 5"),
    ],
)
def test_outputs_are_told_with_their_sizes(kind, shape, told):
    output = Output(kind, kind, ("x",), 0, rate=8.0 if kind in ("video", "audio") else 0.0)
    assert _made(Made(output, Port("x", shape, DType.FP32))) == told
