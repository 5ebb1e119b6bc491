"""Deterministic packages: the same bytes in every process, and a digest of the content."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from entracte.lower import package
from entracte.lower.errors import LowerError
from tests.lower.determinism import convert
from tests.lower.execute import lower

ROOT = Path(__file__).parents[2]


def _files(path: Path) -> dict[str, bytes]:
    return {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file()}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "m.mlpackage"
    lower(nn.Sequential(nn.Linear(8, 8)).requires_grad_(False), (torch.zeros(1, 8),), path)
    return path


@pytest.mark.parametrize(
    "cases",
    [
        ("dit fp16 palette6", "dit fp32 int4_block32"),
        pytest.param(("t5 fp16 none",), marks=pytest.mark.slow),
    ],
)
def test_same_bytes_in_every_process(tmp_path: Path, cases: tuple[str, ...]) -> None:
    """This process, whose hashes are others and that has converted much else, and a new one."""
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT)}
    other = subprocess.Popen(
        [sys.executable, "-m", "tests.lower.determinism", str(tmp_path / "other"), *cases],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    facts = [convert(*case.split(), f"{tmp_path}/here/{case}.mlpackage") for case in cases]
    assert other.communicate()[0].splitlines() == list(map(str, facts)) != []
    found = _files(tmp_path / "here")
    assert found == _files(tmp_path / "other")
    assert {name.split("/")[0] for name in found} == {f"{case}.mlpackage" for case in cases}


def test_same_bytes_after_other_conversions(made: Path, tmp_path: Path) -> None:
    """coremltools counts names up in the process; a failed conversion does not reset them."""
    with pytest.raises(LowerError):
        lower(nn.Linear(3, 3), (torch.zeros(1, 8),), tmp_path / "bad.mlpackage", ports=([], []))
    lower(
        nn.Conv1d(2, 2, 1).requires_grad_(False), (torch.zeros(1, 2, 3),), tmp_path / "o.mlpackage"
    )
    torch.manual_seed(0)
    again = tmp_path / "again.mlpackage"
    lower(nn.Sequential(nn.Linear(8, 8)).requires_grad_(False), (torch.zeros(1, 8),), again)
    assert _files(again) == _files(made)


def test_normalising_again_changes_nothing(made: Path) -> None:
    before = _files(made)
    package.normalise(made)
    assert _files(made) == before


def test_nothing_of_the_machine_remains(made: Path) -> None:
    files = _files(made)
    assert set(files) == {"Manifest.json", package.MODEL_FILE, package.WEIGHT_FILE}
    assert not package.read_spec(made).description.metadata.userDefined
    assert not any(b"coremltools" in data for data in files.values())
    assert not any(str(ROOT).encode() in data for data in files.values())


def test_manifest_is_what_core_ml_expects(made: Path) -> None:
    manifest = json.loads((made / "Manifest.json").read_text())
    items = manifest["itemInfoEntries"]
    assert items[manifest["rootModelIdentifier"]]["path"] == "com.apple.CoreML/model.mlmodel"
    assert {item["path"] for item in items.values()} == {
        "com.apple.CoreML/model.mlmodel",
        "com.apple.CoreML/weights",
    }
    from entracte.lower.quiet import captured_output, coremltools

    with captured_output():
        model = coremltools().models.MLModel(str(made), skip_model_load=True)
    assert [f.name for f in model.get_spec().description.input] == ["in_0"]


def test_digest_is_of_the_content(made: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.mlpackage"
    shutil.copytree(made, copy)
    assert package.canonical_digest(copy) == package.canonical_digest(made)
    weights = copy / package.WEIGHT_FILE
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert package.canonical_digest(copy) != package.canonical_digest(made)


def test_not_a_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LowerError, match="not an .mlpackage folder: Manifest.json is missing"):
        package.canonical_digest(tmp_path)
