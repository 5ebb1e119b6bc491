"""Every file that an output can become, read by others: piece by piece as whole, and never whole in
memory."""

import io
import tracemalloc
import wave
import zipfile
from importlib.resources import files

import av
import numpy as np
import pytest
from PIL import Image

from entracte.disk import left
from entracte.errors import RunError
from entracte.ir import Output
from entracte.run import sinks
from entracte.run.outputs import FORMATS
from entracte.run.sinks import FileSink, opened, place_of, places_for, usual_places
from entracte.run.spool import Spool
from entracte.run.video import contact_sheet, image_fault, to_frames
from tests.writing import endings, made, write_output, write_pieces

STAND_IN = "weights/stand_in/tokenizer.json"
RNG = np.random.default_rng(0)
VIDEO = RNG.random((1, 3, 6, 256, 258), np.float32)
GREY = np.linspace(0, 1, 240, dtype=np.float32).reshape(3, 1, 8, 10)
IMAGES = np.concatenate([GREY, GREY / 2, 1 - GREY], axis=1)


def cut(value, axis, *at):
    return np.split(value, at, axis)


# ---------------------------------------------------------------- videos


@pytest.mark.parametrize("ending", [e for e in endings("video") if e != "/"])
def test_a_clip_in_pieces_is_the_same_file(tmp_path, ending):
    """Byte for byte: encoders see the same frames."""
    small = VIDEO[:, :, :, :32, :64]
    write_output(small, tmp_path / f"whole{ending}", kind="video")
    pieces = [small[:, :, :1], small[:, :, 1:4], small[:, :, 4:]]
    assert not write_pieces(pieces, tmp_path / f"parts{ending}", "video").fault
    whole, parts = ((tmp_path / f"{n}{ending}").read_bytes() for n in ("whole", "parts"))
    assert whole == parts
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"parts{ending}", f"whole{ending}"]


def test_an_mp4_is_as_one_encoder_makes_it_of_all_frames(tmp_path):
    """The encoder's words by hand, with all frames at once."""
    from fractions import Fraction

    frames = np.clip(np.rint(VIDEO[0].transpose(1, 2, 3, 0) * 255.0), 0, 255).astype(np.uint8)
    options = {"crf": "12", "x264-params": "mbtree=0"}
    exact = {"fflags": "+bitexact"}
    with av.open(str(tmp_path / "hand.mp4"), "w", container_options=exact) as container:
        stream = container.add_stream("libx264", rate=Fraction(8), options=options)
        stream.height, stream.width, stream.pix_fmt = 256, 258, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    write_pieces(cut(VIDEO, 2, 2, 3), tmp_path / "ours.mp4", "video")
    assert (tmp_path / "ours.mp4").read_bytes() == (tmp_path / "hand.mp4").read_bytes()


@pytest.mark.parametrize("name", ["x.webm", "x.mp4", "x.gif"])
def test_a_clip_is_what_was_given(tmp_path, name):
    ramp = np.linspace(0, 1, 256, dtype=np.float32)
    video = np.empty((1, 3, 4, 256, 256), np.float32)
    for t in range(4):
        video[0, :, t] = ramp[None, :] if t % 2 else ramp[:, None]
    write_output(video, tmp_path / name, kind="video", rate=10.0)
    with av.open(str(tmp_path / name)) as clip:
        assert abs(float(clip.streams.video[0].average_rate) - 10) < 0.01
        frames = [f.to_ndarray(format="rgb24") for f in clip.decode(video=0)]
    assert len(frames) == 4
    for found, wanted in zip(frames, to_frames(video), strict=True):
        assert np.abs(found.astype(int) - wanted).mean() < 4


def test_a_folder_of_frames(tmp_path):
    out = f"{tmp_path}/clip/"
    write_pieces(cut(VIDEO[:, :, :, :8, :10], 2, 2), out, "video")
    names = sorted(p.name for p in (tmp_path / "clip").iterdir())
    assert names == [f"{k:05}.png" for k in range(6)]
    for k, name in enumerate(names):
        found = np.asarray(Image.open(tmp_path / "clip" / name))
        np.testing.assert_array_equal(found, to_frames(VIDEO[:, :, :, :8, :10])[k])
    with pytest.raises(RunError, match="clip/: is there and no empty folder; name another"):
        place_of(out)


def test_levels_in_a_range_of_ones_own(tmp_path):
    video = np.array([-2, -1, 0, 0.5, 1, np.nan], np.float32).reshape(1, 1, 6, 1, 1)
    video = np.repeat(video, 3, axis=1)
    # (x + 1) / 2 x 255: 0.5 is 191.25; 0 is 127.5, half to even.
    assert to_frames(video, -1.0, 1.0)[:, 0, 0, 0].tolist() == [0, 0, 128, 191, 255, 0]
    assert to_frames(video)[:, 0, 0, 0].tolist() == [0, 0, 0, 128, 255, 0]


# ---------------------------------------------------------------- pictures


@pytest.mark.parametrize("ending", [".png", ".jpg", ".jpeg", ".webp"])
def test_one_picture_is_itself_and_several_are_on_one_sheet(tmp_path, ending):
    levels = np.clip(np.rint(IMAGES * 255), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    write_output(IMAGES[:1], tmp_path / f"one{ending}", kind="image")
    write_pieces(cut(IMAGES, 0, 1), tmp_path / f"all{ending}", "image")
    for name, wanted in (("one", levels[0]), ("all", contact_sheet(levels))):
        found = np.asarray(Image.open(tmp_path / f"{name}{ending}").convert("RGB"))
        assert found.shape == wanted.shape
        error = np.abs(found.astype(int) - wanted).mean()
        assert error < 8 if ending.startswith(".j") else error == 0


def test_sides_that_a_picture_cannot_have():
    assert "at most 16383 pixels a side" in image_fault((1, 3, 8, 20_000), ".webp")
    assert image_fault((1, 3, 8, 20_000), ".jpg") is None
    assert ", a sheet of 9" in image_fault((9, 3, 8, 9000), ".jpeg")


# ---------------------------------------------------------------- sounds


@pytest.mark.parametrize("channels", [0, 1, 2])
def test_a_wav_is_what_was_given(tmp_path, channels):
    sound = np.float32([[0, 0.5, -1, 1, 2, -2, np.nan, 1 / 65534]])
    if channels:
        sound = np.stack([sound, -sound][:channels], 1)
    pieces = cut(sound, -1, 3, 4)
    write_pieces(pieces, tmp_path / "x.wav", "audio", rate=16000.0)
    with wave.open(str(tmp_path / "x.wav")) as file:
        head = (file.getnchannels(), file.getsampwidth(), file.getframerate(), file.getnframes())
        data = np.frombuffer(file.readframes(99), "<i2").reshape(-1, max(1, channels))
    assert head == (max(1, channels), 2, 16000, 8)
    # 16383.5 goes to the even 16384, 0.5 to 0.
    assert data[:, 0].tolist() == [0, 16384, -32767, 32767, 32767, -32768, 0, 0]
    if channels == 2:
        assert data[:, 1].tolist() == [0, -16384, 32767, -32767, -32768, 32767, 0, 0]


@pytest.mark.parametrize(
    ("rate", "why"), [(16000.5, "whole numbers of samples"), (0.0, "whole numbers of samples")]
)
def test_what_a_wav_cannot_hold(tmp_path, rate, why):
    with pytest.raises(RunError, match=why):
        places_for([made(np.zeros((1, 4), np.float32), "audio", rate)], tmp_path / "x.wav")


# ---------------------------------------------------------------- tensors


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("ending", [".npy", ".npz", ".safetensors"])
def test_a_tensor_in_pieces_along_any_axis(tmp_path, axis, ending):
    from safetensors.numpy import load_file

    whole = RNG.normal(size=(3, 4, 5)).astype(np.float16)
    write_pieces(cut(whole, axis, 1, 2), tmp_path / f"x{ending}", "tensor", axis=axis)
    if ending == ".safetensors":
        found = load_file(tmp_path / "x.safetensors")["x"]
    else:
        found = np.load(tmp_path / f"x{ending}")
        found = found["x"] if ending == ".npz" else found
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, whole)


def test_an_npy_is_as_numpy_saves_it(tmp_path):
    whole = np.arange(12, dtype=np.int32).reshape(3, 4)
    saved = io.BytesIO()
    np.save(saved, whole)
    write_pieces(cut(whole, 0, 1), tmp_path / "x.npy", "tensor")
    assert (tmp_path / "x.npy").read_bytes() == saved.getvalue()


# ---------------------------------------------------------------- which file, and all or nothing


ALL = (
    made(np.zeros((1, 3, 2, 8, 8), np.float32), "video", 8.0, "frames"),
    made(np.zeros((1, 9), np.int32), "text", 0.0, "said", tokenizer="t.json"),
    made(np.zeros((2, 5), np.float32), "tensor", 0.0, "logits"),
)


def names(files: list[FileSink]) -> list[tuple[str, list[str]]]:
    return [(f.place.path.name, [m.output.name for m in f.made]) for f in files]


def test_which_output_a_file_is_meant_for(tmp_path):
    assert names(places_for(ALL, tmp_path / "x.mp4")) == [("x.mp4", ["frames"])]
    assert names(places_for(ALL, tmp_path / "x.txt")) == [("x.txt", ["said"])]
    assert names(places_for(ALL, tmp_path / "x.npz")) == [("x.npz", ["frames", "said", "logits"])]
    one = places_for(ALL, {"logits": tmp_path / "x.npz"})
    assert names(one) == [("x.npz", ["logits"])]
    two = {"logits": tmp_path / "x.npz", "frames": tmp_path / "x.npz", "said": tmp_path / "s.txt"}
    assert names(places_for(ALL, two)) == [("x.npz", ["frames", "logits"]), ("s.txt", ["said"])]
    assert usual_places(ALL) == {"frames": "frames.mp4", "logits": "logits.npy"}
    assert usual_places(ALL[:1]) == {"frames": "clip.mp4"}
    assert usual_places(ALL[2:]) == {"logits": "output.npy"}


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("x.npy", "x.npy: which of the outputs frames, said, logits[?] Write e.g. --out frames="),
        ({"clip": "x.mp4"}, "--out clip=...: the plan's outputs are frames, said, logits"),
        ({"frames": "x.npy", "logits": "x.npy"}, "frames goes there too; name another file"),
        ({"frames": "x.npy", "logits": "./x.npy"}, "frames goes there too"),
        ({"logits": "x.mp4"}, r"mp4 files hold video, the output logits is a tensor, fp32 of \(2"),
        ({"said": "x.wav"}, r"the output said is a text, int32 of \(1, 9\); .* in \.txt, \.npy"),
        ({"frames": "x"}, r"the ending decides the format: .*\.mp4, .* or NAME/ for a folder"),
        ({"frames": "no/x.mp4"}, "there is no folder no"),
        ({"frames": ""}, "^'': the ending decides"),
        ({"frames": "x" * 300 + ".mp4"}, "cannot be written: File name too long; name another"),
        ({"frames": "x" * 300 + "/"}, "cannot be written: File name too long; name another"),
        ({"frames": "x\0.mp4"}, "cannot be written: no name of a file"),
    ],
)
def test_places_that_cannot_be(tmp_path, monkeypatch, out, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=message):
        places_for(ALL, out)


def test_an_archive_holds_all_by_name(tmp_path):
    frames = RNG.random((1, 3, 2, 8, 8), np.float32)
    with opened(places_for(ALL, tmp_path / "x.npz")) as files:
        files["frames"].take("frames", frames[:, :, :1])
        files["logits"].take("logits", np.ones((2, 5), np.float32))
        files["frames"].take("frames", frames[:, :, 1:])
        files["said"].take("said", np.arange(9, dtype=np.int32)[None])
    found = np.load(tmp_path / "x.npz")
    assert sorted(found) == ["frames", "logits", "said"]
    np.testing.assert_array_equal(found["frames"], frames)
    assert zipfile.ZipFile(tmp_path / "x.npz").testzip() is None


@pytest.mark.parametrize("ending", [e for e in FORMATS if e != "/"])
def test_a_run_that_fails_leaves_nothing(tmp_path, ending):
    kind = FORMATS[ending].kinds[0]
    shapes = {"video": (1, 3, 2, 8, 8), "image": (1, 3, 8, 8), "audio": (1, 4), "text": (1, 4)}
    value = np.zeros(shapes[kind], np.int32 if kind == "text" else np.float32)
    (tmp_path / f"x{ending}").write_bytes(b"what was there")
    files = [FileSink(place_of(tmp_path / f"x{ending}"), [made(value, kind, 8.0)])]
    with pytest.raises(KeyError), opened(files) as ready:
        ready["x"].take("x", value)
        raise KeyError
    assert [p.name for p in tmp_path.iterdir()] == [f"x{ending}"]
    assert (tmp_path / f"x{ending}").read_bytes() == b"what was there"
    assert not left._own


def test_a_disk_that_fills_up_halfway_loses_nothing(tmp_path, monkeypatch):
    """The pieces go on where the system keeps temporary files."""
    elsewhere = tmp_path / "tmp"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(elsewhere))
    write, full = sinks.Spool._write, []

    def limited(self, data):
        if self._folders[0] == tmp_path and self._size_bytes >= 4000:
            full.append(self._size_bytes)
            raise OSError(28, "No space left on device")
        write(self, data)

    monkeypatch.setattr(Spool, "_write", limited)
    whole = RNG.random((10, 1000), np.float32)
    assert not write_pieces(cut(whole, 0, *range(1, 10)), tmp_path / "x.npy", "tensor").fault
    assert full == [4000]
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), whole)
    assert list(elsewhere.iterdir()) == []


def test_a_clip_is_never_whole_in_memory(tmp_path):
    """120 frames of 256 x 256 are 94 MB in fp32, 24 MB in bytes: a few frames are there at once."""

    def pieces():
        for k in range(60):
            yield np.full((1, 3, 2, 256, 256), k / 60, np.float32)

    for name in ("x.mp4", "x.npy"):
        whole = made(np.empty((1, 3, 120, 256, 256), np.float32), "video")
        sink = FileSink(place_of(tmp_path / name), [whole])
        sink.begin()
        tracemalloc.start()
        for piece in pieces():
            sink.take("x", piece)
        sink.finish()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert not sink.fault and peak < 16e6, (name, peak)


def test_a_clip_that_comes_whole_is_not_there_twice(tmp_path):
    """40 frames of 256 x 256 in fp16 are 16 MB; in fp32 they would be 31."""
    clip = np.full((1, 3, 40, 256, 256), 0.5, np.float16)
    sink = FileSink(place_of(tmp_path / "x.mp4"), [made(clip, "video")])
    sink.begin()
    tracemalloc.start()
    sink.take("x", clip)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    sink.finish()
    assert not sink.fault and peak < 12e6, peak
    with av.open(str(tmp_path / "x.mp4")) as made_clip:
        assert len(list(made_clip.decode(video=0))) == 40


# ---------------------------------------------------------------- texts


def test_a_text_ends_where_it_is_said_to(tmp_path, monkeypatch):
    seen = []

    def stand_in(tokens, path, end):
        seen.append((list(tokens), path.name, end))
        return "w5 w6 w7"

    monkeypatch.setattr("entracte.run.text.detokenize", stand_in)
    (tmp_path / "t.json").write_text("{}")
    tokens = np.array([[5, 6, 7, 9, 5, 8]], np.int32)
    more = {"tokenizer": "t.json", "end": (9, 8), "folder": tmp_path}
    write_pieces(cut(tokens, 1, 2), tmp_path / "x.txt", "text", **more)
    assert (tmp_path / "x.txt").read_text() == "w5 w6 w7\n"
    assert seen == [([5, 6, 7, 9, 5, 8], "t.json", (9, 8))]
    with pytest.raises(RunError, match="there is no file u.json; compile again"):
        write_output(tokens, tmp_path / "y.txt", kind="text", **more | {"tokenizer": "u.json"})


def test_tokens_that_are_no_text_lose_nothing_else(tmp_path):
    """A model may say anything: the run is told, and the other texts."""
    from entracte.run.text import texts_of

    (tmp_path / "t.json").write_bytes((files("entracte.graphs") / STAND_IN).read_bytes())
    names = {"good": [[104, 105]], "bad": [[104, -7]]}
    outputs = [Output(n, "text", ("a",), 1, tokenizer="t.json") for n in (*names, "in_a_file")]
    arrays = {name: np.array(ids, np.int32) for name, ids in names.items()}
    texts, (fault,) = texts_of(outputs, arrays, tmp_path)
    assert list(texts) == ["good"]
    assert fault.startswith("output bad: detokenize: -7 is the id of no token; `--out bad=FILE.npy")
