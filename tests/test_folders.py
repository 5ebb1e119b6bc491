"""`pipeline=folder`: what a folder says of itself, what users say over it, and every mistake."""

import json
import re
from pathlib import Path

import pytest

from entracte.declare.compose import compose
from entracte.declare.read import read
from entracte.errors import ConfigError
from entracte.graphs import GraphFault, build
from entracte.graphs.recipes import classes

TEXT = {"max_position_embeddings": 12, "hidden_size": 16}
UNET = {"sample_size": 8, "in_channels": 4}
VAE = {"block_out_channels": [8, 8], "scaling_factor": 0.18215}
SCHEDULER = {"_class_name": "DDIMScheduler", "clip_sample": False}
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "text_encoder": ["transformers", "CLIPTextModel"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "safety_checker": [None, None],
}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "My model-1.5"
    write(made / "model_index.json", INDEX)
    for name, config in (("text_encoder", TEXT), ("unet", UNET), ("vae", VAE)):
        write(made / name / "config.json", config)
    write(made / "scheduler" / "scheduler_config.json", SCHEDULER)
    return made


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


def job(folder, *words):
    named = [f"pipeline.weights='{folder}'"] if folder else []
    return read(compose(["+target=host", "pipeline=folder", *named, *words]))


def refused(folder, *words):
    with pytest.raises(ConfigError) as caught:
        job(folder, *words)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_folder_says_what_the_pipeline_is(folder):
    made = job(folder).pipeline
    assert made.name == "my_model-1_5"
    assert [i.name for i in made.inputs] == ["prompt", "negative", "guidance", "seed"]
    assert made.loops[0].count == 50, "what diffusers does where nobody says"
    assert {s.name for s in made.stages} >= {"text", "denoise", "sample_step", "decode_image"}
    assert made.outputs[0].kind == "image"


def test_what_users_say_lies_over_it(folder):
    made = job(
        folder, "sampler.steps=7", "pipeline.options.height=32", "pipeline.name=mine",
        "+pipeline.over.stages.text.compression=int8", "+pipeline.over.inputs.prompt.default=hello",
    ).pipeline  # fmt: skip
    stages = {s.name: s for s in made.stages}
    assert (made.name, made.loops[0].count) == ("mine", 7)
    assert (stages["text"].compression, stages["denoise"].compression) == ("int8", "none")
    assert dict(dict(stages["denoise"].params)["inputs"])["z"] == (1, 4, 16, 8)
    assert next(i for i in made.inputs if i.name == "prompt").default == "hello"


def test_a_kept_declaration_is_of_the_same_words_alone(folder):
    """What a recipe reads is in the key; what it does not, is not."""

    def key(*words):
        keys = []

        def keep(kind, given, make):
            keys.append((kind, json.dumps(given)))
            return make()

        read(compose(["target=host", f"pipeline.weights='{folder}'", "pipeline=folder", *words]),
             keep=keep)  # fmt: skip
        return keys[0]

    plain = key()
    assert key("target.memory=1GB", "policy=online", "pipeline.name=mine") == plain
    changes = [
        ["guidance=apart"],
        ["guidance=interval", "guidance.end=20"],
        ["guidance=interval", "guidance.end=30"],
        ["sampler.steps=7"],
        ["pipeline.options.height=32"],
        ["+pipeline.models.unet.in_channels=4"],
    ]
    keys = {key(*words) for words in changes}
    assert len(keys | {plain}) == 1 + len(changes)
    write(folder / "unet" / "config.json", UNET | {"out_channels": 4})
    assert key() not in keys | {plain}


def test_the_settings_recorded_are_whole(folder):
    """A plan is read again where the folder is not."""
    settings = json.loads(job(folder, "sampler.steps=7").settings)
    assert settings["pipeline"]["stages"]["denoise"]["graph"] == "recipes.stable_diffusion.denoise"
    assert settings["pipeline"]["options"] == {
        "height": 16, "width": 16, "scheduler": "DDIMScheduler"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pipeline.options.height=33"], "height: 33 is not a multiple of 2; give 32 or 34"),
        (["pipeline.options.width=0"], "width: 0 is not a multiple of 2; give 2 or 4"),
        (["pipeline.options.height=big"], "height: 'big' is not of the kind of its default, 16"),
        (["pipeline.options.frames=4"], "has no such option; it has height, width, scheduler"),
        (["+pipeline.options.heigth=4"], "heigth: a StableDiffusionPipeline has no such option"),
        (
            ["pipeline.options.scheduler=DDIMSheduler"],
            "did you mean DDIMScheduler?",
        ),
        (["+pipeline.over.stages.txet.compression=int8"], "no such stage (did you mean text?)"),
        (["+pipeline.over.stages.text.compresion=int8"], "did you mean compression?"),
        (["+pipeline.over.stages.text.at=x"], "text.at"),
        (["+pipeline.over.stages.text=int8"], "pipeline.stages.text"),
        (["+pipeline.over.stages=int8"], "pipeline.over.stages"),
        (["+pipeline.over.stage.text.at=x"], "pipeline.over.stage: it has inputs"),
        (["+pipeline.over.loops.sample.count=0"], "sample.count: 0 iterations"),
        (["pipeline.folder=random:0"], "pipeline.folder=FOLDER pipeline.weights=random:0"),
        (["pipeline.folder=/no/such"], "there is no folder /no/such"),
        (["pipeline.folder=package:os/x"], "imports the package 'os'"),
    ],
)
def test_words_that_cannot_be(folder, words, said):
    assert said in refused(folder, *words)


def test_no_folder(tmp_path):
    assert "pipeline.weights=FOLDER" in refused(None)
    assert "no model_index.json" in refused(tmp_path)


@pytest.mark.parametrize(
    ("file", "value", "said"),
    [
        ("model_index.json", "{", "cannot be read as JSON"),
        ("model_index.json", "[]", "holds no mapping"),
        ("model_index.json", INDEX | {"_class_name": "StableDifusionPipeline"},
         "did you mean StableDiffusionPipeline?"),
        ("model_index.json", INDEX | {"_class_name": "Unheard"}, "docs/your-own-pipeline.md"),
        ("model_index.json", INDEX | {"_class_name": ["pipeline", "Mine"]}, "is never run"),
        ("model_index.json", INDEX | {"unet": ["my_unet", "Mine"]}, "is never run"),
        ("model_index.json", {k: v for k, v in INDEX.items() if k != "unet"},
         "needs the component 'unet'"),
        ("unet/config.json", {"sample_size": None}, "are not those of a StableDiffusionPipeline"),
        ("unet/config.json", "nonsense", "cannot be read as JSON"),
    ],
)  # fmt: skip
def test_files_that_are_not_as_libraries_write_them(folder, file, value, said):
    write(folder / file, value)
    assert said in refused(folder)


def test_old_files_lack_what_came_later(folder):
    """Published in 2022, before `scaling_factor` and most of the rest: the library's defaults."""
    write(folder / "vae" / "config.json", {"block_out_channels": [8, 8]})
    stages = {s.name: dict(s.params) for s in job(folder).pipeline.stages}
    assert json.loads(stages["decode_image"]["settings"]) == {"scaling": 0.18215}


def test_a_file_that_is_missing(folder):
    (folder / "unet" / "config.json").unlink()
    assert "download the whole folder" in refused(folder)


@pytest.mark.parametrize(
    "name", ["diffusers.DiffusionPipeline", "diffusers.utils", "transformers.pipeline", "os.System"]
)
def test_a_name_calls_nothing_but_models(name):
    params = {"module": name, "config": "{}", "checkpoint": "unet", "outputs": ["out"]}
    inputs = {"z": [1, 4, 8, 8], "time": [1], "states": [2, 12, 16], "guidance": [1]}
    with pytest.raises(GraphFault, match="has no model|is of none of"):
        build("recipes.stable_diffusion.denoise", {**params, "inputs": inputs})


@pytest.mark.parametrize(
    "name",
    ["recipes.stable_diffusion.image_scale", "recipes.parts.guided", "recipes.hub._read",
     "recipes...meta.on_meta", "recipes.os.system", "recipes.", "recipes"],
)  # fmt: skip
def test_a_graph_names_nothing_but_stages(name):
    with pytest.raises(ValueError, match="no graph is named"):
        build(name, {})


def test_the_page_names_every_class():
    page = (Path(__file__).parent.parent / "docs" / "model-folders.md").read_text()
    assert set(re.findall(r"`(\w+(?:Pipeline|Model|Projection|LM|Generation))`", page)) == set(
        classes()
    )
