"""Normalisations, as they are in inference."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from entracte.graphs.onnx.node import Compute, Node, Rule

__all__ = ["ROWS"]


def _batch(node: Node) -> Compute:
    if node.attribute("training_mode", 0):
        node.fail("training_mode is on; export the model for inference")
    node.one_output()
    node.attribute("momentum")  # of training
    eps = node.attribute("epsilon")
    return lambda x, scale, bias, mean, var: F.batch_norm(x, mean, var, scale, bias, False, 0, eps)


def _instance(node: Node) -> Compute:
    eps = node.attribute("epsilon")
    return lambda x, scale, bias: F.instance_norm(x, weight=scale, bias=bias, eps=eps)


def _layer(node: Node) -> Compute:
    node.one_output()
    node.attribute("stash_type")  # statistics are fp32 where it matters, whatever it says
    axis, eps = node.axis(node.attribute("axis")), node.attribute("epsilon")
    shape = node.shape()[axis:]
    suits = all(node.shape(i) == shape for i in range(1, len(node.values)) if node.has(i))

    def compute(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
        if suits:
            return F.layer_norm(x, shape, scale, bias, eps)
        normed = F.layer_norm(x, shape, None, None, eps) * scale
        return normed if bias is None else normed + bias

    return compute


def _group(node: Node) -> Compute:
    node.attribute("stash_type")
    groups, eps, channels = node.attribute("num_groups"), node.attribute("epsilon"), node.shape()[1]
    per_group = node.opset < 21

    def compute(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        if per_group:
            scale, bias = (_repeated(t, channels // groups) for t in (scale, bias))
        return F.group_norm(x, groups, scale, bias, eps)

    return compute


def _repeated(per_group: Tensor, count: int) -> Tensor:
    return per_group[:, None].expand(-1, count).reshape(-1)


def _rms(node: Node) -> Compute:
    node.attribute("stash_type")
    axis, eps = node.axis(node.attribute("axis")), node.attribute("epsilon")
    axes = list(range(axis, node.rank()))

    def compute(x: Tensor, scale: Tensor) -> Tensor:
        return x * torch.rsqrt(torch.mean(x.pow(2), axes, True) + eps) * scale

    return compute


def _local_response(node: Node) -> Compute:
    size = node.attribute("size")
    if size % 2 == 0:
        node.fail(f"size={size}: an even window is not carried out")
    alpha, beta, bias = (node.attribute(n) for n in ("alpha", "beta", "bias"))
    return lambda x: F.local_response_norm(x, size, alpha, beta, bias)


def _lp(node: Node) -> Compute:
    axis, power = node.axis(node.attribute("axis")), node.attribute("p")
    if power == 1:
        return lambda x: x / torch.sum(torch.abs(x), axis, True)
    return lambda x: x * torch.rsqrt(torch.sum(x.pow(2), axis, True))


ROWS: dict[str, Rule] = {
    "BatchNormalization": _batch,
    "GroupNormalization": _group,
    "InstanceNormalization": _instance,
    "LRN": _local_response,
    "LayerNormalization": _layer,
    "LpNormalization": _lp,
    "RMSNormalization": _rms,
}
