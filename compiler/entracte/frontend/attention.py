"""Attention over many tokens, its queries in blocks: the scores of all would not fit anywhere.

A row of scores depends on its own query and on all keys, so blocks of queries give the very numbers
that one call gives; what is in memory at once is a block's scores.
"""

from __future__ import annotations

from collections.abc import Hashable
from math import prod
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Graph, Node

from entracte.frontend.rewrite import Writer

__all__ = ["in_query_blocks"]

_aten = torch.ops.aten
_ATTENTION = _aten.scaled_dot_product_attention.default
_MASK, _CAUSAL = 3, 5
"""Places of `attn_mask` and `is_causal` among its arguments."""


def in_query_blocks(program: ExportedProgram, most_scores: int) -> None:
    """Rewrite `program` in place: no attention has more than `most_scores` scores at once, or its
    blocks are of one query. A causal one stays: its mask is the operation's own."""
    graph = program.graph_module.graph
    split = [
        node
        for node in graph.nodes
        if node.target is _ATTENTION and not _given(node, _CAUSAL, "is_causal")
    ]
    known: dict[Hashable, Any] = {}
    for node in split:
        made = _split(graph, node, most_scores, known)
        _follow(program, node.name, made.name)
    if split:
        graph.lint()
        program.graph_module.recompile()


def _follow(program: ExportedProgram, before: str, after: str) -> None:
    """An output that was attention's own result is what it became."""
    for spec in program.graph_signature.output_specs:
        if getattr(spec.arg, "name", None) == before:
            spec.arg.name = after


def _split(graph: Graph, node: Node, most_scores: int, known: dict[Hashable, Any]) -> Node:
    """What has the result: the node itself where its scores are few enough."""
    given: Any = node.args
    query, key = (tuple(part.meta["val"].shape) for part in given[:2])
    queries, row = query[-2], prod(query[:-2]) * key[-2]
    blocks = -(-queries // max(1, most_scores // row))
    if blocks <= 1:
        return node
    rows, write = -(-queries // blocks), Writer(graph, node, known)
    mask = _given(node, _MASK, "attn_mask")
    named = {k: v for k, v in node.kwargs.items() if k != "attn_mask"}
    parts = []
    for begin in range(0, queries, rows):
        end = min(begin + rows, queries)
        part = write(_aten.slice.Tensor, given[0], -2, begin, end)
        seen = _rows_of(write, mask, begin, end)
        parts.append(write(_ATTENTION, part, *given[1:3], seen, *given[4:], **named))
    made = write(_aten.cat.default, parts, -2)
    node.replace_all_uses_with(made)
    graph.erase_node(node)
    return made


def _rows_of(write: Writer, mask: Any, begin: int, end: int) -> Any:
    """Of a mask, the rows of a block; one row is every query's."""
    if not isinstance(mask, Node) or mask.meta["val"].shape[-2] == 1:
        return mask
    return write(_aten.slice.Tensor, mask, -2, begin, end)


def _given(node: Node, place: int, name: str) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get(name)
