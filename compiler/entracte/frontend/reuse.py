"""Blocks that rest in some iterations: what they changed last is added again.

A transformer hands a stream from block to block. Between the first blocks and the last ones the
program is written so that all that the middle does is one change of the stream,

    change = stream behind the middle - stream before it;    stream before it + change

which may stand while the stream moves on (DeepCache, Ma et al. 2023, for a U-Net's inner levels;
Delta-DiT, Chen et al. 2024, for a transformer's blocks). Where the middle runs, the result is the
same but for rounding.

When it runs may be tested in each iteration (First Block Cache, of ParaAttention and diffusers):
of what the first blocks change of the stream, and what that was when the middle ran last,

    rests = mean |change - seen| < share * mean |seen|;    seen' = seen if it rests, else change

Nothing was seen in the first iteration: zeros, to which no change is near.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.export.graph_signature import (
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from torch.fx import Node

from entracte.frontend.errors import GraphError
from entracte.frontend.rewrite import Writer
from entracte.frontend.statistics import size_of

__all__ = ["CHANGE", "RESTS", "TEST", "blocks_of", "with_reuse"]

RESTS = "entracte_rests"
"""Of a node's meta data: whether it is of the middle."""
CHANGE = "entracte_change"
"""Of a change: its number. The same one stands for the same in every function."""
TEST = "entracte_test"
"""Of what a test computes that fp16 cannot hold: sums over a whole stream."""

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


def with_reuse(
    module: nn.Module, program: ExportedProgram, first: int, last: int, share: float = 0.0
) -> None:
    """Rewrite `program` in place: all blocks but the first and the last ones change the stream by
    one sum, and are marked (`RESTS`).

    With a `share` it also tests whether they rest: its last input is `seen`, of the stream's shape,
    its last outputs are `seen'` and `rests`, 1 or 0 in shape (1,). Of several streams the largest
    is looked at.

    Raises `GraphError` where there are no blocks between, or these hand on more than a stream.
    """
    blocks = blocks_of(module, program)
    if first + last >= len(blocks):
        raise GraphError(
            f"{type(module).__name__}: reuse: first={first} and last={last} leave none of its "
            f"{len(blocks)} blocks between; a block is a child of a ModuleList that hands on a "
            "tensor of the shape that it reads"
        )
    middle = _Middle(program, blocks, first, len(blocks) - last)
    middle.write()
    if share:
        _Test(program, middle, share).write()
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
        streams, made = self._streams(self.begin, self.end), self._made()
        pairs = [(self._partner(node, streams), node) for node in made]
        self.begins, self.largest = self.nodes[self.begin], max((x for x, _ in pairs), key=size_of)
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

    def _streams(self, begin: int, end: int) -> list[Node]:
        """What comes from before a range, is read in it, and nowhere behind it."""
        given = set(self.program.graph_signature.user_inputs)
        varies: set[Node] = set()
        for node in self.nodes[:begin]:
            if node.name in given or any(x in varies for x in node.all_input_nodes):
                varies.add(node)
        return [
            node
            for node in self.nodes[:begin]
            if node in varies
            and any(self.at[user] in range(begin, end) for user in node.users)
            and not any(self.at[user] >= end for user in node.users)
        ]

    def at_begin(self, stream: Node) -> Node:
        """What a stream, as the middle reads it, was before the first blocks."""
        alike = [s for s in self._streams(self.at[self.blocks[0].first], self.begin)
                 if _alike(s, stream)]  # fmt: skip
        if not alike:
            raise GraphError(
                f"reuse: nothing that {self.blocks[0].path} reads, and only the first blocks, is a "
                f"stream of {_shape(stream)}, so its change cannot be tested; give the iterations "
                "(`at: {every: 2}`), or another `first`"
            )
        return alike[0]

    def _made(self) -> list[Node]:
        """What the middle makes and somebody behind it reads."""
        inside = self.nodes[self.begin : self.end]
        return [n for n in inside if any(self.at[user] >= self.end for user in n.users)]

    def _move_out(self) -> None:
        """What is computed between blocks for later ones, of no stream, runs in every iteration."""
        depends = set(self._streams(self.begin, self.end))
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


class _Test:
    """Working state: the test of a middle that is written."""

    def __init__(self, program: ExportedProgram, middle: _Middle, share: float) -> None:
        self.program, self.graph, self.share = program, program.graph_module.graph, share
        self.stream, self.before = middle.largest, middle.begins
        self.begin = middle.at_begin(self.stream)

    def write(self) -> None:
        """Before the middle: its first operation reads nothing of this."""
        seen, write = self._input(), Writer(self.graph, self.before)
        change = write(_aten.sub.Tensor, self.stream, self.begin)
        moved = self._mean(write, write(_aten.sub.Tensor, change, seen))
        limit = write(_aten.mul.Tensor, self._mean(write, seen), self.share)
        rests = write(_aten.lt.Tensor, moved, limit)
        for node in (moved, limit):
            node.meta[TEST] = True
        dtype = self.stream.meta["val"].dtype
        one, zero = (write(_aten.full.default, [1], x, dtype=dtype) for x in (1.0, 0.0))
        wide = write(_aten.reshape.default, rests, [1] * self.stream.meta["val"].dim())
        following = write(_aten.where.self, wide, seen, change)
        self._output(following, write(_aten.where.self, rests, one, zero))

    def _mean(self, write: Writer, node: Node) -> Node:
        """Of magnitudes, shape (1,)."""
        sizes = write(_aten.abs.default, node)
        flat = write(_aten.reshape.default, sizes, [1, size_of(node)])
        mean = write(_aten.mean.dim, flat, [1])
        for made in (sizes, flat, mean):
            made.meta[TEST] = True
        return mean

    def _input(self) -> Node:
        last = [n for n in self.graph.nodes if n.op == "placeholder"][-1]
        with self.graph.inserting_after(last):
            node: Node = self.graph.placeholder("seen")
        node.meta["val"] = self.stream.meta["val"].detach()
        self.program.graph_signature.input_specs.append(
            InputSpec(InputKind.USER_INPUT, TensorArgument(node.name), None)
        )
        return node

    def _output(self, *made: Node) -> None:
        (output,) = (n for n in self.graph.nodes if n.op == "output")
        output.args = ((*output.args[0], *made),)
        self.program.graph_signature.output_specs.extend(
            OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(n.name), None) for n in made
        )


def _alike(one: Node, other: Node) -> bool:
    a, b = one.meta.get("val"), other.meta.get("val")
    if not isinstance(a, torch.Tensor) or not isinstance(b, torch.Tensor):
        return False
    return a.shape == b.shape and a.dtype == b.dtype and a.dtype.is_floating_point
