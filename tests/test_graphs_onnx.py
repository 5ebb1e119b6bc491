"""ONNX files as graphs, held against ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from entracte.graphs import build

ort = pytest.importorskip("onnxruntime", reason="what is right is told by ONNX Runtime")

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def whole(*values: Any) -> np.ndarray:
    return np.array(values, dtype=np.int64)


X, Y = normal(2, 3, 4), normal(2, 3, 4)
IMAGE, LINE, VIDEO = normal(1, 4, 6, 7), normal(2, 3, 9), normal(1, 2, 4, 5, 6)
N = RNG.integers(-5, 6, (2, 3, 4))
HEADS = normal(2, 3, 5, 4)
POSITIVE = np.abs(X) + 0.1
UNIT = np.tanh(X) * 0.9


@dataclass
class Case:
    """One node: inputs that are fed, then constants; None for absent ones."""

    op: str
    fed: tuple[np.ndarray, ...]
    constants: tuple[np.ndarray | None, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    opset: int = 17
    outputs: int = 1


def case(op, *fed, c=(), opset=17, outputs=1, **attributes) -> Case:
    constants = tuple(None if n is None else np.asarray(n) for n in c)
    return Case(op, tuple(np.asarray(f) for f in fed), constants, attributes, opset, outputs)


def model_of(given: Case) -> onnx.ModelProto:
    inputs = [f"x{i}" for i in range(len(given.fed))]
    held = [None if c is None else f"c{i}" for i, c in enumerate(given.constants)]
    names = inputs + [h or "" for h in held]
    results = [f"y{i}" for i in range(given.outputs)]
    node = helper.make_node(given.op, names, results, name="it", **given.attributes)
    values = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(f.dtype), f.shape)
        for n, f in zip(inputs, given.fed, strict=True)
    ]
    tensors = [
        numpy_helper.from_array(c, h)
        for c, h in zip(given.constants, held, strict=True)
        if c is not None
    ]
    out = [onnx.ValueInfoProto(name=r) for r in results]
    return saved_model([node], values, out, tensors, given.opset)


def saved_model(nodes, inputs, outputs, tensors=(), opset=17) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(tensors))
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def with_types(model: onnx.ModelProto) -> onnx.ModelProto:
    """ONNX Runtime wants types of outputs; those are inferred."""
    made = onnx.shape_inference.infer_shapes(model)
    known = {v.name: v for v in [*made.graph.value_info, *made.graph.output]}
    fixed = [known[o.name] for o in model.graph.output]
    del model.graph.output[:]
    model.graph.output.extend(fixed)
    return model


def expected(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)


def fed(array: np.ndarray) -> torch.Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array)).reshape(array.shape or (1,))
    return tensor.float() if tensor.is_floating_point() else tensor.to(torch.int32)


def computed(path: Path, feeds: dict[str, np.ndarray], **params: Any) -> list[np.ndarray]:
    """By the graph of the file."""
    graph = build("onnx", {"file": str(path), **params})
    assert [i.name for i in graph.inputs] == list(feeds)
    with torch.no_grad():
        return [t.numpy() for t in graph.module(*(fed(a) for a in feeds.values()))]


def close(given: list[np.ndarray], right: list[np.ndarray], bound: float = 2e-6) -> None:
    for a, b in zip(given, right, strict=True):
        wanted = b.reshape(b.shape or (1,))
        assert a.shape == wanted.shape
        if wanted.dtype.kind in "biu":
            np.testing.assert_array_equal(a, wanted.astype(a.dtype))
            continue
        largest = np.abs(wanted[np.isfinite(wanted)]).max(initial=1.0)
        np.testing.assert_allclose(a, wanted, rtol=1e-5, atol=bound * largest)


UNARY = {
    "Abs": X, "Acos": UNIT, "Acosh": POSITIVE + 1, "Asin": UNIT, "Asinh": X, "Atan": X,
    "Atanh": UNIT, "Ceil": X, "Celu": X, "Cos": X, "Cosh": X, "Elu": X, "Erf": X, "Exp": X,
    "Floor": X, "HardSigmoid": X, "HardSwish": X * 4, "Identity": X, "LeakyRelu": X,
    "Log": POSITIVE, "Neg": X, "Reciprocal": POSITIVE, "Relu": X, "Selu": X, "Shrink": X,
    "Sigmoid": X, "Sign": X, "Sin": X, "Sinh": X, "Softplus": X, "Softsign": X, "Sqrt": POSITIVE,
    "Tan": X, "Tanh": X, "ThresholdedRelu": X * 2,
}  # fmt: skip
MANY = {
    "Sum": (X, Y, X), "Mean": (X, Y, X), "Max": (X, Y, X), "Min": (X, normal(4), X),
}  # fmt: skip
HALVES = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.6], np.float32)
BITS = np.array([[True, False], [False, False]])
OTHER = np.array([[True, True], [False, True]])
ODD = np.array([1.0, np.inf, -np.inf, np.nan], np.float32)
REDUCE = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")

CASES: dict[str, Case] = {
    **{op: case(op, x) for op, x in UNARY.items()},
    **{op: case(op, *x) for op, x in MANY.items()},
    **{op: case(op, X, normal(3, 1)) for op in ("Add", "Sub", "Mul", "Div")},
    **{f"{op} of a number": case(op, X, c=(np.float32(1.5),)) for op in ("Add", "Sub", "Div")},
    **{f"{op} of whole numbers": case(op, N, c=(whole(3),)) for op in ("Add", "Sub", "Mul", "Div")},
    **{op: case(op, N, N[:, ::-1].copy())
       for op in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")},
    **{op: case(op, BITS, OTHER) for op in ("And", "Or", "Xor")},
    "widening constant": case("Mul", normal(3), c=(np.full((2, 1), 2.0, np.float32),)),
    "Not": case("Not", BITS),
    "IsNaN": case("IsNaN", ODD), "IsInf": case("IsInf", ODD),
    "IsInf positive": case("IsInf", ODD, detect_negative=0),
    "Round": case("Round", HALVES),
    "Celu alpha": case("Celu", X, alpha=0.7), "Elu alpha": case("Elu", X, alpha=0.7),
    "HardSigmoid alpha": case("HardSigmoid", X, alpha=0.3, beta=0.4),
    "Gelu": case("Gelu", X, opset=20), "Gelu tanh": case("Gelu", X, opset=20, approximate="tanh"),
    "Mish": case("Mish", X, opset=18),
    "PRelu": case("PRelu", IMAGE, c=(normal(4, 1, 1),)),
    "Pow": case("Pow", X, c=(np.float32(2),)), "Pow half": case("Pow", POSITIVE, c=(0.5,)),
    "Pow of two": case("Pow", POSITIVE, Y), "Pow whole": case("Pow", N, c=(whole(2),)),
    "Mod": case("Mod", N, c=(whole(3),)), "Mod negative": case("Mod", N, c=(whole(-3),)),
    "fmod": case("Mod", X, c=(np.float32(0.3),), fmod=1),
    "Clip": case("Clip", X, c=(np.float32(-0.5), np.float32(0.5))),
    "Clip below": case("Clip", X, c=(None, np.float32(0.5))),
    "Clip 6": case("Clip", X, opset=6 + 1, min=-0.5, max=0.5),
    "Clip by inputs": case("Clip", X, np.float32(-0.1), np.float32(0.2)),
    "Clip whole": case("Clip", N, c=(whole(-2)[0], whole(2)[0])),
    "Cast": case("Cast", X * 3, to=TensorProto.INT64), "Cast bool": case("Cast", N, to=9),
    "Cast truth": case("Cast", BITS, to=1), "Cast double": case("Cast", X, to=11),
    "Where": case("Where", X > 0, X, Y),
    "Dropout": case("Dropout", X),
    "MatMul": case("MatMul", X, c=(normal(4, 5),)), "MatMul vector": case("MatMul", X, normal(4)),
    "MatMul batch": case("MatMul", normal(2, 1, 3, 4), normal(5, 4, 2)),
    "Gemm": case("Gemm", normal(3, 4), c=(normal(5, 4), normal(5)), transB=1),
    "Gemm all": case("Gemm", normal(4, 3), c=(normal(4, 5), normal(3, 1)), transA=1, alpha=0.5,
                     beta=2.0),
    "Gemm bare": case("Gemm", normal(3, 4), c=(normal(4, 5),)),
    "Einsum": case("Einsum", X, normal(4, 5), equation="bij, jk -> bki"),
    "Einsum dots": case("Einsum", X, Y, equation="...ij,...kj->...ik"),
    **{f"Reduce{r}": case(f"Reduce{r}", POSITIVE, opset=13 if r == "Sum" else 17,
                          **({} if r == "Sum" else {"axes": [0, -1]}))
       for r in REDUCE},
    **{f"Reduce{r} 18": case(f"Reduce{r}", POSITIVE, c=(whole(1),), opset=18, keepdims=0)
       for r in REDUCE},
    "ReduceSum axes": case("ReduceSum", X, c=(whole(-1, 0),), keepdims=0),
    "ReduceSum none": case("ReduceSum", X, noop_with_empty_axes=1),
    "ReduceMax whole": case("ReduceMax", N, axes=[1]),
    "ArgMax": case("ArgMax", X, axis=1), "ArgMin": case("ArgMin", X, axis=-1, keepdims=0),
    "ArgMax last": case("ArgMax", N, axis=2, select_last_index=1),
    "CumSum": case("CumSum", X, c=(whole(1)[0],)),
    "CumSum both": case("CumSum", X, c=(whole(-1)[0],), exclusive=1, reverse=1),
    "TopK": case("TopK", X, c=(whole(2),), outputs=2),
    "TopK smallest": case("TopK", X, c=(whole(2),), axis=1, largest=0, outputs=2),
    "Softmax": case("Softmax", X), "Softmax 11": case("Softmax", X, opset=11),
    "Softmax axis": case("Softmax", X, axis=1), "LogSoftmax": case("LogSoftmax", X),
    "Hardmax": case("Hardmax", X), "Hardmax 11": case("Hardmax", X, axis=1, opset=11),
    "Reshape": case("Reshape", X, c=(whole(0, -1),)),
    "Reshape zero": case("Reshape", X, c=(whole(4, 6),), allowzero=1),
    "Flatten": case("Flatten", IMAGE), "Flatten 0": case("Flatten", X, axis=0),
    "Flatten back": case("Flatten", X, axis=-1),
    "Squeeze": case("Squeeze", normal(1, 3, 1), c=(whole(-1),)),
    "Squeeze all": case("Squeeze", normal(1, 3, 1)),
    "Squeeze 11": case("Squeeze", normal(1, 3, 1), axes=[0], opset=11),
    "Unsqueeze": case("Unsqueeze", X, c=(whole(0, -1),)),
    "Unsqueeze 11": case("Unsqueeze", X, axes=[1], opset=11),
    "Transpose": case("Transpose", X, perm=[1, 0, 2]), "Transpose all": case("Transpose", X),
    "Expand": case("Expand", normal(3, 1), c=(whole(2, 1, 4),)),
    "Tile": case("Tile", X, c=(whole(1, 2, 3),)),
    "Concat": case("Concat", X, Y, axis=-2),
    "Split": case("Split", X, c=(whole(1, 3),), axis=-1, outputs=2),
    "Split even": case("Split", X, axis=2, outputs=2),
    "Split 11": case("Split", X, axis=1, split=[1, 2], opset=11, outputs=2),
    "Split 18": case("Split", X, axis=1, num_outputs=2, opset=18, outputs=2),
    "Slice": case("Slice", X, c=(whole(1), whole(100), whole(-1))),
    "Slice steps": case("Slice", IMAGE, c=(
        whole(-1, 5), whole(-100, 0), whole(2, 3), whole(-2, -1))),
    "Slice to the front": case("Slice", X, c=(whole(-1), whole(-(2**63) + 1), whole(2), whole(-1))),
    "Slice 9": case("Slice", X, starts=[0, 1], ends=[1, 3], axes=[0, 2], opset=9),
    "Pad": case("Pad", X, c=(whole(0, 1, 2, 0, 0, 3), np.float32(7))),
    "Pad less": case("Pad", X, c=(whole(0, -1, 2, 0, 0, -2),)),
    "Pad reflect": case("Pad", IMAGE, c=(whole(0, 0, 1, 2, 0, 0, 3, 1),), mode="reflect"),
    "Pad edge": case("Pad", X, c=(whole(1, 0, 2, 0, 1, 1),), mode="edge"),
    "Pad edge inside": case("Pad", IMAGE, c=(whole(0, 0, 1, 2, 0, 0, 3, 1),), mode="edge"),
    "Pad axes": case("Pad", X, c=(whole(1, 2), np.float32(0), whole(-1)), opset=18),
    "Pad wrap": case("Pad", X, c=(whole(0, 1, 2, 0, 1, 1),), mode="wrap", opset=19),
    "Pad 10": case("Pad", X, pads=[0, 1, 0, 0, 0, 2], value=2.0, opset=10),
    "DepthToSpace": case("DepthToSpace", normal(1, 8, 2, 3), blocksize=2),
    "DepthToSpace CRD": case("DepthToSpace", normal(1, 8, 2, 3), blocksize=2, mode="CRD"),
    "SpaceToDepth": case("SpaceToDepth", normal(1, 3, 4, 6), blocksize=2),
    "Trilu": case("Trilu", X, c=(whole(1)[0],)), "Trilu lower": case("Trilu", X, upper=0),
    "Gather": case("Gather", X, c=(whole(0, -1, 1),), axis=1),
    "Gather one": case("Gather", X, c=(whole(-1)[0],), axis=2),
    "Gather by input": case("Gather", X, N[0] % 3 - 1, axis=1),
    "GatherElements": case("GatherElements", X, N % 4 - 2, axis=2),
    "GatherND": case("GatherND", X, c=(np.array([[0, 1], [1, -1]]),)),
    "GatherND batch": case("GatherND", X, np.array([[[0]], [[2]]]), batch_dims=1),
    "ScatterND": case("ScatterND", X, c=(np.array([[0, 1], [1, -1]]), normal(2, 4))),
    "ScatterND add": case("ScatterND", X, c=(np.array([[1], [1]]), normal(2, 3, 4)),
                          reduction="add", opset=18),
    "ScatterElements": case("ScatterElements", X, c=(np.array([[[0, -1]]]), normal(1, 1, 2)),
                            axis=2),
    "ScatterElements along": case("ScatterElements", X, N[:1] % 2, normal(1, 3, 4)),
    "ScatterElements add": case("ScatterElements", X, np.array([[[0, -1, 2]]]), normal(1, 1, 3),
                                axis=2, reduction="add", opset=18),
    "OneHot": case("OneHot", N % 4 - 1, c=(whole(4), np.array([2.0, 5.0], np.float32))),
    "OneHot axis": case("OneHot", N % 4, c=(whole(4), np.array([0.0, 1.0], np.float32)), axis=0),
    "Conv": case("Conv", IMAGE, c=(normal(6, 4, 3, 3), normal(6)), pads=[1, 1, 1, 1]),
    "Conv groups": case("Conv", IMAGE, c=(normal(4, 1, 3, 2),), group=4, strides=[2, 1],
                        dilations=[1, 2]),
    "Conv uneven": case("Conv", IMAGE, c=(normal(2, 4, 3, 3),), pads=[0, 1, 2, 0]),
    **{f"Conv {auto}": case("Conv", IMAGE, c=(normal(2, 4, 3, 2),), auto_pad=auto, strides=[2, 2])
       for auto in ("SAME_UPPER", "SAME_LOWER", "VALID")},
    "Conv line": case("Conv", LINE, c=(normal(2, 3, 3),)),
    "Conv video": case("Conv", VIDEO, c=(normal(3, 2, 2, 3, 3), normal(3)), pads=[0, 1, 1] * 2),
    "ConvTranspose": case("ConvTranspose", IMAGE, c=(normal(4, 3, 3, 3), normal(3)),
                          strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
    "ConvTranspose uneven": case("ConvTranspose", IMAGE, c=(normal(4, 3, 3, 3),), strides=[2, 1],
                                 pads=[0, 1, 1, 0], dilations=[1, 2]),
    "ConvTranspose groups": case("ConvTranspose", LINE, c=(normal(3, 2, 4),), group=3,
                                 strides=[2]),
    **{f"ConvTranspose {auto}": case("ConvTranspose", IMAGE, c=(normal(4, 2, 3, 4),),
                                     strides=[2, 2], auto_pad=auto)
       for auto in ("SAME_UPPER", "SAME_LOWER", "VALID")},
    "ConvTranspose shape": case("ConvTranspose", IMAGE, c=(normal(4, 2, 3, 3),), strides=[2, 2],
                                output_shape=[12, 14]),
    "ConvTranspose video": case("ConvTranspose", VIDEO, c=(normal(2, 3, 2, 2, 2),),
                                strides=[2, 2, 2]),
    "MaxPool": case("MaxPool", IMAGE, kernel_shape=[2, 3], strides=[2, 2], pads=[0, 1, 1, 1]),
    "MaxPool ceil": case("MaxPool", IMAGE, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "MaxPool same": case("MaxPool", IMAGE, kernel_shape=[3, 3], strides=[2, 2],
                         auto_pad="SAME_LOWER"),
    "MaxPool dilated": case("MaxPool", IMAGE, kernel_shape=[2, 2], dilations=[2, 2]),
    "MaxPool dilated uneven": case("MaxPool", IMAGE, kernel_shape=[3, 2], dilations=[1, 2],
                                   strides=[2, 2], pads=[1, 0, 2, 1]),
    "MaxPool line": case("MaxPool", LINE, kernel_shape=[2], strides=[2]),
    "MaxPool video": case("MaxPool", VIDEO, kernel_shape=[2, 2, 2]),
    "AveragePool": case("AveragePool", IMAGE, kernel_shape=[2, 3], pads=[1, 1, 1, 1]),
    "AveragePool all": case("AveragePool", IMAGE, kernel_shape=[3, 3], pads=[1, 1, 1, 1],
                            count_include_pad=1),
    "AveragePool uneven": case("AveragePool", IMAGE, kernel_shape=[3, 3], pads=[0, 1, 2, 0],
                               strides=[2, 2]),
    "AveragePool uneven all": case("AveragePool", IMAGE, kernel_shape=[3, 3], pads=[0, 1, 2, 0],
                                   count_include_pad=1),
    "AveragePool ceil": case("AveragePool", IMAGE, kernel_shape=[3, 3], strides=[2, 2],
                             ceil_mode=1, opset=19),
    "AveragePool ceil all": case("AveragePool", IMAGE, kernel_shape=[3, 3], strides=[3, 3],
                                 pads=[1, 1, 1, 1], ceil_mode=1, count_include_pad=1, opset=19),
    "AveragePool line": case("AveragePool", LINE, kernel_shape=[3], auto_pad="SAME_UPPER"),
    "LpPool": case("LpPool", IMAGE, kernel_shape=[2, 2], p=3),
    "GlobalAveragePool": case("GlobalAveragePool", IMAGE),
    "GlobalMaxPool": case("GlobalMaxPool", VIDEO),
    "BatchNormalization": case("BatchNormalization", IMAGE, c=(
        normal(4), normal(4), normal(4), np.abs(normal(4)) + 0.1), epsilon=1e-3),
    "InstanceNormalization": case("InstanceNormalization", IMAGE, c=(normal(4), normal(4))),
    "LayerNormalization": case("LayerNormalization", X, c=(normal(4), normal(4))),
    "LayerNormalization axis": case("LayerNormalization", X, c=(normal(3, 4),), axis=1),
    "LayerNormalization wide": case("LayerNormalization", X, c=(normal(4), normal(4)), axis=1),
    "GroupNormalization": case("GroupNormalization", IMAGE, c=(normal(4), normal(4)),
                               num_groups=2, opset=21),
    "GroupNormalization 18": case("GroupNormalization", IMAGE, c=(normal(2), normal(2)),
                                  num_groups=2, opset=18),
    "RMSNormalization": case("RMSNormalization", X, c=(normal(4),), opset=23),
    "LRN": case("LRN", IMAGE, size=3, alpha=0.1, beta=0.7, bias=1.5),
    "LpNormalization": case("LpNormalization", X), "LpNormalization 1": case(
        "LpNormalization", X, p=1, axis=1),
    "LSTM": case("LSTM", normal(3, 2, 4), c=(normal(1, 20, 4), normal(1, 20, 5), normal(1, 40)),
                 hidden_size=5, outputs=3),
    "LSTM both": case("LSTM", normal(3, 2, 4), c=(
        normal(2, 20, 4), normal(2, 20, 5), normal(2, 40), None, normal(2, 2, 5), normal(2, 2, 5)),
        hidden_size=5, direction="bidirectional", outputs=3),
    "LSTM back": case("LSTM", normal(3, 2, 4), c=(
        normal(1, 20, 4), normal(1, 20, 5), None, np.array([3, 3], np.int32)), hidden_size=5,
        direction="reverse", clip=0.5, activations=["Sigmoid", "Softsign", "Relu"], outputs=3),
    "GRU": case("GRU", normal(3, 2, 4), c=(normal(1, 15, 4), normal(1, 15, 5), normal(1, 30)),
                hidden_size=5, outputs=2),
    "GRU before": case("GRU", normal(3, 2, 4), c=(
        normal(2, 15, 4), normal(2, 15, 5), normal(2, 30), None, normal(2, 2, 5)), hidden_size=5,
        linear_before_reset=1, direction="bidirectional", outputs=2),
    "RNN": case("RNN", normal(3, 2, 4), c=(normal(1, 5, 4), normal(1, 5, 5), normal(1, 10)),
                hidden_size=5, outputs=2),
    "Attention": case("Attention", HEADS, HEADS + 1, HEADS - 1, opset=23),
    "Attention causal": case("Attention", HEADS, HEADS + 1, HEADS - 1, opset=23, is_causal=1,
                             scale=0.3),
    "Attention masked": case("Attention", HEADS, HEADS + 1, HEADS - 1, c=(normal(5, 5),), opset=23),
    "Attention truths": case("Attention", HEADS, HEADS + 1, HEADS - 1,
                             c=(np.tri(5, dtype=bool) | (N[0, 0, 0] > 9),), opset=23),
    "Attention grouped": case("Attention", normal(2, 5, 24), normal(2, 5, 12), normal(2, 5, 12),
                              opset=23, q_num_heads=4, kv_num_heads=2),
    "GridSample": case("GridSample", IMAGE, np.tanh(normal(1, 3, 5, 2)), opset=20),
    "GridSample near": case("GridSample", IMAGE, np.tanh(normal(1, 3, 5, 2)), mode="nearest",
                            padding_mode="border", align_corners=1, opset=20),
    "Upsample 7": case("Upsample", IMAGE, scales=[1.0, 1.0, 2.0, 3.0], opset=7),
    "Upsample 9": case("Upsample", IMAGE, c=(np.float32([1, 1, 2, 2]),), mode="linear", opset=9),
    "Resize 10": case("Resize", IMAGE, c=(np.float32([1, 1, 1.5, 0.5]),), opset=10),
    "QuantizeLinear": case("QuantizeLinear", X, c=(np.float32(0.3), np.uint8(3))),
    "QuantizeLinear axis": case("QuantizeLinear", X, c=(
        np.float32([0.3, 0.2, 0.1]), np.int8([1, 0, -3]))),
    "DequantizeLinear": case("DequantizeLinear", np.uint8(N % 7), c=(np.float32(0.3), np.uint8(3))),
    "DequantizeLinear axis": case("DequantizeLinear", np.int8(N), c=(
        np.float32([0.3, 0.2]), np.int8([1, -2])), axis=0),
    "DequantizeLinear blocks": case("DequantizeLinear", np.int8(N), c=(
        normal(2, 3, 2), np.int8([[[1, 2], [3, 4], [0, 1]]] * 2)), axis=2, block_size=2, opset=21),
}  # fmt: skip


def resize(mode="nearest", sizes=None, scales=None, opset=13, x=IMAGE, **more) -> Case:
    if sizes is not None:
        c = (None, None, whole(*sizes))
    else:
        c = (None, np.float32(scales))
    return case("Resize", x, c=c, mode=mode, opset=opset, **more)


MODES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
CASES |= {
    f"Resize {mode} {how} {size}": resize(mode, sizes=[1, 4, *size],
                                          coordinate_transformation_mode=how)
    for mode in ("linear", "cubic", "nearest") for how in MODES
    for size in ((9, 11), (12, 1), (4, 3))
}  # fmt: skip
CASES |= {
    f"Resize nearest {how} {near}": resize(
        scales=[1, 1, 2, 0.6], coordinate_transformation_mode=how, nearest_mode=near)
    for how in MODES for near in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
}  # fmt: skip
CASES |= {
    "Resize doubled": resize(scales=[1, 1, 2, 2], nearest_mode="floor",
                             coordinate_transformation_mode="asymmetric"),
    "Resize scales": resize("linear", scales=[1, 1, 1.7, 0.7]),
    "Resize outside": resize("cubic", sizes=[1, 4, 9, 4], exclude_outside=1, cubic_coeff_a=-0.5),
    "Resize axes": resize("linear", sizes=[9, 5], axes=[3, 2], opset=18),
    "Resize larger": resize("linear", sizes=[9, 9], axes=[2, 3], opset=18,
                            keep_aspect_ratio_policy="not_larger"),
    "Resize symmetric": resize("linear", scales=[1, 1, 1.7, 0.7], opset=19,
                               coordinate_transformation_mode="half_pixel_symmetric"),
    "Resize line": resize("linear", sizes=[2, 3, 5], x=LINE),
    "Resize video": resize("nearest", scales=[1, 1, 2, 2, 2], x=VIDEO),
}  # fmt: skip


def run(given: Case, tmp_path: Path) -> None:
    model = with_types(model_of(given))
    feeds = {f"x{i}": f for i, f in enumerate(given.fed)}
    right = expected(model, feeds)
    onnx.save(model, tmp_path / "m.onnx")
    close(computed(tmp_path / "m.onnx", feeds), right)


@pytest.mark.parametrize("name", CASES)
def test_an_operator_is_what_onnx_runtime_computes(name, tmp_path):
    run(CASES[name], tmp_path)
