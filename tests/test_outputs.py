"""The table of outputs: endings, what fits, what is written; another row is one value."""

import resource
from pathlib import Path

import numpy as np
import pytest

from entracte.errors import RunError
from entracte.run.execute import run_build
from entracte.run.outputs import FORMATS, Format
from entracte.run.sinks import place_of
from entracte.run.video import video_fault
from tests.noise import build
from tests.writing import write_output, write_pieces

SHAPE = (1, 3, 5, 8, 12)


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("video"), SHAPE, "kind: video, rate: 8")


@pytest.fixture(scope="module")
def vector(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("vector"), (4,))


def bytes_of(value: np.ndarray) -> np.ndarray:
    """Frame by frame (height, width, 3), as a screen takes it."""
    frames = np.stack([np.stack([value[0, c, t] for c in range(3)], -1) for t in range(SHAPE[2])])
    return np.round(np.minimum(np.maximum(frames, 0), 1) * 255).astype(int)


def test_a_contact_sheet_shows_every_frame_as_it_is(video, tmp_path):
    from PIL import Image

    made = run_build(video, {"seed": 5}, device="reference", out=tmp_path / "sheet.PNG")
    assert made.outputs == {} and made.files == (tmp_path / "sheet.PNG",)
    sheet = np.asarray(Image.open(tmp_path / "sheet.PNG")).astype(int)
    frames = bytes_of(run_build(video, {"seed": 5}, device="reference").output)
    assert sheet.shape == (8 + 4, 5 * (12 + 2) + 2, 3)
    for t in range(5):
        np.testing.assert_array_equal(sheet[2:10, 2 + 14 * t : 14 + 14 * t], frames[t])


@pytest.mark.parametrize("name", ["clip.mp4", "clip.gif"])
@pytest.mark.parametrize("scale", [1, 32])
def test_clips_have_all_frames_in_their_size_or_enlarged(video, tmp_path, name, scale):
    import av

    run_build(video, device="reference", out=tmp_path / name, scale=scale)
    with av.open(str(tmp_path / name)) as clip:
        frames = [f.to_ndarray(format="rgb24") for f in clip.decode(video=0)]
    assert [f.shape for f in frames] == [(scale * 8, scale * 12, 3)] * 5
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["x.mp4", "x.webm"])
def test_the_same_frames_are_the_same_bytes_whatever_lies_in_memory(tmp_path, name):
    rng = np.random.default_rng(0)
    clip = rng.random((1, 3, 16, 64, 64), np.float32)
    found = set()
    for k in range(6):
        others = [np.full(rng.integers(10, 200_000), k, np.uint8) for _ in range(50)]
        write_output(clip, tmp_path / name, kind="video")
        found.add((tmp_path / name).read_bytes())
        del others
    assert len(found) == 1


def test_a_tensor_is_written_as_it_is(vector, tmp_path):
    run_build(vector, {"seed": 1}, device="reference", out=str(tmp_path / "x.npy"))
    found = np.load(tmp_path / "x.npy")
    made = run_build(vector, {"seed": 1}, device="reference")
    np.testing.assert_array_equal(found, made.output)
    assert found.shape == (4,) and found.dtype == np.float32


class Table:
    """A line for each number, as they come."""

    def __init__(self, path):
        self.path, self.lines = path, []

    def take(self, piece):
        self.lines += [f"{x:.3f}\n" for x in piece]

    def finish(self, spools):
        self.path.write_text("".join(self.lines))

    def abandon(self):
        pass


def test_one_row_is_all_that_another_file_takes(vector, video, tmp_path, monkeypatch):
    row = Format(
        ending=".csv",
        kinds=("tensor",),
        grain=lambda output, piece: piece,
        open=lambda made, path: Table(path),
    )
    monkeypatch.setitem(FORMATS, ".csv", row)
    run_build(vector, device="reference", out=tmp_path / "x.csv")
    lines = (tmp_path / "x.csv").read_text().split()
    made = run_build(vector, device="reference")
    assert [float(line) for line in lines] == pytest.approx(made.output, abs=6e-4)
    message = r"y\.csv: \.csv files hold tensor, the output noise is a video, fp32 of \(1, 3, 5, 8"
    with pytest.raises(RunError, match=message):
        run_build(video, device="reference", out=tmp_path / "y.csv")
    with pytest.raises(RunError, match=r"x\.avi: .* one of \.mp4, .*\.npy, .*\.csv, or NAME/"):
        place_of(tmp_path / "x.avi")


def test_what_does_not_fit_is_refused_before_it_is_computed(vector, tmp_path):
    message = r"clip\.mp4: \.mp4 files hold video, the output noise is a tensor, fp32 of \(4,\);"
    with pytest.raises(RunError, match=message + r" give .* \.npy, \.npz, \.safetensors$"):
        run_build(vector, device="reference", out=tmp_path / "clip.mp4")
    # The null device computes nothing, so nothing is written, and nothing can be unsuitable.
    assert run_build(vector, device="null", out=tmp_path / "clip.mp4").run.device == "null"
    assert not list(tmp_path.iterdir())


def test_endings_are_their_rows_own():
    assert all(name == row.ending for name, row in FORMATS.items())


def test_a_file_that_cannot_be_written_is_one_message_and_leaves_nothing(tmp_path):
    (tmp_path / "there.npy").mkdir()
    with pytest.raises(RunError, match=r"there\.npy: is a folder; name a file"):
        write_output(np.zeros(3), tmp_path / "there.npy")
    assert [p.name for p in tmp_path.iterdir()] == ["there.npy"]
    with pytest.raises(RunError, match=r"there is no folder"):
        write_output(np.zeros(3), tmp_path / "nowhere" / "x.npy")


@pytest.mark.parametrize(
    ("sides", "scale", "name", "fault"),
    [
        ((258, 260), 1, "x.mp4", ""),
        ((2, 2), 1, "x.mp4", ""),
        ((258, 257), 1, "x.mp4", "even sides only, not 258 x 257 (--scale 2 makes them even)"),
        ((257, 258), 1, "x.mp4", "even sides"),
        ((65, 67), 4, "x.mp4", ""),
        ((65, 67), 3, "x.mp4", "not 195 x 201 (--scale 6 makes them even)"),
        ((258, 257), 1, "x.webm", "even sides"),
        ((258, 260), 1, "x.webm", ""),
        ((257, 257), 1, "x.gif", ""),
        ((257, 257), 1, "x.png", ""),
    ],
)
def test_what_an_encoder_cannot_take_is_known_before_it_is_computed(
    sides, scale, name, fault, tmp_path
):
    """The encoder itself says who is right."""
    shape = (1, 3, 1, *sides)
    found = video_fault(shape, Path(name).suffix, 8.0, scale)
    assert fault in (found or "") and bool(found) == bool(fault)
    value = np.zeros((*shape[:3], *(side * scale for side in sides)), np.float32)
    try:
        write_output(value, tmp_path / name, kind="video")
        written = True
    except Exception:
        written = False
    assert written is (found is None) or name.endswith(".webm")


@pytest.mark.parametrize(
    ("ending", "fps", "fits"),
    [(".mp4", 8, True), (".mp4", 1e-9, False), (".mp4", 1e9, False), (".gif", 200.0, False),
     (".gif", 30.0, True), (".png", 1e9, True)],
)  # fmt: skip
def test_rates_that_a_format_has(ending, fps, fits):
    assert (video_fault((1, 3, 2, 64, 64), ending, fps) is None) is fits


def test_a_fault_of_an_encoder_is_one_message_and_its_numbers_are_kept(tmp_path, monkeypatch):
    def fails(*_):
        raise KeyError("a codec's own kind")

    monkeypatch.setattr("entracte.run.video.Clip.take", fails)
    pieces = [np.full((1, 3, 1, 256, 256), k / 4, np.float32) for k in range(3)]
    said = write_pieces(pieces, tmp_path / "x.mp4", "video").fault
    assert said.startswith(f"{tmp_path}/x.mp4: cannot be encoded (KeyError: ")
    [kept] = tmp_path.iterdir()
    assert said.endswith(f"its frames are kept in {kept} (`numpy.load`)")
    found = np.load(kept)
    assert found.shape == (3, 256, 256, 3) and found.dtype == np.uint8
    assert [int(f.max()) for f in found] == [int(f.min()) for f in found] == [0, 64, 128]


@pytest.fixture
def small_files():
    """As on a full disk, files cannot grow beyond 4 KiB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_said_in_the_systems_words(tmp_path, small_files):
    with pytest.raises(RunError, match=r"x\.npy: cannot be written \(File too large\)"):
        write_output(np.zeros(10_000), tmp_path / "x.npy")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [np.arange(6).reshape(2, 3).T, np.float16(3), np.zeros((0, 2))])
def test_any_tensor_is_read_back(tmp_path, value):
    write_output(value, tmp_path / "x.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), value)
