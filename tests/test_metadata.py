"""What files say of how they were made: written by `plan run`, read back by others' readers and by
`plan whence`."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from entracte.cli.plan import app
from entracte.errors import RunError
from entracte.plan.file import read_plan
from entracte.run.comment import MOST_BYTES, read_comment
from entracte.run.execute import run_build
from entracte.run.metadata import read_metadata
from entracte.run.origin import plan_digest
from tests.noise import build
from tests.writing import endings, made, write_output

TEXT = json.dumps({"a": 'ü "quoted"\n', "b": list(range(400))})
VALUES = {
    "video": np.zeros((1, 3, 2, 32, 32), np.float32),
    "image": np.full((1, 3, 6, 8), 0.5, np.float32),
    "audio": np.zeros((1, 801), np.float32),
    "tensor": np.arange(4, dtype=np.float32),
}
SILENT = {".npy", ".txt"}
CASES = [(k, e) for k in VALUES for e in endings(k) if e not in SILENT]


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("video"), (1, 3, 2, 32, 32), "kind: video, rate: 8")


def written(kind, path, monkeypatch, text=TEXT):
    """An output with a comment."""
    from tests import writing

    monkeypatch.setattr(writing, "Made", lambda *a: writing_made(*a, text))
    write_output(VALUES[kind], path, kind=kind, rate=8000.0 if kind == "audio" else 8.0)


def writing_made(output, port, folder, text):
    from entracte.run.outputs import Made

    return Made(output, port, folder, metadata=text)


@pytest.mark.parametrize(("kind", "ending"), CASES)
def test_every_format_holds_its_comment_and_is_the_same_each_time(
    kind, ending, tmp_path, monkeypatch
):
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        place = tmp_path / name / ("x/" if ending == "/" else f"x{ending}")
        path = f"{place}/" if ending == "/" else place
        written(kind, path, monkeypatch)
        assert read_comment(place) == TEXT
        files = sorted(place.iterdir()) if ending == "/" else [place]
        found.append([f.read_bytes() for f in files])
    assert found[0] == found[1]


def test_others_read_the_comment_and_what_it_is_of(tmp_path, monkeypatch):
    import av
    from PIL import Image
    from safetensors import safe_open

    for ending in (".mp4", ".webm"):
        written("video", tmp_path / f"x{ending}", monkeypatch)
        with av.open(str(tmp_path / f"x{ending}")) as clip:
            tags = {key.lower(): text for key, text in clip.metadata.items()}
            assert tags["comment"] == TEXT
            assert sum(1 for _ in clip.decode(video=0)) == 2
    written("image", tmp_path / "x.png", monkeypatch)
    with Image.open(tmp_path / "x.png") as image:
        assert image.text == {"Comment": TEXT}
    written("tensor", tmp_path / "x.npz", monkeypatch)
    archive = np.load(tmp_path / "x.npz")
    assert archive.files == ["x"]
    np.testing.assert_array_equal(archive["x"], VALUES["tensor"])
    written("tensor", tmp_path / "x.safetensors", monkeypatch)
    with safe_open(tmp_path / "x.safetensors", "np") as file:
        assert file.metadata() == {"entracte": TEXT}
        np.testing.assert_array_equal(file.get_tensor("x"), VALUES["tensor"])


def test_a_wave_with_a_comment_is_a_whole_riff(tmp_path, monkeypatch):
    import wave

    written("audio", tmp_path / "x.wav", monkeypatch)
    data = (tmp_path / "x.wav").read_bytes()
    assert struct.unpack("<I", data[4:8])[0] == len(data) - 8
    # 44 bytes of header, 801 samples of 2 bytes, then the list.
    assert data[44 + 1602 : 44 + 1606] == b"LIST"
    (size,) = struct.unpack("<I", data[44 + 1606 : 44 + 1610])
    assert 44 + 1610 + size == len(data)
    with wave.open(str(tmp_path / "x.wav")) as sound:
        assert sound.getnframes() == 801


def test_a_file_says_of_which_run_it_is(video, tmp_path):
    out = tmp_path / "clip.mp4"
    run_build(video, {"seed": 5}, device="reference", out=out)
    found = read_metadata(out)
    assert found.plan == plan_digest(read_plan(video))
    assert found.inputs == (("seed", 5),) and found.pipeline == "noise"
    assert (found.device, found.arithmetic) == ("reference", "hybrid")
    assert found.made_by.startswith("entracte ") and "numpy" in dict(found.versions)
    # Neither when nor on whose machine.
    assert "system" not in dict(found.versions) and "date" not in (read_comment(out) or "")
    run_build(video, {"seed": 5}, device="reference", out=tmp_path / "again.mp4")
    assert (tmp_path / "again.mp4").read_bytes() == out.read_bytes()
    run_build(video, {"seed": 5}, device="reference", out=tmp_path / "bare.mp4", metadata=False)
    assert read_comment(tmp_path / "bare.mp4") is None
    with pytest.raises(RunError, match=r"bare\.mp4: does not say how it was made; .*--no-metadata"):
        read_metadata(tmp_path / "bare.mp4")


def test_whence_says_it_and_the_line_to_type(video, tmp_path):
    out = tmp_path / "clip.gif"
    run_build(video, {"seed": 7}, device="reference", out=out)
    done = CliRunner().invoke(app, ["whence", str(out)])
    assert done.exit_code == 0, done.output
    lines = dict(line.split(None, 1) for line in done.output.splitlines())
    assert lines["pipeline"].strip() == "noise"
    assert lines["again"].strip() == "plan run BUILD --input seed=7"
    done = CliRunner().invoke(app, ["whence", str(out), "--build", str(video), "--json"])
    assert done.exit_code == 0 and json.loads(done.output)["inputs"] == {"seed": 7}


def test_whence_of_another_plan_ends_with_1(video, tmp_path):
    other = build(tmp_path / "other", (1, 3, 3, 32, 32), "kind: video, rate: 8")
    run_build(video, device="reference", out=tmp_path / "x.png")
    done = CliRunner().invoke(app, ["whence", str(tmp_path / "x.png"), "--build", str(other)])
    assert done.exit_code == 1 and "another plan than" in done.output


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.txt", b"a", r"x\.txt: files of this ending say nothing of how .* ends in \.mp4"),
        ("x.png", b"\x89PNG", r"x\.png: cannot be read \(.*\); is it whole\?"),
        ("x.npz", b"PK", r"x\.npz: cannot be read \(.*\); is it whole\?"),
        ("x.safetensors", b"\xff" * 20, r"x\.safetensors: "),
        ("x.wav", b"RIFF", r"x\.wav: cannot be read"),
    ],
)
def test_what_is_no_such_file_is_one_message(name, data, message, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(RunError, match=message):
        read_metadata(tmp_path / name)
    with pytest.raises(RunError, match="there is no such file"):
        read_metadata(tmp_path / "nowhere.png")


def test_a_text_too_long_for_a_comment_stands_there_by_its_digest(video):
    from hashlib import sha256

    from entracte.devices.null import NullDevice
    from entracte.run.metadata import metadata_of

    plan, long = read_plan(video), "é" * MOST_BYTES
    found = json.loads(metadata_of(plan, {"prompt": long, "seed": 1}, NullDevice(1)))
    assert found["inputs"] == {
        "prompt": f"sha256:{sha256(long.encode()).hexdigest()}", "seed": 1,
    }  # fmt: skip


def test_a_stranger_s_text_moves_no_cursor(tmp_path, monkeypatch):
    body = {"made_by": "entracte 9", "pipeline": "\x1b[2J", "plan": "", "inputs": {"a\x1b": "\r"}}
    written("image", tmp_path / "x.png", monkeypatch, json.dumps(body))
    done = CliRunner().invoke(app, ["whence", str(tmp_path / "x.png")])
    assert done.exit_code == 0 and "\x1b" not in done.output and "\r" not in done.output


def test_made_has_no_comment_by_default():
    assert made(VALUES["tensor"]).metadata == ""
