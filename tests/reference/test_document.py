"""docs/reference-device.md says what is so: its Python runs, its output is the golden one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from packages import Maker

from entracte.reference.precision import POLICIES

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "reference-device.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]


def module_of(code: str, path: Path, **given) -> dict:
    """Run a block as a module from a file, as its reader would, with the names that it takes for
    granted."""
    from runpy import run_path

    path.write_text(code)
    return run_path(str(path), init_globals=given)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Maker(tmp_path).traced(torch.nn.Linear(64, 4), (torch.zeros(1, 64),), 17)
    model = tmp_path / "model.mlpackage"
    path.rename(model)
    return tmp_path


def test_the_first_example_prints_and_predicts(make, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    from coremltools.converters.mil.mil import Builder as mb

    made = make.mil(lambda x: mb.exp(x=x, name="y"), [((1, 64), "fp32")])
    rename_input(made, "x").rename("model.mlpackage")
    found = module_of(PYTHON[0], tmp_path / "example.py")
    assert found["outputs"]["y"].shape == (1, 64)
    assert capsys.readouterr().out == "x (1, 64) float32\n"


def test_the_example_test_passes(tmp_path):
    found = module_of(PYTHON[1], tmp_path / "test_example.py")
    found["test_the_package_computes_what_the_module_does"](tmp_path)
    assert found["rel2"](2 * torch.ones(3).numpy(), torch.ones(3).numpy()) == pytest.approx(1)


def test_the_pages_are_loaded_and_given_back(here):
    from test_pages import package_of, sizes_of

    from entracte.devices.reference import ReferenceDevice
    from entracte.reference import Model

    package = package_of(here / "model.mlpackage")
    sizes, device = sizes_of(package, 3), ReferenceDevice()
    assert len(sizes) == 3 and min(sizes) > 0
    with Model(str(here / "model.mlpackage")) as model:
        inputs = {name: np.ones(x.shape, np.float32) for name, x in model.inputs.items()}
        wanted = model.predict(inputs)
    given = {"device": device, "package": package, "folder": here, "sizes": sizes}
    found = module_of(PYTHON[2], here / "example.py", inputs=inputs, **given)["outputs"]
    assert found.keys() == wanted.keys() and found
    for name, value in found.items():
        np.testing.assert_array_equal(value, wanted[name])
    assert device.resident_bytes() == 0


def test_the_limits_are_taken(here):
    found = module_of(PYTHON[3], here / "example.py")
    assert found["model"].inputs and found["limits"].iterations == 1000
    assert len(PYTHON) == 4, "an example without a test"


def test_the_table_is_what_is_printed():
    golden = ROOT / "tests/golden/test_predict_command/test_the_watch_names_the_operation.txt"
    printed = "\n".join(line.rstrip() for line in golden.read_text().splitlines())
    assert printed in TEXT


def test_options_policies_and_limits_are_the_programs():
    from typer.testing import CliRunner

    from entracte.cli.plan import app
    from entracte.reference import Limits

    usage = CliRunner().invoke(app, ["predict", "--help"], env={"COLUMNS": "200"}).output
    named = set(re.findall(r"`(--\w+)", TEXT))
    assert named and all(option in usage for option in named)
    assert all(f"| `{policy}` |" in TEXT for policy in POLICIES)
    assert f"{Limits().iterations:,} iterations" in TEXT


def rename_input(package: Path, name: str) -> Path:
    """A package whose only input x0 is called otherwise."""
    from entracte.reference.protos import protos

    path = package / "Data/com.apple.CoreML/model.mlmodel"
    model = protos()[1].Model()
    model.ParseFromString(path.read_bytes())
    model.description.input[0].name = name
    function = model.mlProgram.functions["main"]
    function.inputs[0].name = name
    (block,) = function.block_specializations.values()
    for operation in block.operations:
        for argument in operation.inputs.values():
            for binding in argument.arguments:
                if binding.name == "x0":
                    binding.name = name
    path.write_bytes(model.SerializeToString())
    return package
