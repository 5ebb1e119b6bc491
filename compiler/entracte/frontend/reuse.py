"""Blocks that rest in some iterations: what they changed last is added again.

A transformer hands a stream from block to block. Between the first blocks and the last ones the
program is written so that all that the middle does is one change of the stream,

    change = stream behind the middle - stream before it;    stream before it + change

which may stand while the stream moves on (DeepCache, Ma et al. 2023, for a U-Net's inner levels;
Delta-DiT, Chen et al. 2024, for a transformer's blocks). Where the middle runs, the result is the
same but for rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.fx import Node

from entracte.frontend.errors import GraphError
from entracte.frontend.rewrite import Writer

__all__ = ["CHANGE", "RESTS", "blocks_of", "with_reuse"]

RESTS = "entracte_rests"
"""Of a node's meta data: whether it is of the middle."""
CHANGE = "entracte_change"
"""Of a change: its number. The same one stands for the same in every function."""

_aten = torch.ops.aten
_SHOWN = 3


@dataclass(frozen=True)
class Block:
    """A child of a `ModuleList`, as it runs."""

    path: str
    first: Node
    last: Node


def blocks_of(module: nn.Module, program: ExportedProgram) -> list[Block]:
    """The children of `ModuleList`s, none of them inside of another, that read and make a tensor of
    one shape: in the order in which they run."""
    paths = _candidates(module)
    found: dict[str, list[Node]] = {}
    for node in program.graph.nodes:
        if node.op == "call_function" and (path := _within(node, paths)):
            found.setdefault(path, []).append(node)
    return [Block(p, nodes[0], nodes[-1]) for p, nodes in found.items() if _is_stream(nodes)]


def _candidates(module: nn.Module) -> frozenset[str]:
    found: list[str] = []
    for name, child in module.named_modules():
        if isinstance(child, nn.ModuleList) and not _inside(name, found):
            found += [f"{name}.{key}" for key, _ in child.named_children()]
    return frozenset(found)


def _inside(name: str, paths: Iterable[str]) -> bool:
    return any(name == p or name.startswith(f"{p}.") for p in paths)


def _within(node: Node, paths: frozenset[str]) -> str | None:
    """The candidate that an operation belongs to."""
    stack: dict[str, Any] = node.meta.get("nn_module_stack") or {}
    return next((path for path, _ in stack.values() if path in paths), None)


def _is_stream(nodes: Sequence[Node]) -> bool:
    own = set(nodes)
    read = {_shape(n) for node in nodes for n in node.all_input_nodes if n not in own}
    made = {_shape(node) for node in nodes if any(user not in own for user in node.users)}
    return bool(read & made - {None})


def _shape(node: Node) -> tuple[int, ...] | None:
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, torch.Tensor) else None


# ---------------------------------------------------------------- the middle


def with_reuse(module: nn.Module, program: ExportedProgram, first: int, last: int) -> None:
    """Rewrite `program` in place: all blocks but the first and the last ones change the stream by
    one sum, and are marked (`RESTS`).

    Raises `GraphError` where there are no blocks between, or these hand on more than a stream.
    """
    blocks = blocks_of(module, program)
    if first + last >= len(blocks):
        raise GraphError(
            f"{type(module).__name__}: reuse: first={first} and last={last} leave none of its "
            f"{len(blocks)} blocks between; a block is a child of a ModuleList that hands on a "
            "tensor of the shape that it reads"
        )
    _Middle(program, blocks, first, len(blocks) - last).write()
    program.graph_module.graph.lint()
    program.graph_module.recompile()


class _Middle:
    """Working state: blocks [first, stop) of a graph."""

    def __init__(
        self, program: ExportedProgram, blocks: Sequence[Block], first: int, stop: int
    ) -> None:
        self.program, self.graph = program, program.graph_module.graph
        self.blocks, self.first, self.stop = blocks, first, stop
        self._number()

    def _number(self) -> None:
        self.nodes = list(self.graph.nodes)
        self.at = {node: i for i, node in enumerate(self.nodes)}
        self.begin = self.at[self.blocks[self.first].first]
        end = self.blocks[self.stop].first if self.stop < len(self.blocks) else None
        self.end = self.at[end] if end is not None else self.at[self.blocks[-1].last] + 1

    def write(self) -> None:
        """Move out what depends on no stream, then write each stream as it was and a change."""
        self._move_out()
        self._number()
        streams, made = self._streams(), self._made()
        pairs = [(self._partner(node, streams), node) for node in made]
        before, place = self.nodes[self.end], self.blocks[self.stop - 1].last
        write = Writer(self.graph, before)
        changes = [write(_aten.sub.Tensor, node, stream) for stream, node in pairs]
        sums = [
            write(_aten.add.Tensor, stream, change)
            for (stream, _), change in zip(pairs, changes, strict=True)
        ]
        for k, ((_, node), change, total) in enumerate(zip(pairs, changes, sums, strict=True)):
            change.meta[CHANGE] = k
            for written in (change, total):
                written.meta["nn_module_stack"] = place.meta.get("nn_module_stack")
            node.replace_all_uses_with(total, lambda user: self.at.get(user, -1) >= self.end)
            self._replace_output(node, total)
        for node in (*self.nodes[self.begin : self.end], *changes):
            node.meta[RESTS] = True

    def _replace_output(self, node: Node, total: Node) -> None:
        """Where the program returns what the middle makes."""
        for spec in self.program.graph_signature.output_specs:
            if getattr(spec.arg, "name", None) == node.name:
                spec.arg.name = total.name

    def _streams(self) -> list[Node]:
        """What comes from before, is read in the middle, and nowhere behind it."""
        given = set(self.program.graph_signature.user_inputs)
        varies: set[Node] = set()
        for node in self.nodes[: self.begin]:
            if node.name in given or any(x in varies for x in node.all_input_nodes):
                varies.add(node)
        inside = range(self.begin, self.end)
        return [
            node
            for node in self.nodes[: self.begin]
            if node in varies
            and any(self.at[user] in inside for user in node.users)
            and not any(self.at[user] >= self.end for user in node.users)
        ]

    def _made(self) -> list[Node]:
        """What the middle makes and somebody behind it reads."""
        inside = self.nodes[self.begin : self.end]
        return [n for n in inside if any(self.at[user] >= self.end for user in n.users)]

    def _move_out(self) -> None:
        """What is computed between blocks for later ones, of no stream, runs in every iteration."""
        depends = set(self._streams())
        inside = self.nodes[self.begin : self.end]
        for node in inside:
            if any(x in depends for x in node.all_input_nodes):
                depends.add(node)
        wanted = {n for n in self._made() if n not in depends}
        for node in reversed(inside):
            if node in wanted:
                wanted |= {x for x in node.all_input_nodes if self.at[x] >= self.begin}
        place = self.nodes[self.begin]
        for node in (n for n in inside if n in wanted):
            if node is place:
                place = place.next
            else:
                place.prepend(node)

    def _partner(self, made: Node, streams: list[Node]) -> Node:
        """The stream that it is, further on; each is given once."""
        alike = [s for s in streams if _alike(s, made)]
        if not alike:
            inside = f"{self.blocks[self.first].path} to {self.blocks[self.stop - 1].path}"
            have = ", ".join(str(_shape(s)) for s in streams[:_SHOWN]) or "nothing"
            raise GraphError(
                f"reuse: blocks {inside} hand on {made.name} {_shape(made)}, and what only they "
                f"read is {have}: no stream of that shape; give another `first` or `last`"
            )
        streams.remove(alike[0])
        return alike[0]


def _alike(one: Node, other: Node) -> bool:
    a, b = one.meta.get("val"), other.meta.get("val")
    if not isinstance(a, torch.Tensor) or not isinstance(b, torch.Tensor):
        return False
    return a.shape == b.shape and a.dtype == b.dtype and a.dtype.is_floating_point
