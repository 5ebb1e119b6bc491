"""ONNX files that hold more than one operation: control flow, names, sizes, and damage."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from entracte.compile.job import compile_pipeline
from entracte.errors import ConfigError
from entracte.graphs import build
from entracte.graphs.onnx.faults import OnnxFault
from entracte.graphs.onnx.files import files_of
from entracte.graphs.onnx.table import OPERATORS
from entracte.run.execute import run_build
from tests.test_graphs_onnx import close, computed, expected, saved_model, with_types

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
node, info = helper.make_node, helper.make_tensor_value_info
X = np.random.default_rng(1).standard_normal((2, 3)).astype(np.float32)


def tensor(name: str, value: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value), name)


def model(nodes, inputs=None, outputs=None, tensors=(), opset=17) -> onnx.ModelProto:
    inputs = [info("x", FLOAT, [2, 3])] if inputs is None else inputs
    return saved_model(nodes, inputs, outputs or [info("y", FLOAT, None)], tensors, opset)


def kept(given: onnx.ModelProto, tmp_path: Path, **more: Any) -> Path:
    onnx.save(given, tmp_path / "m.onnx", **more)
    return tmp_path / "m.onnx"


def graph_of(given: onnx.ModelProto, tmp_path: Path, **params: Any):
    return build("onnx", {"file": str(kept(given, tmp_path)), **params})


def same(given: onnx.ModelProto, tmp_path: Path, feeds: dict, **params: Any) -> None:
    right = expected(given, feeds)
    fixed = params.get("values", {})
    mine = {k: v for k, v in feeds.items() if k not in fixed}
    close(computed(kept(given, tmp_path), mine, **params), right)


def refused(given: onnx.ModelProto, tmp_path: Path, match: str, **params: Any) -> None:
    with pytest.raises(OnnxFault, match=match):
        graph_of(given, tmp_path, **params)


# ---------------------------------------------------------------- shapes that are computed


def test_arithmetic_of_shapes_is_done_when_building(tmp_path):
    """What exporters write for `x.reshape(x.shape[0], -1)` and `torch.arange(x.shape[1])`."""
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["batch"], axis=0),
        node("Unsqueeze", ["batch", "axes"], ["first"]),
        node("Concat", ["first", "minus"], ["wanted"], axis=0),
        node("Reshape", ["x", "wanted"], ["flat"]),
        node("Gather", ["shape", "one"], ["width"], axis=0),
        node("Range", ["zero", "width", "one"], ["places"]),
        node("Cast", ["places"], ["float"], to=FLOAT),
        node("ConstantOfShape", ["wide"], ["ones"], value=tensor("v", np.float32([2.0]))),
        node("Mul", ["float", "ones"], ["table"]),
        node("Add", ["flat", "table"], ["y"]),
    ]
    held = [tensor("zero", np.int64(0)), tensor("one", np.int64(1)), tensor("axes", [0]),
            tensor("minus", [-1]), tensor("wide", [1, 3])]  # fmt: skip
    given = model(nodes, [info("x", FLOAT, ["n", 3])], [info("y", FLOAT, ["n", 3])], held)
    same(given, tmp_path, {"x": X}, shapes={"n": 2})
    graph = graph_of(given, tmp_path, shapes={"x": [2, 3]})
    kinds = [name.split("_")[1] for name, _ in graph.module.named_children()]
    assert kinds == ["Reshape", "Add"]


def test_what_is_not_needed_is_left_out(tmp_path):
    nodes = [node("Exp", ["x"], ["e"]), node("Neg", ["x"], ["y"]), node("Log", ["e"], ["z"])]
    given = model(nodes, outputs=[info("y", FLOAT, [2, 3]), info("z", FLOAT, [2, 3])])
    graph = graph_of(given, tmp_path, outputs=["y"])
    assert graph.outputs == ("y",) and len(list(graph.module.children())) == 1


# ---------------------------------------------------------------- control flow


def branches(condition: list[onnx.NodeProto], name: str, inputs=None) -> onnx.ModelProto:
    """`x + w` or, through a branch in the branch, `x * w`; the branches read names around them."""
    inner = helper.make_graph([node("Mul", ["x", "w"], ["m"])], "i", [], [info("m", FLOAT, [2, 3])])
    other = helper.make_graph([node("Identity", ["x"], ["m"])], "j", [], [info("m", FLOAT, [2, 3])])
    nested = node("If", ["yes"], ["a"], then_branch=inner, else_branch=other)
    then = helper.make_graph([nested], "t", [], [info("a", FLOAT, [2, 3])])
    add = node("Add", ["x", "w"], ["a"])
    orelse = helper.make_graph([add], "e", [], [info("a", FLOAT, [2, 3])])
    choice = node("If", [name], ["y"], then_branch=then, else_branch=orelse)
    held = [tensor("w", X[:1] + 2), tensor("yes", np.array(True)), tensor("rate", np.int64(16000))]
    return model([*condition, choice], inputs, [info("y", FLOAT, [2, 3])], held)


@pytest.mark.parametrize("rate", [16000, 8000])
def test_a_condition_that_is_known_is_folded(tmp_path, rate):
    inputs = [info("x", FLOAT, [2, 3]), info("sr", INT64, [])]
    given = branches([node("Equal", ["sr", "rate"], ["c"])], "c", inputs)
    same(given, tmp_path, {"x": X, "sr": np.array(rate)}, values={"sr": rate})
    with pytest.raises(OnnxFault, match=r"\(If\): its condition depends .* `values`"):
        graph_of(given, tmp_path)


def test_a_condition_on_a_shape_is_folded(tmp_path):
    condition = [node("Size", ["x"], ["s"]), node("Equal", ["s", "rate"], ["c"])]
    same(branches(condition, "c"), tmp_path, {"x": X})


def loop(trips: onnx.TensorProto | None, limit: float) -> onnx.ModelProto:
    """`a = a * 2 + i`, every `a` collected, while `i + 1 < limit`."""
    body = helper.make_graph(
        [
            node("Mul", ["a", "two"], ["b"]),
            node("Cast", ["i"], ["f"], to=FLOAT),
            node("Add", ["b", "f"], ["c"]),
            node("Identity", ["c"], ["row"]),
            node("Add", ["f", "w1"], ["g"]),
            node("Less", ["g", "limit"], ["go"]),
        ],
        "body",
        [info("i", INT64, []), info("on", BOOL, []), info("a", FLOAT, [2, 3])],
        [info("go", BOOL, []), info("c", FLOAT, [2, 3]), info("row", FLOAT, [2, 3])],
    )
    held = [tensor("two", np.float32(2)), tensor("w1", np.float32(1)),
            tensor("limit", np.float32(limit)), *([trips] if trips else [])]  # fmt: skip
    first = trips.name if trips else ""
    made = node("Loop", [first, "", "x"], ["y", "rows"], body=body)
    return model([made], None, [info("y", FLOAT, [2, 3]), info("rows", FLOAT, None)], held)


@pytest.mark.parametrize(("trips", "limit"), [(3, 100.0), (5, 2.0), (None, 4.0)])
def test_a_short_loop_is_written_out(tmp_path, trips, limit):
    count = None if trips is None else tensor("n", np.int64(trips))
    same(loop(count, limit), tmp_path, {"x": X})


def test_a_long_loop_is_refused(tmp_path):
    refused(loop(tensor("n", np.int64(10**9)), 1e12), tmp_path, "runs 1000000000 times")
    refused(loop(None, 1e12), tmp_path, "runs more than 256 times")


def test_functions_of_the_model_are_written_out(tmp_path):
    body = [node("Mul", ["a", "a"], ["b"]), node("Add", ["b", "a"], ["c"])]
    function = helper.make_function("mine", "F", ["a"], ["c"], body,
                                    [helper.make_opsetid("", 17)])  # fmt: skip
    graph = helper.make_graph(
        [node("F", ["x"], ["y"], domain="mine")], "g", [info("x", FLOAT, [2, 3])],
        [info("y", FLOAT, [2, 3])],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    given = helper.make_model(graph, opset_imports=imports, functions=[function], ir_version=10)
    same(given, tmp_path, {"x": X})


# ---------------------------------------------------------------- ports


def test_names_become_ports(tmp_path):
    """Letters, digits and _; what would be the same gets a number, inputs first."""
    inputs = [info("a.b", FLOAT, [2, 3]), info("a/b", FLOAT, [2, 3]), info("1:0", INT64, [1])]
    nodes = [
        node("Add", ["a.b", "a/b"], ["a_b"]),
        node("Cast", ["1:0"], ["c"], to=FLOAT),
        node("Mul", ["a_b", "c"], ["out-put"]),
    ]
    outputs = [info("a_b", FLOAT, [2, 3]), info("out-put", FLOAT, [2, 3])]
    graph = graph_of(model(nodes, inputs, outputs), tmp_path)
    assert [i.name for i in graph.inputs] == ["a_b", "a_b_2", "_1_0"]
    assert graph.outputs == ("a_b_3", "out_put")
    assert [i.kind for i in graph.inputs] == ["float", "float", "int"]


def test_scalars_truths_and_doubles_at_the_edge(tmp_path):
    inputs = [info("d", TensorProto.DOUBLE, [3]), info("s", FLOAT, []), info("t", BOOL, [3])]
    nodes = [
        node("Cast", ["d"], ["f"], to=FLOAT),
        node("Where", ["t", "f", "s"], ["w"]),
        node("ReduceSum", ["w"], ["y"], keepdims=0),
        node("Greater", ["w", "s"], ["z"]),
    ]
    given = model(nodes, inputs, [info("y", FLOAT, []), info("z", BOOL, [3])])
    feeds = {
        "d": np.array([1.0, 2, 3]),
        "s": np.array(1.5, np.float32),
        "t": np.array([True, False, True]),
    }
    same(given, tmp_path, feeds)
    graph = graph_of(given, tmp_path)
    assert [(i.shape, i.kind) for i in graph.inputs] == [
        ((3,), "float"), ((1,), "float"), ((3,), "int")]  # fmt: skip
    made = graph.module(*(torch.ones(i.shape) for i in graph.inputs))
    assert [m.dtype for m in made] == [torch.float32, torch.int32] and made[0].shape == (1,)


def test_narrow_floats_are_read_as_they_are(tmp_path):
    import ml_dtypes

    for dtype in (np.float16, ml_dtypes.bfloat16, np.float64):
        held = numpy_helper.from_array(np.array([1.5, -2.0, 0.25], dtype), "h")
        nodes = [node("Cast", ["h"], ["w"], to=FLOAT), node("Add", ["x", "w"], ["y"])]
        graph = graph_of(model(nodes, tensors=[held]), tmp_path)
        made = graph.module(torch.zeros(2, 3))[0]
        assert made.tolist() == [[1.5, -2.0, 0.25]] * 2


# ---------------------------------------------------------------- sizes that are said


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, r"open sizes \[n, 3, \?\]: .* `shapes: \{x: \[...\]\}`"),
        ({"shapes": {"x": [2, 4, 1]}}, r"shapes.x: \[2, 4, 1\] does not suit the file's \[n, 3, "),
        ({"shapes": {"x": [2, 3]}}, "does not suit"),
        ({"shapes": {"x": [2, 3, 0]}}, "0 is no size"),
        ({"shapes": {"x": "2,3,4"}}, "no list of sizes"),
        ({"shapes": {"n": True}}, "shapes.n: True is no size"),
        ({"shapes": {"m": 3}}, "'m' is no input and no open size; inputs: x; open sizes: n"),
        ({"values": {"q": 3}}, "'q' is no input"),
        ({"shapes": "abc"}, "shapes: 'abc' is no mapping"),
        ({"shapes": {"x": [1, 3, 1]}, "outputs": 3}, "outputs: 3 is no list of names"),
        ({"shapes": {"x": [1, 3, 1]}, "outputs": [["y"]]}, "is no list of names: y"),
        ({"shapes": {"x": [1, 3, 1]}, "outputs": ["z"]}, "outputs: 'z' is none of the file's: y"),
        ({"shapes": {"x": [1, 3, 1]}, "values": {"x": "abc"}}, "values.x: 'abc' is no number"),
        (
            {"values": {"x": [1.0]}},
            r"values.x: a value of the shape \[1\] does not suit the file's",
        ),
        ({"shapes": {"x": [1, 3, 1]}, "values": {"x": [[[1.0]] * 3]}}, "'y' depends on no input"),
    ],
)
def test_sizes_and_values_that_cannot_be(tmp_path, params, message):
    x = info("x", FLOAT, ["n", 3, None])
    refused(model([node("Exp", ["x"], ["y"])], [x]), tmp_path, message, **params)


# ---------------------------------------------------------------- what is not carried out


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("NonMaximumSuppression", ["x", "x"], ["y"], name="n1")],
         r"node 'n1' \(NonMaximumSuppression\): the operator is not carried out"),
        ([node("FusedMatMul", ["x", "x"], ["y"], domain="com.microsoft")],
         r"\(com.microsoft.FusedMatMul\): operators of the domain 'com.microsoft'"),
        ([node("Nonsense", ["x"], ["y"])], r"node 0 \(Nonsense\): the operator is not"),
        ([node("Mish", ["x"], ["y"])], "opset 17 has no such operator"),
        ([node("Exp", ["nowhere"], ["y"])], "reads 'nowhere', which nothing before it makes"),
        ([node("Exp", ["z"], ["y"]), node("Exp", ["y"], ["z"])], "the model has a circle"),
        ([node("Exp", ["x"], ["y"]), node("Log", ["x"], ["y"])], "two values are called 'y'"),
        ([node("Exp", ["x", "x"], ["y"])], "has 2 inputs"),
        ([node("Softmax", ["x"], ["y"], axis=1, temperature=2.0)], "'temperature' is not carried"),
        ([node("Softmax", ["x"], ["y"], axis=7)], "axis 7 of a tensor of 2 axes"),
        ([node("MatMul", ["x", "x"], ["y"])], r"does not suit its inputs \(2, 3\), \(2, 3\)"),
        ([node("Reshape", ["x", "x"], ["y"])], "'x' must be known when compiling"),
        ([node("NonZero", ["x"], ["y"])], "depends on an input's values"),
        ([node("Cast", ["x"], ["y"], to=TensorProto.FLOAT8E4M3FN)], "casts to FLOAT8E4M3FN"),
        ([node("Cast", ["x"], ["y"], to=TensorProto.UINT8)], "wraps around"),
        ([node("BatchNormalization", ["x", "w", "w", "w", "w"], ["y"], training_mode=1)],
         "training_mode is on"),
        ([node("Resize", ["x", "", "", "s"], ["y"],
               coordinate_transformation_mode="tf_crop_and_resize")],
         "'tf_crop_and_resize' is not carried out"),
        ([node("MaxPool", ["i"], ["y", "z"], kernel_shape=[1, 1])], "its output 'z' is not"),
        ([node("Exp", ["w"], ["y"])], "'y' depends on no input"),
        ([node("Unsqueeze", ["x", "s"], ["y"])], "axis 4 of a tensor of 4 axes"),
        ([node("Constant", [], ["y"], value_string="a")], "value_string is not carried out"),
        ([node("TopK", ["x", "one"], ["y", "z"], axis=0), ], r"k=9 of 2"),
        ([node("DepthToSpace", ["i"], ["y"], blocksize=0)], r"\(DepthToSpace\): .*by zero"),
    ],
)  # fmt: skip
def test_what_is_not_carried_out_is_named(tmp_path, nodes, message):
    held = [tensor("w", X[0]), tensor("s", np.int64([4, 5])), tensor("one", np.int64([9]))]
    inputs = [info("x", FLOAT, [2, 3]), info("i", FLOAT, [1, 1, 2, 2])]
    refused(model(nodes, inputs, None, held), tmp_path, message)


def test_of_another_age(tmp_path):
    refused(model([node("Exp", ["x"], ["y"])], opset=6), tmp_path, "opset 6; known are 7 to 24")
    refused(model([node("Exp", ["x"], ["y"])], opset=99), tmp_path, "opset 99")


@pytest.mark.parametrize(
    ("op", "inputs", "held"),
    [
        ("ConstantOfShape", ["big"], [tensor("big", np.int64([1 << 20, 1 << 20]))]),
        ("Expand", ["one", "big"], [tensor("big", np.int64([1 << 30, 1 << 10]))]),
        ("Tile", ["one", "big"], [tensor("big", np.int64([1 << 40]))]),
        ("Range", ["z", "n", "one"], [tensor("z", np.float32(0)), tensor("n", np.float32(1e12))]),
    ],
)
def test_a_huge_constant_takes_no_memory(tmp_path, op, inputs, held):
    one = tensor("one", np.float32([1]) if op != "Range" else np.float32(1))
    nodes = [node(op, inputs, ["c"]), node("Exp", ["x"], ["e"]), node("Add", ["e", "c"], ["y"])]
    refused(model(nodes, tensors=[one, *held]), tmp_path, "would make a tensor of")


@pytest.mark.parametrize(
    ("op", "held"),
    [("Reshape", [1] * 5000 + [2, 3]), ("Expand", [1] * 5000 + [2, 3]), ("Tile", [1] * 5000),
     ("Unsqueeze", list(range(5000)))],
)  # fmt: skip
def test_thousands_of_axes_take_no_time(tmp_path, op, held):
    """What torch does with so many takes minutes."""
    refused(model([node(op, ["x", "s"], ["y"])], tensors=[tensor("s", held)]), tmp_path, "64 axes")
    wide = model([node("Neg", ["x"], ["y"])], [info("x", FLOAT, [1] * 5000)])
    refused(wide, tmp_path, "the input 'x' has more than 64 axes")


def test_many_large_constants_are_too_many(tmp_path):
    nodes = [node("Expand", ["one", "big"], [f"c{i}"]) for i in range(3)]
    held = [tensor("big", np.int64([1 << 27])), tensor("one", np.float32([1]))]
    nodes.append(node("Exp", ["x"], ["y"]))
    refused(model(nodes, tensors=held), tmp_path, "node 2 .* computed take too many bytes")


def test_numbers_beyond_the_device(tmp_path):
    held = [tensor("w", np.int64([1 << 40])), tensor("i", np.float32([np.inf, 0, 1]))]
    inputs = [info("x", FLOAT, [2, 3]), info("n", INT64, [1])]
    nodes = [node("Concat", ["n", "w"], ["y"], axis=0)]
    refused(model(nodes, inputs, [info("y", INT64, [2])], held), tmp_path, "have 32 bits")
    refused(model([node("Add", ["x", "i"], ["y"])], inputs, None, held), tmp_path, "'i' holds inf")
    nan = [tensor("w", np.float32([np.nan]))]
    refused(model([node("Add", ["x", "w"], ["y"])], tensors=nan), tmp_path, "'w' holds NaN")


# ---------------------------------------------------------------- files


def external(tmp_path: Path, location: str = "m.data") -> onnx.ModelProto:
    given = model([node("Add", ["x", "w"], ["y"])], tensors=[tensor("w", X)])
    onnx.save(given, tmp_path / "m.onnx", save_as_external_data=True, location="m.data",
              size_threshold=0)  # fmt: skip
    read = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    for entry in read.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
    return read


def test_numbers_beside_the_model(tmp_path):
    external(tmp_path)
    close(computed(tmp_path / "m.onnx", {"x": X}), [X + X])
    assert files_of(tmp_path / "m.onnx") == (tmp_path / "m.onnx", (tmp_path / "m.data").resolve())
    whole = (tmp_path / "m.data").read_bytes()
    (tmp_path / "m.data").write_bytes(whole[:-1])
    with pytest.raises(OnnxFault, match="'w' needs 24 bytes from 0 of m.data, which holds 23"):
        build("onnx", {"file": str(tmp_path / "m.onnx")})
    (tmp_path / "m.data").unlink()
    with pytest.raises(OnnxFault, match="'m.data', which is not there; put it beside"):
        build("onnx", {"file": str(tmp_path / "m.onnx")})


@pytest.mark.parametrize("way", ["../m.data", "absolute", "link", "folder", "/dev/zero", "a\0b"])
def test_numbers_elsewhere_are_not_read(tmp_path, way):
    inner = tmp_path / "inner"
    inner.mkdir()
    location = {"absolute": str(inner / "m.data"), "link": "link", "folder": "sub"}.get(way, way)
    given = external(inner, location)
    (inner / "m.data").rename(tmp_path / "m.data") if way != "absolute" else None
    (inner / "link").symlink_to(tmp_path / "m.data")
    (inner / "sub").mkdir()
    with pytest.raises(OnnxFault, match="inside the model's folder|which is not there"):
        build("onnx", {"file": str(kept(given, inner))})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.external_data.add(key="offset", value="-8"), "needs 24 bytes from -8"),
        (lambda t: t.external_data.add(key="length", value="8"), "needs 24 bytes"),
        (lambda t: t.external_data.add(key="offset", value="x"), "no whole numbers say where"),
        (lambda t: t.dims.append(1 << 60), "needs .* bytes from 0"),
        (lambda t: t.dims.append(-1), "has the shape"),
        (lambda t: setattr(t, "data_type", TensorProto.STRING), "holds STRING"),
        (lambda t: setattr(t, "data_type", 77), "holds the unknown type 77"),
    ],
)
def test_places_of_numbers_that_cannot_be(tmp_path, change, message):
    given = external(tmp_path)
    kept_entries = [e for e in given.graph.initializer[0].external_data if e.key == "location"]
    del given.graph.initializer[0].external_data[:]
    given.graph.initializer[0].external_data.extend(kept_entries)
    change(given.graph.initializer[0])
    (tmp_path / "m.onnx").write_bytes(given.SerializeToString())
    with pytest.raises(OnnxFault, match=message):
        build("onnx", {"file": str(tmp_path / "m.onnx")})


def test_a_file_is_looked_for_beside_the_weights_then_here(tmp_path, monkeypatch):
    from entracte.ir import Pipeline, Stage, StageKind
    from entracte.trace.graph_files import with_files

    def place(file: str, weights: str = str(tmp_path / "weights"), own: str = "") -> str:
        params = (("file", file), ("shapes", ()))
        stage = Stage(name="s", kind=StageKind.GRAPH, op="onnx", params=params, weights=own)
        found = with_files(Pipeline(**{**empty, "weights": weights, "stages": (stage,)}))
        return dict(found.stages[0].params)["file"]

    empty: dict[str, Any] = {f.name: () for f in fields(Pipeline)} | {"name": "p", "title": "p"}
    for name in ("weights/a.onnx", "a.onnx", "b.onnx", "own/a.onnx"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert place("a.onnx") == str(tmp_path / "weights" / "a.onnx")
    assert place("a.onnx", own=str(tmp_path / "own")) == str(tmp_path / "own" / "a.onnx")
    assert place("a.onnx", "random:0") == place("./a.onnx", "random:1") == str(tmp_path / "a.onnx")
    # Nor does it take a folder of weights.
    assert place("a.onnx", "") == str(tmp_path / "a.onnx")
    assert place("b.onnx") == place(str(tmp_path / "b.onnx")) == str(tmp_path / "b.onnx")
    assert place("b.onnx", "") == str(tmp_path / "b.onnx")  # an ONNX file needs no other weights
    for missing in ("c.onnx", "", "a\0b", "weights"):
        with pytest.raises(ConfigError, match="pipeline.stages.s.params.file: "):
            place(missing)


def test_files_that_are_no_models(tmp_path):
    place = kept(model([node("Exp", ["x"], ["y"])]), tmp_path)
    whole = place.read_bytes()
    for text, message in (
        (whole[: len(whole) // 2], "no ONNX model"),
        (b"", "no ONNX model"),
        (b"\x08" * 4000, "no ONNX model"),
        (b"PK\x03\x04" + whole, "no ONNX model"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (_nested(400), "no ONNX model"),
    ):
        place.write_bytes(text)
        with pytest.raises(OnnxFault, match=message):
            build("onnx", {"file": str(place)})
    for name in (tmp_path / "none.onnx", tmp_path, Path("/dev/zero"), "a\0b"):
        with pytest.raises(OnnxFault, match="no file|no regular file"):
            build("onnx", {"file": str(name)})


def _nested(depth: int) -> bytes:
    """A branch in a branch in a branch, as bytes: no library would write it."""

    def field(number: int, body: bytes) -> bytes:
        size, length = b"", len(body)
        while length > 127:
            size, length = size + bytes([length & 127 | 128]), length >> 7
        return bytes([number << 3 | 2]) + size + bytes([length]) + body

    graph = b""
    for _ in range(depth):
        graph = field(1, field(4, b"If") + field(5, field(1, b"then_branch") + field(6, graph)))
    return field(7, graph)


def test_a_damaged_byte_anywhere_is_one_message_or_harmless(tmp_path):
    """Whatever is changed, no other exception comes out."""
    place = kept(branches([], "yes"), tmp_path)
    whole, rng = place.read_bytes(), np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(int(rng.integers(1, 4))):
            damaged[int(rng.integers(len(whole)))] = int(rng.integers(256))
        place.write_bytes(bytes(damaged))
        try:
            build("onnx", {"file": str(place)})
        except OnnxFault as fault:
            assert "\n" not in str(fault)


# ---------------------------------------------------------------- random models


def random_model(seed: int) -> onnx.ModelProto:
    """A chain with branches of operators that keep [2, 3], drawn."""
    rng = np.random.default_rng(seed)
    nodes, names, held = [], ["x"], []
    for i in range(12):
        kind = int(rng.integers(5))
        first, second = (names[int(rng.integers(len(names)))] for _ in range(2))
        name = f"v{i}"
        if kind == 0:
            nodes.append(node(str(rng.choice(["Tanh", "Relu", "Sigmoid", "Abs"])), [first], [name]))
        elif kind == 1:
            op = str(rng.choice(["Add", "Sub", "Mul", "Max"]))
            nodes.append(node(op, [first, second], [name]))
        elif kind == 2:
            held.append(tensor(f"w{i}", rng.standard_normal((3, 3)).astype(np.float32)))
            nodes.append(node("MatMul", [first, f"w{i}"], [name]))
        elif kind == 3:
            shape = [(), (1,), (3,), (2, 1)][int(rng.integers(4))]
            held.append(tensor(f"w{i}", rng.standard_normal(shape).astype(np.float32)))
            pair = [first, f"w{i}"] if rng.integers(2) else [f"w{i}", first]
            nodes.append(node(str(rng.choice(["Add", "Sub", "Mul", "Min"])), pair, [name]))
        else:
            nodes.append(node("Transpose", [first], [f"t{i}"], perm=[1, 0]))
            nodes.append(node("Softmax", [f"t{i}"], [f"s{i}"], axis=int(rng.integers(2))))
            nodes.append(node("Transpose", [f"s{i}"], [name], perm=[1, 0]))
        names.append(name)
    return model(nodes, None, [info(names[-1], FLOAT, [2, 3])], held)


@pytest.mark.parametrize("seed", range(30))
def test_a_random_model_is_what_onnx_runtime_computes(tmp_path, seed):
    given = random_model(seed)
    right = expected(with_types(given), {"x": X})
    try:
        made = computed(kept(given, tmp_path), {"x": X})
    except OnnxFault as fault:
        assert "depends on no input" in str(fault)
        return
    close(made, right)


def test_a_module_tells_itself_from_others(tmp_path):
    """Numbers that became part of what is computed are part of its text: caches go by it."""
    texts = set()
    for value in (1.5, 2.5):
        given = model([node("Mul", ["x", "w"], ["y"])], tensors=[tensor("w", np.float32(value))])
        texts.add(str(graph_of(given, tmp_path).module))
    assert len(texts) == 2


def test_one_number_stands_for_all_of_an_input(tmp_path):
    """A mask of ones need not be written out; without it the result has its shape all the same."""
    inputs = [info("x", FLOAT, [2, 3]), info("m", FLOAT, ["n", 2, 1])]
    given = model([node("Mul", ["x", "m"], ["y"])], inputs)
    feeds = {"x": X, "m": np.full((4, 2, 1), 2.5, np.float32)}
    same(given, tmp_path, feeds, shapes={"n": 4}, values={"m": 2.5})


def test_another_file_under_the_same_name_is_another_graph(tmp_path):
    """Compiled twice with one cache: the second is what ONNX Runtime makes of the second file."""
    (tmp_path / "conf" / "pipeline").mkdir(parents=True)
    (tmp_path / "conf" / "pipeline" / "again.yaml").write_text(AGAIN)
    np.save(tmp_path / "x.npy", X)
    for value in (X.T, 2 * X.T):
        given = model([node("MatMul", ["x", "w"], ["y"])], tensors=[tensor("w", value)])
        kept(given, tmp_path)
        built = compile_pipeline(
            ["+target=host", "pipeline=again", f"pipeline.weights={tmp_path}",
             f"cache={tmp_path / 'cache'}", "workers=1", "verify=off"],
            out=tmp_path / "build", config_dir=tmp_path / "conf",
        )  # fmt: skip
        run_build(built.folder, {"x": tmp_path / "x.npy"}, out={"y": tmp_path / "y.npy"})
        np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected(given, {"x": X})[0], 1e-5)


AGAIN = """
name: again
title: again
weights: ???
precision: fp32
inputs: {x: {kind: tensor, shape: [2, 3]}}
outputs: {y: {kind: tensor, value: first.y}}
stages:
  first: {graph: onnx, params: {file: m.onnx}, inputs: {x: x}}
"""


def test_two_stages_share_the_weights_of_one_file(tmp_path):
    """Weights are parameters of the module, so that equal blocks and stages can have them."""
    w, mask = np.ones((3, 3), np.float32), np.float32([0, -np.inf, 0])
    tensors = [tensor("w", w), tensor("mask", mask), tensor("half", np.float32(0.5))]
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("Add", ["a", "mask"], ["b"]),
             node("Mul", ["b", "half"], ["y"])]  # fmt: skip
    module = graph_of(model(nodes, tensors=tensors), tmp_path).module
    assert [tuple(p.shape) for p in module.parameters()] == [(3, 3)]
    assert not module.state_dict().keys() - dict(module.named_parameters()).keys()


def test_the_page_lists_the_operators():
    page = (Path(__file__).parent.parent / "docs" / "onnx-stages.md").read_text()
    _, _, rest = page.partition("## Operators")
    listed = {
        n for line in rest.splitlines() if line.startswith("`") for n in line.split("`")[1::2]
    }
    assert listed == {*OPERATORS, "If", "Loop"}
