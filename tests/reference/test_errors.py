"""Broken, hostile and unsupported packages are refused with a name, never crash or hang."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from coremltools.converters.mil.mil import Builder as mb
from coremltools.proto import MIL_pb2, Model_pb2
from packages import Maker

from entracte.reference import Limits, PackageError, describe, load

MODEL = "Data/com.apple.CoreML/model.mlmodel"
BLOB = "Data/com.apple.CoreML/weights/weight.bin"


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU())
    maker = Maker(tmp_path_factory.mktemp("template"))
    return maker.traced(module, (torch.randn(1, 64),), 16)


@pytest.fixture
def package(template, tmp_path):
    return Path(shutil.copytree(template, tmp_path / "p.mlpackage"))


def edit(package, change) -> None:
    """Rewrite a package's model after `change(model)`."""
    path = package / MODEL
    model = Model_pb2.Model()
    model.ParseFromString(path.read_bytes())
    change(model)
    path.write_bytes(model.SerializeToString())


def operations(model):
    (block,) = model.mlProgram.functions["main"].block_specializations.values()
    return block.operations


def refuse(package, *words: str) -> PackageError:
    with pytest.raises(PackageError) as caught:
        load(package)
    text = str(caught.value)
    assert str(package) in text
    for word in words:
        assert word in text, text
    return caught.value


def test_the_package_without_damage_loads(package):
    load(package).close()


def test_a_missing_folder_and_a_file(tmp_path):
    refuse(tmp_path / "none.mlpackage", "not a folder")
    (tmp_path / "file.mlpackage").write_bytes(b"x")
    refuse(tmp_path / "file.mlpackage", "not a folder")


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"[" * 100_000, b'{"itemInfoEntries": 3}'])
def test_a_broken_manifest(package, text):
    (package / "Manifest.json").write_bytes(text)
    refuse(package, "Manifest.json")


@pytest.mark.parametrize("place", ["../../outside", "/etc/passwd", "com.apple.CoreML/../../.."])
def test_a_manifest_that_leads_outside(package, place):
    (package.parent / "outside").write_bytes(b"x")
    manifest = json.loads((package / "Manifest.json").read_text())
    for item in manifest["itemInfoEntries"].values():
        item["path"] = place
    (package / "Manifest.json").write_text(json.dumps(manifest))
    refuse(package)


def test_links_that_lead_outside(package):
    outside = package.parent / "weight.bin"
    os.rename(package / BLOB, outside)
    os.symlink(outside, package / BLOB)
    refuse(package, "outside the package")


def test_a_weight_name_that_leads_outside(package):
    def change(model):
        for operation in operations(model):
            for value in operation.attributes.values():
                if value.WhichOneof("value") == "blobFileValue":
                    value.blobFileValue.fileName = "@model_path/../../../weight.bin"

    (package.parent / "weight.bin").write_bytes(b"x" * 100)
    edit(package, change)
    refuse(package, "outside the package")


def test_a_link_to_itself(package):
    os.remove(package / BLOB)
    os.symlink("weight.bin", package / BLOB)
    refuse(package, "cannot be opened")


@pytest.mark.parametrize("keep", [0, 10, 64, 130, 5000])
def test_a_truncated_blob(package, keep):
    os.truncate(package / BLOB, keep)
    refuse(package, "weight.bin")


@pytest.mark.parametrize("field, value", [(0, 1), (1, 14), (2, 1 << 62), (3, 1 << 62), (4, 99)])
def test_a_lying_record(package, field, value):
    data = bytearray((package / BLOB).read_bytes())
    record = list(struct.unpack_from("<IIQQQ", data, 64))
    record[field] = value
    struct.pack_into("<IIQQQ", data, 64, *record)
    (package / BLOB).write_bytes(data)
    refuse(package, "weight.bin")


@pytest.mark.parametrize("seed", range(30))
def test_a_scrambled_model_never_crashes(package, seed):
    rng = np.random.default_rng(seed)
    path = package / MODEL
    data = bytearray(path.read_bytes())
    for place in rng.integers(0, len(data), 1 + seed % 8):
        data[place] = rng.integers(0, 256)
    path.write_bytes(data[: rng.integers(1, len(data))] if seed % 3 == 0 else data)
    try:
        with load(package) as model:
            model.predict({"x0": np.zeros((1, 64), np.float32)})
    except PackageError:
        pass


def test_all_unsupported_operations_are_named_at_once(package):
    def change(model):
        for operation in operations(model):
            if operation.type in ("linear", "relu"):
                operation.type = f"future_{operation.type}"

    edit(package, change)
    refuse(package, "future_linear", "future_relu", "not supported", "main")


def test_an_absurd_shape(package):
    def change(model):
        for operation in operations(model):
            if operation.type == "relu":
                operation.outputs[0].type.tensorType.dimensions[0].constant.size = 1 << 40

    edit(package, change)
    refuse(package)


def test_a_shape_that_does_not_fit_the_machine(make):
    path = make.mil(lambda x: mb.tile(x=x, reps=[1000, 1000]), [((4, 4), "fp32")])

    def change(model):
        for operation in operations(model):
            found = [b.value for a in operation.inputs.values() for b in a.arguments]
            for value in [*found, *operation.attributes.values()]:
                ints = value.immediateValue.tensor.ints.values
                if list(ints) == [1000, 1000]:
                    ints[:] = [2_000_000_000, 2_000_000_000]

    edit(path, change)
    with load(path) as model, pytest.raises(PackageError, match="tile"):
        model.predict({"x0": np.zeros((4, 4), np.float32)})


def test_a_name_that_nothing_defines(package):
    def change(model):
        for operation in operations(model):
            if operation.type == "relu":
                operation.inputs["x"].arguments[0].name = "nowhere"

    edit(package, change)
    refuse(package, "'nowhere'", "function 'main', operation")


def test_a_constant_with_too_few_values(package):
    def change(model):
        operation = operations(model).add(type="const")
        output = operation.outputs.add(name="short")
        output.type.tensorType.dataType = MIL_pb2.FLOAT32
        output.type.tensorType.rank = 1
        output.type.tensorType.dimensions.add().constant.size = 1 << 40
        operation.attributes["val"].type.CopyFrom(output.type)
        operation.attributes["val"].immediateValue.tensor.floats.values.append(1.0)

    edit(package, change)
    refuse(package, "its type says")


def test_a_loop_without_end(make):
    def build(x):
        return mb.while_loop(
            _cond=lambda v: mb.greater(x=mb.reduce_max(x=v), y=0.0),
            _body=lambda v: mb.add(x=v, y=1.0),
            loop_vars=(x,),
        )

    path = make.mil(build, [((3,), "fp32")])
    with load(path, limits=Limits(iterations=50)) as model:
        with pytest.raises(PackageError, match="while_loop.*50 iterations"):
            model.predict({"x0": np.ones(3, np.float32)})
        # Each call has its own count.
        model.predict({"x0": np.zeros(3, np.float32)})


def test_wrong_inputs_are_named(package):
    with load(package) as model:
        with pytest.raises(PackageError, match=r"missing inputs \['x0'\].*unknown inputs \['y'\]"):
            model.predict({"y": np.zeros(3)})
        with pytest.raises(PackageError, match=r"'x0' has shape \(1, 3\).*\(1, 64\)"):
            model.predict({"x0": np.zeros((1, 3))})
        with pytest.raises(PackageError, match="not an array of numbers"):
            model.predict({"x0": "text"})


def test_a_closed_package_is_refused(package):
    model = load(package)
    model.close()
    assert model.resident_bytes == 0
    with pytest.raises(PackageError, match="closed"):
        model.predict({"x0": np.zeros((1, 64))})


def test_an_unknown_function_lists_the_known_ones(package):
    with pytest.raises(PackageError, match="no function 'other'; it has main"):
        describe(package, "other")


def test_an_unknown_policy_lists_the_known_ones(package):
    with pytest.raises(ValueError, match="hybrid, round, fp32"):
        load(package, policy="exact")


def test_importing_the_door_is_cheap():
    code = (
        "import sys, entracte.reference as r; r.PackageError;"
        "assert not {'torch', 'coremltools', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
