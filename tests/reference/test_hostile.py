"""Packages from strangers: circles, strange files, and one kind of error for any damage."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from coremltools.converters.mil.mil import Builder as mb
from coremltools.proto import MIL_pb2
from hostile import MODEL, edit, operation, refused
from hypothesis import given
from hypothesis import strategies as st
from mutations import mutate
from packages import Maker

from entracte.reference import Limits, Model, PackageError, describe

DAMAGES = 150
"""Damaged copies of each package and kind of damage; all six take about ten seconds."""


def constant_expression(block, inputs: dict[str, str], name: str) -> None:
    op = block.operations.add(type="constexpr_cast")
    for key, source in inputs.items():
        op.inputs[key].arguments.add().name = source
    kind = op.outputs.add(name=name).type.tensorType
    kind.dataType, kind.rank = MIL_pb2.FLOAT32, 1
    kind.dimensions.add().constant.size = 3
    dtype = op.attributes["output_dtype"]
    dtype.type.tensorType.dataType = MIL_pb2.STRING
    dtype.immediateValue.tensor.strings.values.append("fp32")


@pytest.mark.parametrize("length", [1, 2, 3000])
def test_weights_that_are_made_of_themselves(make, length):
    """A circle of one, of two, and a chain too long to follow."""
    path = make.mil(lambda x: mb.exp(x=mb.abs(x=x)), [((3,), "fp32")])

    def change(block):
        operations = list(block.operations)
        del block.operations[:]
        for i in range(length):
            source = f"w{(i + 1) % length}" if length < 3000 else f"w{i - 1}"
            constant_expression(block, {"source_val": source}, f"w{i}")
        block.operations.extend(operations)
        operation(block, "exp").inputs["x"].arguments[0].name = f"w{length - 1}"

    edit(path, change)
    refused(path, {"x0": np.zeros(3, np.float32)})


def test_blocks_nested_beyond_reason(make):
    path = make.mil(lambda x: mb.exp(x=x), [((3,), "fp32")])

    def change(block):
        inner = operation(block, "exp")
        for _ in range(200):
            inner = inner.blocks.add().operations.add(type="cond")

    edit(path, change)
    refused(path, {})


def test_a_value_used_before_it_is_made(make):
    """Two operations that each read the other's result."""
    path = make.mil(lambda x: mb.exp(x=mb.abs(x=x)), [((3,), "fp32")])

    def change(block):
        last = operation(block, "exp").outputs[0].name
        operation(block, "abs").inputs["x"].arguments[0].name = last

    edit(path, change)
    refused(path, {}, "which nothing before it defines")


def test_a_function_that_calls_a_function(make):
    path = make.mil(lambda x: mb.exp(x=x), [((3,), "fp32")])

    def change(block):
        operation(block, "exp").type = "main"

    edit(path, change)
    refused(path, {}, "not supported: main")


# -- files --------------------------------------------------------------------------------------

NAMES = ["", ".", "..", "/", "a.zip/../../../etc/passwd", "com.apple.CoreML\\model.mlmodel", "a\0b",
         "x" * 5000, "Manifest.json/x", "com.apple.CoreML"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_with_a_strange_path(make, name):
    path = make.mil(lambda x: mb.exp(x=x), [((3,), "fp32")])
    manifest = json.loads((path / "Manifest.json").read_text())
    manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = name
    (path / "Manifest.json").write_text(json.dumps(manifest))
    refused(path, {})


def test_folders_that_lead_back_to_themselves(make):
    path = make.mil(lambda x: mb.exp(x=x), [((3,), "fp32")])
    (path / "Data" / "again").symlink_to(path)
    with Model(path) as model:
        model.predict({"x0": np.zeros(3, np.float32)})
    shutil.rmtree(path / "Data")
    (path / "Data").symlink_to("Data")
    refused(path, {}, "cannot be opened")


def test_a_model_that_is_a_pipe(make):
    path = make.mil(lambda x: mb.exp(x=x), [((3,), "fp32")])
    (path / MODEL).unlink()
    os.mkfifo(path / MODEL)
    refused(path, {}, "not a regular file")


# -- damage -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A product with weights in a file, a decoder with most kinds of operation, a loop."""
    torch.manual_seed(0)
    make = Maker(tmp_path_factory.mktemp("damaged"))

    def loop(x):
        return mb.while_loop(
            _cond=lambda v: mb.less(x=mb.reduce_max(x=v), y=10.0),
            _body=lambda v: mb.add(x=v, y=1.0),
            loop_vars=(x,),
        )

    return {
        "linear": make.traced(torch.nn.Linear(64, 64), (torch.randn(1, 64),), 16),
        "decoder": make.traced(tiny.Decoder2d(), (torch.randn(1, 4, 8, 8),), 17, "fp32"),
        "loop": make.mil(loop, [((3,), "fp32")]),
    }


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    """One to six bytes changed, in one case of four also cut short."""
    found = bytearray(data)
    for place in rng.integers(0, len(found), rng.integers(1, 7)):
        found[place] ^= 1 << rng.integers(0, 8)
    return bytes(found[: rng.integers(1, len(found))] if rng.integers(0, 4) == 0 else found)


@pytest.mark.parametrize("damage", [flipped, mutate])
@pytest.mark.parametrize("name", ["linear", "decoder", "loop"])
def test_damage_gives_a_working_package_or_a_package_error(packages, tmp_path, name, damage):
    """Bytes flipped at random, and fields changed so that the file still parses."""
    path = Path(shutil.copytree(packages[name], tmp_path / "p.mlpackage"))
    model = path / MODEL
    whole = model.read_bytes()
    (shape,) = (f.shape for f in describe(path).inputs)
    outcomes = {"worked": 0, "refused": 0}
    for seed in range(DAMAGES):
        model.write_bytes(damage(whole, np.random.default_rng(seed)))
        try:
            with Model(path, limits=Limits(iterations=200)) as loaded:
                loaded.predict({"x0" if "x0" in loaded.inputs else "x": np.ones(shape, np.float32)})
            outcomes["worked"] += 1
        except PackageError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 0, f"damage that says nothing: {outcomes}"


@given(st.binary(max_size=300))
def test_any_bytes_for_a_model(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("bytes") / "p.mlpackage"
    (path / "Data").mkdir(parents=True)
    entries = {"itemInfoEntries": {"a": {"path": "m"}}, "rootModelIdentifier": "a"}
    (path / "Manifest.json").write_text(json.dumps(entries))
    (path / "Data" / "m").write_bytes(data)
    with pytest.raises(PackageError):
        Model(path)
