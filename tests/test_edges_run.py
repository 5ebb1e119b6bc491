"""From files to files: a picture, a choice and a number in, a clip, a sound and numbers out,
through `compile` and `plan run`, beside the torch modules composed by hand."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

import entracte.graphs
from entracte.cli.plan import app
from entracte.compile.job import compile_pipeline
from entracte.graphs.spec import Graph, Input
from entracte.plan.file import read_plan
from entracte.run.execute import run_build

PIPELINE = """
name: edges
title: A picture in, a clip out
weights: "WEIGHTS"
precision: fp32
inputs:
  picture: {kind: image, shape: [1, 3, 8, 8], range: [-1, 1], fit: stretch}
  label: {kind: choice, choices: [dim, plain, bright], default: plain}
  speed: {kind: number, default: 0.5, least: 0, most: 1}
stages:
  look:
    graph: test.look
    inputs: {picture: picture, label: label}
  move:
    graph: test.move
    inputs: {z: clip.z, speed: speed}
  paint:
    graph: test.paint
    map: {port: z, axis: 0, size: 1, output_axis: 2}
    inputs: {z: clip.all}
  hum:
    graph: test.hum
    inputs: {z: clip.z}
loops:
  clip:
    count: 4
    stages: [move]
    state: {z: [look.z, move.next]}
    collect: {all: {value: move.row, axis: 0}}
outputs:
  frames: {kind: video, value: paint.frame, rate: 10, range: [-1, 1]}
  sound: {kind: audio, value: hum.wave, rate: 800}
  logits: {kind: tensor, value: look.logits}
"""


class Look(nn.Module):
    def forward(self, picture: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        z = picture * (label.to(picture.dtype) * 0.25 + 0.5)
        return z, picture.mean(dim=(2, 3))


class Move(nn.Module):
    def forward(self, z: Tensor, speed: Tensor) -> tuple[Tensor, Tensor]:
        z = z * (1 - 0.5 * speed) + torch.roll(z, 1, 3) * 0.5 * speed
        return z, z * 0.9


class Paint(nn.Module):
    def forward(self, z: Tensor) -> tuple[Tensor]:
        return (torch.tanh(z).unsqueeze(2),)


class Hum(nn.Module):
    def forward(self, z: Tensor) -> tuple[Tensor]:
        return (z.reshape(1, -1).clamp(-1, 1),)


PICTURE = ("picture", (1, 3, 8, 8))
Z = ("z", (1, 3, 8, 8))
FACTORIES: dict[str, Callable[[], Graph]] = {
    "look": lambda: Graph(
        Look().eval(), (Input(*PICTURE), Input("label", (1,), "int")), ("z", "logits")
    ),
    "move": lambda: Graph(Move().eval(), (Input(*Z), Input("speed", (1,))), ("next", "row")),
    "paint": lambda: Graph(Paint().eval(), (Input(*Z),), ("frame",)),
    "hum": lambda: Graph(Hum().eval(), (Input(*Z),), ("wave",)),
}
look, move, paint, hum = (FACTORIES[n] for n in ("look", "move", "paint", "hum"))


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edges")
    (folder / "conf" / "pipeline").mkdir(parents=True)
    (folder / "weights").mkdir()
    text = PIPELINE.replace("WEIGHTS", str(folder / "weights"))
    (folder / "conf" / "pipeline" / "edges.yaml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        for name in FACTORIES:
            patch.setitem(entracte.graphs._BUILT_IN, f"test.{name}", f"{__name__}:{name}")
        compile_pipeline(
            ["+target=host", "pipeline=edges", f"cache={folder / 'cache'}"],
            out=folder / "build",
            config_dir=folder / "conf",
        )
    return folder / "build"


PIXELS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder to be in, with a picture."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(PIXELS).save("cat.png")
    return tmp_path


def by_hand(label: int, speed: float) -> dict[str, np.ndarray]:
    picture = torch.from_numpy(PIXELS).float().permute(2, 0, 1)[None] / 255 * 2 - 1
    z, logits = Look()(picture, torch.tensor([label]))
    rows = []
    for _ in range(4):
        z, row = Move()(z, torch.tensor([speed]))
        rows.append(row)
    frames = torch.cat([Paint()(row)[0] for row in rows], 2)
    found = {"frames": frames, "sound": Hum()(z)[0], "logits": logits}
    return {name: value.numpy() for name, value in found.items()}


def command(*words):
    done = CliRunner().invoke(app, ["run", *map(str, words)])
    return done.exit_code, " ".join(done.output.split())


def test_every_output_is_what_it_is_in_torch(build, place):
    wanted = by_hand(2, 0.25)
    given = {"picture": "cat.png", "label": "bright", "speed": 0.25}
    outcome = run_build(build, given, device="reference")
    assert outcome.outputs.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(outcome.outputs[name], value, atol=1e-5)
    array = PIXELS.astype(np.float32).transpose(2, 0, 1)[None] / 255 * 2 - 1
    again = run_build(build, given | {"picture": array}, device="reference")
    np.testing.assert_allclose(again.outputs["frames"], wanted["frames"], atol=1e-5)


def test_frames_leave_as_they_are_made(build):
    plan = read_plan(build)
    [decl] = [t for t in plan.program.tensors if t.name == "paint.frame"]
    assert decl.streamed == 4 and decl.port.shape == (1, 3, 1, 8, 8)


def test_files_by_name_and_a_record_that_names_the_picture_by_its_digest(build, place):
    import hashlib

    wanted = by_hand(0, 0.5)
    code, text = command(
        build, "--input", "picture=cat.png", "--input", "label=dim",
        "--out", "frames=clip.gif", "--out", "logits=x.npz", "--device", "reference",
    )  # fmt: skip
    assert code == 0, text
    assert "wrote clip.gif" in text and "wrote x.npz" in text
    assert "not written: sound (`--out sound=FILE`)" in text
    np.testing.assert_allclose(np.load("x.npz")["logits"], wanted["logits"], atol=1e-5)
    with Image.open("clip.gif") as clip:
        assert (clip.n_frames, clip.size) == (4, (8, 8))
    record = json.loads((build / "run.json").read_text())
    inputs = dict(record["inputs"])
    assert inputs["picture"] == "sha256:" + hashlib.sha256(Path("cat.png").read_bytes()).hexdigest()
    assert inputs["label"] == "dim" and inputs["speed"] == 0.5
    assert dict(record["outputs"]) == {"frames": 4, "sound": 1, "logits": 1}
    assert CliRunner().invoke(app, ["show", str(build)]).exit_code == 0


def test_without_out_each_goes_to_a_file_of_its_name(build, place):
    code, text = command(build, "--input", "picture=cat.png", "--device", "reference")
    assert code == 0, text
    made = {p.name for p in place.iterdir()} - {"cat.png"}
    assert made == {"frames.mp4", "sound.wav", "logits.npy"}
    np.testing.assert_allclose(np.load("logits.npy"), by_hand(1, 0.5)["logits"], atol=1e-5)


def test_one_archive_for_all(build, place):
    code, text = command(
        build, "--input", "picture=cat.png", "--out", "all.safetensors", "--device", "reference"
    )
    assert code == 0, text
    from safetensors.numpy import load_file

    found, wanted = load_file("all.safetensors"), by_hand(1, 0.5)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "input 'picture': give it, e.g. `--input picture=...`; it has no default"),
        (["--input", "picture=dog.png"], "dog.png: No such file or directory; give a file"),
        (["--input", "picture=cat.png", "--input", "label=loud"],
         "input 'label': 'loud' is not one of dim, plain, bright"),
        (["--input", "picture=cat.png", "--input", "picture=dog.png"], "'picture' is given twice"),
        (["--input", "picture=cat.png", "--input", "speed=2"], "2.0 is not allowed: least 0, most"),
        (["--input", "picture=cat.png", "--seed", "1"], "--seed: a seed among the plan's inputs"),
        (["--input", "picture=cat.png", "--out", "frames=x.mp4", "--out", "sound=x.mp4"],
         "mp4 files hold video, the output sound is an audio"),
        (["--input", "picture=cat.png", "--out", "x.avi"], "the ending decides the format"),
        (["--input", "picture=cat.png", "--out", "clip=x.mp4"],
         "--out clip=...: the plan's outputs are frames, sound, logits"),
        (["--input", "picture=cat.png", "--out", "x.npy"], "which of the outputs frames, sound"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_is_loaded(build, place, monkeypatch, words, message):
    from entracte.devices.reference import ReferenceDevice

    monkeypatch.setattr(ReferenceDevice, "load", lambda *_: 1 / 0)
    code, text = command(build, *words, "--device", "reference")
    assert code == 1 and message in text and text.count("error:") == 1
    assert [p.name for p in place.iterdir()] == ["cat.png"]
