"""ONNX files: a sound one changed where its own format says what is what, and in its bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.fuzz import places
from tests.fuzz.case import Case, Door
from tests.fuzz.mutate import broken
from tests.fuzz.packages import change_message

FILE = "model.onnx"


def make_onnx(folder: Path) -> None:
    """A convolution, a shape that is computed, a branch that is known, a norm and a choice."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    drawn = np.random.default_rng(0)

    def held(name: str, array: Any) -> Any:
        return numpy_helper.from_array(np.asarray(array), name)

    def branch(name: str, op: str) -> Any:
        made = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(op, ["seen"], [name])], name, [], [made])

    nodes = [
        helper.make_node("Conv", ["x", "kernel", "bias"], ["wide"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["wide"], ["seen"]),
        helper.make_node("If", ["yes"], ["either"], then_branch=branch("a", "Tanh"),
                         else_branch=branch("b", "Exp")),
        helper.make_node("Shape", ["either"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["many"], axis=0),
        helper.make_node("Concat", ["many", "rest"], ["wanted"], axis=0),
        helper.make_node("Reshape", ["either", "wanted"], ["flat"]),
        helper.make_node("Gemm", ["flat", "matrix"], ["scores"], transB=1),
        helper.make_node("Softmax", ["scores"], ["y"], axis=-1),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "fuzz",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 5])],
        [
            held("kernel", drawn.standard_normal((3, 2, 3, 3)).astype(np.float32)),
            held("bias", drawn.standard_normal(3).astype(np.float32)),
            held("matrix", drawn.standard_normal((5, 48)).astype(np.float32)),
            held("yes", np.array(True)), held("zero", np.array([0])), held("rest", np.array([-1])),
        ],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    folder.mkdir()
    onnx.save(model, folder / FILE)


def doors(case: Case) -> Sequence[Door]:
    """A dry run of a pipeline whose only stage is the file."""
    import onnx

    from tests.fuzz.base import compile_words

    rng, file = case.rng, case.folder / FILE
    raw = (case.base / "onnx" / FILE).read_bytes()
    way = rng.random()
    if way < 0.15:
        file.write_bytes(broken(raw, rng, case.notes))
    elif way < 0.22:
        file.write_bytes(raw)
        places.replace(file, rng, case.base.parent / "sentinel", case.notes)
    else:
        model = onnx.load_from_string(raw)
        for _ in range(rng.choice((0, 0, 1, 1, 3))):
            change_message(model, case)
        if rng.random() < 0.15:
            _elsewhere(model, case)
        file.write_bytes(model.SerializePartialToString())
    shapes = "{batch: 1}" if rng.random() < 0.8 else rng.choice(
        ("{x: [1,2,4,4]}", "{x: [1,2,4]}", "{batch: 0}", "{batch: 3}", "{nope: 1}", "{}", "{x: 5}")
    )  # fmt: skip
    words = (f"pipeline.stages.net.params.file={file}",
             f"pipeline.stages.net.params.shapes={shapes}", "dry_run=true")  # fmt: skip
    return [Door(compile_words("''", *words, pipeline="fuzz_onnx"))]


def _elsewhere(model: Any, case: Case) -> None:
    """Numbers in a file beside it, or where nobody has any business."""
    from onnx import TensorProto

    tensor = case.rng.choice(list(model.graph.initializer) or [TensorProto()])
    place = case.rng.choice(
        ("numbers.bin", "../numbers.bin", str(case.base.parent / "sentinel" / "victim.txt"),
         "../../sentinel/victim.txt", "", ".", "/dev/zero", "a\x00b")
    )  # fmt: skip
    (case.folder / "numbers.bin").write_bytes(bytes(case.rng.choice((0, 10, 4096))))
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    offset, length = case.rng.choice((("0", "40"), ("-1", "8"), ("0", str(2**62)), ("x", "y")))
    for key, value in (("location", place), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=value)
    case.notes.append(f"external {place!r} {offset} {length}")
