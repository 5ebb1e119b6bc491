"""Operations of one ATen node, counted as two per multiply-add."""

from math import prod

import torch
from torch import Tensor
from torch.fx import Node

from entracte.frontend.backend import Backend

_aten = torch.ops.aten

_MOVES = {
    "reshape",
    "view",
    "permute",
    "transpose",
    "t",
    "unsqueeze",
    "squeeze",
    "expand",
    "slice",
    "select",
    "split",
    "split_with_sizes",
    "chunk",
    "unbind",
    "cat",
    "stack",
    "getitem",
    "repeat",
    "constant_pad_nd",
    "pad",
    "flip",
    "embedding",
    "index_select",
    "index",
    "_to_copy",
    "to",
    "clone",
    "contiguous",
    "copy",
    "full",
    "zeros",
    "ones",
    "arange",
    "upsample_nearest2d",
    "upsample_nearest3d",
    "gather",
    "alias",
}


_GROUP_NORMS = {"group_norm", "native_group_norm"}


def kind_of(node: Node) -> str:
    """`linear`, `add`, `getitem`: the operation's name without namespace and overload."""
    target = node.target
    name = getattr(target, "__name__", str(target))
    return name.split(".")[0]


def shape_of(node: object) -> tuple[int, ...]:
    """Of the tensor that a node makes; () where it makes none."""
    value = node.meta["val"] if isinstance(node, Node) else None
    return tuple(int(d) for d in value.shape) if isinstance(value, Tensor) else ()


def flops_of(node: Node) -> int:
    """FLOPs by the textbook formula of each operation; one per output element otherwise."""
    kind = kind_of(node)
    out = prod(shape_of(node)) if shape_of(node) else 0
    if kind in _MOVES:
        return 0
    if kind in {"linear", "mm", "bmm", "matmul"}:
        return 2 * out * shape_of(node.args[0])[-1]
    if kind in {"addmm", "baddbmm"}:
        return 2 * out * shape_of(node.args[1])[-1]
    if kind in {"convolution", "conv1d", "conv2d", "conv3d"}:
        weight = shape_of(node.args[1])
        return 2 * out * prod(weight[1:])
    if kind == "scaled_dot_product_attention":
        q, k, v = (shape_of(a) for a in node.args[:3])
        return 2 * prod(q[:-1]) * k[-2] * (q[-1] + v[-1]) + 5 * prod(q[:-1]) * k[-2]
    if kind in {"softmax", "_softmax", "gelu", "layer_norm", "native_layer_norm", "group_norm"}:
        return 8 * out
    return out


def workspace_elements(node: Node, backend: Backend, precision: str) -> int:
    """Elements of scratch memory a converted operation needs beside inputs and outputs."""
    kind = kind_of(node)
    if kind == "scaled_dot_product_attention":
        q, k = shape_of(node.args[0]), shape_of(node.args[1])
        return backend.score_copies * prod(q[:-1]) * k[-2]
    if kind in _GROUP_NORMS:
        is_wide = precision == "fp32"
        copies = backend.fp32_group_norm_copies if is_wide else backend.group_norm_copies
        return copies * prod(shape_of(node.args[0]))
    return 0


def reread_elements(node: Node) -> int:
    """Elements that an operation reads though others of its kind did: of attention in blocks of
    queries, the keys and values of each block but the first."""
    if kind_of(node) != "scaled_dot_product_attention":
        return 0
    key, value = node.args[1], node.args[2]
    assert isinstance(key, Node)
    readers = (u for u in key.users if kind_of(u) == kind_of(node))
    same = [u for u in readers if u.args[1] is key and u.args[2] is value]
    return 0 if same[0] is node else prod(shape_of(key)) + prod(shape_of(value))


def opening_elements(node: Node) -> int:
    """The same of its first part, if that alone reads its inputs: a group norm's centring."""
    return prod(shape_of(node.args[0])) if kind_of(node) in _GROUP_NORMS else 0
