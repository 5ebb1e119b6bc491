"""A torch module of one's own, with logits out; and the same as an ONNX file."""

from pathlib import Path

import torch
from torch import Tensor, nn

from entracte.graphs.spec import Graph, Input

FEATURES, CLASSES = 24, 5


class Classifier(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(FEATURES, width), nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(torch.relu(self.inner(x)))


def classifier(width: int) -> Graph:
    """Its numbers are the module's own: a seed's."""
    torch.manual_seed(5)
    return Graph(Classifier(width).eval(), (Input("x", (1, FEATURES)),), ("logits",))


def save_onnx(path: Path, width: int = 16) -> None:
    """The classifier as an ONNX file with a first axis of any size."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    torch.manual_seed(6)
    module = Classifier(width)
    weights = {name.replace(".", "_"): p.detach().numpy() for name, p in module.named_parameters()}
    nodes = [
        helper.make_node("Gemm", ["x", "inner_weight", "inner_bias"], ["a"], transB=1),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Gemm", ["b", "outer_weight", "outer_bias"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", FEATURES])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
