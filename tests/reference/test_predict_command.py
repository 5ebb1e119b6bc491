"""`plan predict`: what it prints (golden, 80 columns), writes and refuses."""

from __future__ import annotations

import io
from pathlib import Path

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.converters.mil.mil import Builder as mb
from packages import Maker
from typer.testing import CliRunner

from entracte.cli.plan import app

X = np.array([[1.0, 2.0, 4.0], [0.0, -1.0, 300.0]], np.float32)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")

    def build(x):
        half = mb.cast(x=x, dtype="fp16")
        square = mb.cast(x=mb.mul(x=half, y=half, name="the_square"), dtype="fp32", name="square")
        total = mb.cast(x=mb.reduce_sum(x=x, axes=[1]), dtype="int32", name="total")
        return square, total, mb.reduce_max(x=x, name="largest")

    return Maker(folder).mil(build, [((2, 3), "fp32")])


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    """Relative names, so that messages do not hold the test's own folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def here(package, tmp_path):
    (tmp_path / "p.mlpackage").symlink_to(package)
    np.savez("in.npz", x0=X)


def predict(*arguments: str):
    return CliRunner().invoke(app, ["predict", "p.mlpackage", *arguments])


def test_the_table(here, golden):
    result = predict("in.npz")
    assert result.exit_code == 0, result.output
    golden.check(result.output)
    assert max(len(line) for line in result.output.splitlines()) <= 80


def test_outputs_are_written_whole(here, tmp_path):
    assert predict("in.npz", "--out", "out.npz").exit_code == 0
    with np.load("out.npz") as found:
        kinds = {name: (found[name].dtype.name, found[name].shape) for name in found.files}
        with np.errstate(over="ignore"):
            wanted = X.astype(np.float16) ** 2
        np.testing.assert_array_equal(found["square"], wanted.astype(np.float32))
        np.testing.assert_array_equal(found["total"], X.sum(-1))
    assert kinds == {
        "square": ("float32", (2, 3)), "total": ("int32", (2,)), "largest": ("float32", (1,)),
    }  # fmt: skip
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.npz", "out.npz", "p.mlpackage"]


def test_the_watch_names_the_operation(here, golden):
    result = predict("in.npz", "--watch")
    assert result.exit_code == 1
    golden.check(result.output)
    # In fp32 the square of 300 is a number, though none that fp16 holds.
    assert "1 beyond fp16's 65504" in predict("in.npz", "--watch", "--policy", "fp32").output
    np.savez("small.npz", x0=X / 300)
    result = predict("small.npz", "--watch")
    assert result.exit_code == 0 and "every result is finite" in result.output


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


FAULTS = {
    "missing input": (lambda: np.savez("in.npz"), []),
    "unknown input": (lambda: np.savez("in.npz", x0=X, extra=X), []),
    "wrong shape": (lambda: np.savez("in.npz", x0=X[0]), []),
    "wrong element type": (lambda: np.savez("in.npz", x0=X.astype(np.int64)), []),
    "objects": (lambda: np.savez("in.npz", x0=np.array([{}], object)), []),
    "no npz": (lambda: Path("in.npz").write_bytes(b"no zip"), []),
    "damaged npz": (lambda: Path("in.npz").write_bytes(b"PK\3\4 no zip"), []),
    "no file": (lambda: None, []),
    "one array": (lambda: Path("in.npz").write_bytes(npy(X)), []),
    "unknown policy": (lambda: np.savez("in.npz", x0=X), ["--policy", "exact"]),
    "unknown function": (lambda: np.savez("in.npz", x0=X), ["--function", "other"]),
    "no folder": (lambda: np.savez("in.npz", x0=X), ["--out", "none/out.npz"]),
    "no npz out": (lambda: np.savez("in.npz", x0=X), ["--out", "out.bin"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_one_message(package, tmp_path, golden, fault):
    (tmp_path / "p.mlpackage").symlink_to(package)
    make, arguments = FAULTS[fault]
    make()
    before = sorted(tmp_path.iterdir())
    result = predict("in.npz", *arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), "not an exception that was not caught"
    golden.check(result.output)
    assert sorted(tmp_path.iterdir()) == before


def test_no_package(tmp_path):
    np.savez("in.npz", x0=X)
    result = predict("in.npz")
    assert result.exit_code == 1
    assert result.output == (
        "error: p.mlpackage: not a folder; an .mlpackage is a folder with a Manifest.json\n"
    )


def test_pictures_labels_and_states(make, tmp_path):
    """Arrays become pictures where the model takes one; classes are written as two arrays."""
    traced = torch.jit.trace(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Softmax(-1)), torch.zeros(1, 1, 1, 3)
    )
    model = ct.convert(
        traced, inputs=[ct.ImageType("x", (1, 1, 1, 3), color_layout=ct.colorlayout.GRAYSCALE)],
        classifier_config=ct.ClassifierConfig(["a", "b", "c"]),
        minimum_deployment_target=ct.target.iOS16, skip_model_load=True,
    )  # fmt: skip
    model.save("p.mlpackage")
    np.savez("in.npz", x=np.array([[0, 9, 1]], np.uint8))
    result = predict("in.npz", "--out", "out.npz")
    assert result.exit_code == 0, result.output
    assert "'b'" in result.output and "3 classes" in result.output
    with np.load("out.npz") as found:
        (table,) = (name.removesuffix(".classes") for name in found.files if "classes" in name)
        assert found[f"{table}.classes"].tolist() == ["a", "b", "c"]
        assert found[f"{table}.values"].argmax() == 1
    np.savez("in.npz", x=np.zeros((1, 3), np.float32))
    assert "give uint8 of (height, width, 3)" in predict("in.npz").output
