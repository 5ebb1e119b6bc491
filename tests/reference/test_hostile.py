"""Packages from strangers: bounded memory, loops that end, and one kind of error for any damage."""

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
from coremltools.proto import MIL_pb2, Model_pb2
from hypothesis import given
from hypothesis import strategies as st
from mutations import mutate
from packages import Maker

from compiler.reference import Limits, Model, PackageError, PredictionError, describe

MODEL = "Data/com.apple.CoreML/model.mlmodel"
DAMAGES = 150
"""Damaged copies of each package and kind of damage; all six take about ten seconds."""


def edit(package: Path, change) -> Path:
    """Rewrite a package's model after `change(block)` of its main function."""
    model = Model_pb2.Model()
    model.ParseFromString((package / MODEL).read_bytes())
    (block,) = model.mlProgram.functions["main"].block_specializations.values()
    change(block)
    (package / MODEL).write_bytes(model.SerializeToString())
    return package


def operation(block, kind: str):
    return next(o for o in block.operations if o.type == kind)


def refused(package: Path, inputs, *words: str, **options) -> str:
    with pytest.raises(PackageError) as caught, Model(package, **options) as model:
        model.predict(inputs)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    return str(caught.value)


# -- memory -------------------------------------------------------------------------------------

COLUMN, ROW = np.zeros((40_000, 1), np.float32), np.zeros((1, 40_000), np.float32)


def table(x, y):
    return mb.add(x=x, y=y)


def outer(x, y):
    return mb.matmul(x=x, y=y)


def attended(x, y):
    """No result is large, but the scores between the two are."""
    flat = mb.reshape(x=y, shape=[40_000, 1])
    query = mb.expand_dims(x=x, axes=[0])
    key = mb.expand_dims(x=flat, axes=[0])
    mask = mb.const(val=np.zeros((1, 40_000), bool))
    return mb.scaled_dot_product_attention(query=query, key=key, value=key, attn_mask=mask)


@pytest.mark.parametrize("build", [table, outer, attended])
def test_small_inputs_that_make_a_large_tensor(make, build):
    """6 GB from 160 kB of inputs. Neither what is declared nor the inputs themselves are large."""
    path = make.mil(build, [((40_000, 1), "fp32"), ((1, 40_000), "fp32")], 18)

    def lie(block):
        for op in block.operations:
            for output in op.outputs:
                dims = output.type.tensorType.dimensions
                if np.prod([d.constant.size for d in dims]) > 1e6:
                    dims[0].constant.size = 1

    kind = {"table": "add", "outer": "matmul"}.get(build.__name__, "scaled_dot_product_attention")
    edit(path, lie)
    refused(path, {"x0": COLUMN, "x1": ROW}, f"{kind}: would make a tensor of", "1.00 GiB", kind)


def test_a_declared_tensor_beyond_the_limit(make):
    path = make.mil(table, [((40_000, 1), "fp32"), ((1, 40_000), "fp32")])
    refused(path, {}, "declares a tensor of 5.96 GiB", "Limits(tensor_bytes=...)")
    small = Limits(tensor_bytes=1000)
    path = make.mil(lambda x: mb.exp(x=x), [((300,), "fp32")])
    refused(path, {}, "declares a tensor of 1.2 KiB", "1000 B", limits=small)
    with Model(path, limits=Limits(tensor_bytes=1200)) as model:
        model.predict({"x0": np.zeros(300, np.float32)})


def test_the_inputs_that_are_given_justify_more(make):
    """1 MiB of input allows 1024 times as much, and 64 KiB more for the file."""

    def build(x):
        return mb.reduce_max(x=mb.add(x=x, y=mb.transpose(x=x, perm=[1, 0])), axes=[0, 1])

    path = make.mil(build, [((18_000, 1), "fp32")])
    message = refused(path, {"x0": COLUMN[:18_000]})
    assert "1.21 GiB" in message and "1.00 GiB are allowed" in message
    wide = make.mil(lambda x, y: build(x), [((18_000, 1), "fp32"), ((64, 1024, 16), "fp32")])
    with Model(wide) as model:
        guard = model._loaded._guard
        with guard.call(4 << 20):
            assert guard._bytes > 1024 * (4 << 20)


def test_many_tensors_that_are_each_allowed(make):
    def build(x):
        return tuple(mb.add(x=x, y=float(i)) for i in range(1, 13))

    path = make.mil(build, [((1000,), "fp32")])
    x = np.zeros(1000, np.float32)
    # With the input, the ninth of 4000 bytes is the first beyond eight times the limit.
    refused(path, {"x0": x}, "live tensors to 35.2 KiB", limits=Limits(tensor_bytes=4000))
    with Model(path, limits=Limits(tensor_bytes=6500)) as model:
        model.predict({"x0": x})


def test_a_state_and_a_list_beyond_the_limit(make):
    def build(x):
        ls = mb.make_list(init_length=1, dynamic_length=True, elem_shape=(3,), dtype="fp32")
        ls = mb.list_write(ls=ls, index=mb.cast(x=mb.reduce_max(x=x), dtype="int32"), value=x)
        return mb.list_read(ls=ls, index=0)

    path = make.mil(build, [((3,), "fp32")])
    with Model(path) as model:
        model.predict({"x0": np.full(3, 5, np.float32)})
        with pytest.raises(PredictionError, match="list_write.*the list would have"):
            model.predict({"x0": np.full(3, 1e9, np.float32)})


def test_a_shape_that_depends_on_values_is_looked_at_in_every_call(make):
    """The second call has the shapes of the first, and forty thousand times its result."""

    def build(x):
        places = mb.cast(x=mb.non_zero(x=x), dtype="fp32")
        return mb.reduce_max(x=mb.matmul(x=places, y=places, transpose_y=True), axes=[0, 1])

    path = make.mil(build, [((40_000,), "fp32")])
    few, many = np.zeros(40_000, np.float32), np.ones(40_000, np.float32)
    few[:3] = 1
    with Model(path) as model:
        model.predict({"x0": few})
        with pytest.raises(PredictionError, match="matmul: would make a tensor of 5.96 GiB"):
            model.predict({"x0": many})


def test_a_result_that_is_not_what_is_declared(make):
    path = make.mil(lambda x: mb.exp(x=mb.tile(x=x, reps=[4])), [((3,), "fp32")])

    def lie(block):
        operation(block, "tile").outputs[0].type.tensorType.dimensions[0].constant.size = 6

    edit(path, lie)
    refused(path, {"x0": np.zeros(3, np.float32)}, r"tile: declares fp32 (6,)", "(12,)")


def test_a_rehearsal_changes_nothing(make):
    """Random draws, states and lists are as without limits."""

    def build(x):
        noise = mb.random_normal(shape=[4, 3], seed=5)
        return mb.add(x=noise, y=x), mb.tile(x=x, reps=[2])

    path = make.mil(build, [((3,), "fp32")])
    x = {"x0": np.ones(3, np.float32)}
    from compiler.reference import load

    with load(path) as trusted, Model(path) as model:
        for _ in range(2):
            for one, other in zip(
                trusted.predict(x).values(), model.predict(x).values(), strict=True
            ):
                np.testing.assert_array_equal(one.numpy(), other)


# -- ends ---------------------------------------------------------------------------------------


def test_loops_inside_loops_share_one_count(make):
    """A thousand times a thousand would be a million; the count stops both at a hundred."""

    def inner(v):
        again = mb.while_loop(
            _cond=lambda w: mb.less(x=mb.reduce_max(x=w), y=1e3),
            _body=lambda w: mb.add(x=w, y=1.0),
            loop_vars=(mb.mul(x=v, y=0.0),),
        )
        return mb.add(x=v, y=mb.mul(x=again, y=1e-3))

    def build(x):
        return mb.while_loop(
            _cond=lambda v: mb.less(x=mb.reduce_max(x=v), y=1e3), _body=inner, loop_vars=(x,)
        )

    path = make.mil(build, [((3,), "fp32")])
    one = {"x0": np.ones(3, np.float32)}
    refused(path, one, "while_loop", "100 iterations", limits=Limits(iterations=100))


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
