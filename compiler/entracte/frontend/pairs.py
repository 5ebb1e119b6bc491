"""Complex numbers as pairs of real ones, since converters have none: [...] becomes [..., 2].

Rotary tables are the use that models make of them: `view_as_complex`, a product, `view_as_real`.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Node

from entracte.frontend.errors import GraphError
from entracte.frontend.place import place_of
from entracte.frontend.rewrite import Writer
from entracte.frontend.statistics import kind_of

__all__ = ["write_pairs"]

_aten = torch.ops.aten
_SAME = {"view_as_complex", "view_as_real", "clone", "alias", "contiguous", "detach", "lift_fresh",
         "lift_fresh_copy", "resolve_conj"}  # fmt: skip
_KNOWN = {"reshape", "view", "_unsafe_view", "expand", "repeat", "index", "_to_copy", "complex",
          "polar", "real", "imag", "_conj", "conj", "_conj_physical", "conj_physical", "neg", "abs",
          "exp", "mul", "div", "add", "sub", "pad_sequence"}  # fmt: skip
"""Operations with a method each."""
_BY_DIM = {"unsqueeze": 1, "squeeze": 1, "slice": 1, "select": 1, "index_select": 1, "split": 2,
           "split_with_sizes": 2, "chunk": 2, "unbind": 1, "cat": 1, "stack": 1, "flip": 1,
           "permute": 1, "transpose": 1}  # fmt: skip
"""Operations that move whole numbers -> position of the dimensions among their arguments."""


def write_pairs(program: ExportedProgram) -> None:
    """Write complex values as pairs, in place.

    Raises:
        GraphError: an operation on complex numbers that is not known here, or a complex input or
            output; with the place in the model's source.
    """
    for node in list(program.graph.nodes):
        if _touches(node) and "_assert_tensor_metadata" in str(node.target) and not node.users:
            program.graph.erase_node(node)
    nodes = [node for node in program.graph.nodes if _touches(node)]
    if not nodes:
        return
    ranks = {node: node.meta["val"].dim() for node in nodes if _is_complex(node)}
    pairs: dict[Node, Any] = {}
    for node in nodes:
        if node.op == "placeholder":
            _hold_pairs(program, node)
            pairs[node] = node
        elif node.op == "call_function":
            pairs[node] = _Rewriting(program, node, pairs, ranks).result()
    for node in reversed(nodes):
        if node.op == "call_function":
            _finish(program, node, pairs[node])
    program.graph_module.graph.lint()
    program.graph_module.recompile()


def _is_complex(node: Any) -> bool:
    value = node.meta.get("val") if isinstance(node, Node) else None
    return isinstance(value, Tensor) and value.is_complex()


def _touches(node: Node) -> bool:
    value = node.meta.get("val")
    parts = value if isinstance(value, list | tuple) else [value]
    makes = any(isinstance(part, Tensor) and part.is_complex() for part in parts)
    return makes or (node.op == "call_function" and any(map(_is_complex, node.all_input_nodes)))


def _hold_pairs(program: ExportedProgram, node: Node) -> None:
    """A complex table becomes a real one."""
    signature = program.graph_signature
    names = {**signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}
    name = names.get(node.name)
    if name is None:
        role = "input" if node.name in signature.user_inputs else "weight"
        raise GraphError(
            f"`{node.name}` is a complex {role}: packages take real numbers; give its view_as_real"
        )
    table = program.constants if name in program.constants else program.state_dict
    table[name] = torch.view_as_real(table[name].resolve_conj()).to(torch.float32).contiguous()
    node.meta["val"] = torch.view_as_real(node.meta["val"]).to(torch.float32)


def _finish(program: ExportedProgram, node: Node, made: Any) -> None:
    if isinstance(made, Node) and made is not node:
        for spec in program.graph_signature.output_specs:
            if getattr(spec.arg, "name", None) == node.name:
                spec.arg.name = made.name
        node.replace_all_uses_with(made)
    if not node.users:
        program.graph.erase_node(node)


class _Rewriting:
    """One operation on complex numbers, written for pairs."""

    def __init__(
        self,
        program: ExportedProgram,
        node: Node,
        pairs: dict[Node, Any],
        ranks: dict[Node, int],
    ) -> None:
        self._node, self._pairs, self._ranks = node, pairs, ranks
        self._write = Writer(program.graph, node)

    def result(self) -> Any:
        node, kind = self._node, kind_of(self._node)
        if node.target is operator.getitem:
            source: Any = node.args
            return self._pairs[source[0]][source[1]]
        if kind in _SAME:
            return self._pair(node.args[0])
        if kind in _BY_DIM:
            return self._moved(kind)
        how = getattr(self, f"_{kind.lstrip('_')}", None) if kind in _KNOWN else None
        if how is None:
            raise GraphError(
                f"{place_of(node)}: `{kind or node.target}` of complex numbers has no conversion; "
                "packages compute with real ones: write it with view_as_real"
            )
        return how(*node.args, **node.kwargs)

    def _pair(self, value: Any) -> Any:
        if isinstance(value, Node):
            return self._pairs.get(value, value)
        return value

    def _parts(self, value: Any) -> tuple[Any, Any]:
        """(real, imaginary); the latter None for a real number."""
        if isinstance(value, complex):
            return value.real, value.imag
        if isinstance(value, Node) and value in self._ranks:
            pair = self._pairs[value]
            return tuple(self._write(_aten.select.int, pair, -1, i) for i in (0, 1))  # type: ignore[return-value]
        return value, None

    def _stack(self, real: Any, imaginary: Any) -> Node:
        shape = [int(d) for d in self._node.meta["val"].shape]
        wide = [self._expanded(part, shape) for part in (real, imaginary)]
        return self._write(_aten.stack.default, wide, len(shape))

    def _expanded(self, part: Node, shape: list[int]) -> Node:
        same = list(part.meta["val"].shape) == shape
        return part if same else self._write(_aten.expand.default, part, shape)

    # ------------------------------------------------------------ what moves numbers

    def _moved(self, kind: str) -> Any:
        """The same move of pairs: dimensions counted from the front, where none was added."""
        args: list[Any] = list(self._node.args)
        many = isinstance(args[0], list | tuple)
        rank = self._ranks[args[0][0] if many else args[0]] + (kind in ("unsqueeze", "stack"))
        args[0] = [self._pair(a) for a in args[0]] if many else self._pair(args[0])
        for position in (_BY_DIM[kind], 2 if kind == "transpose" else _BY_DIM[kind]):
            if position < len(args):
                args[position] = _from_front(args[position], rank)
        if kind == "permute":
            args[1] = [*args[1], rank]
        made = self._write(self._node.target, *args, **self._node.kwargs)
        if not isinstance(made.meta["val"], list | tuple):
            return made
        return [self._write(operator.getitem, made, i) for i in range(len(made.meta["val"]))]

    def _reshape(self, x: Node, shape: Any) -> Node:
        shape = [*self._node.meta["val"].shape, 2]
        return self._write(_aten.reshape.default, self._pair(x), [int(d) for d in shape])

    _view = _unsafe_view = _reshape

    def _expand(self, x: Node, shape: Any, **_: Any) -> Node:
        return self._write(_aten.expand.default, self._pair(x), [*map(int, shape), 2])

    def _repeat(self, x: Node, times: Any) -> Node:
        return self._write(_aten.repeat.default, self._pair(x), [*times, 1])

    def _index(self, x: Node, indices: Any) -> Node:
        return self._write(_aten.index.Tensor, self._pair(x), list(indices))

    def _pad_sequence(self, parts: Any, first: bool = False, filled: float = 0.0, *at: Any) -> Node:
        if filled:
            raise GraphError(
                f"{place_of(self._node)}: complex numbers are padded with {filled}; only 0 is known"
            )
        pairs = [self._pair(part) for part in parts]
        return self._write(self._node.target, pairs, first, 0.0, *at)

    def _to_copy(self, x: Node, **_: Any) -> Node:
        if x in self._ranks:
            return self._pairs[x]  # type: ignore[no-any-return]
        return self._stack(x, self._write(_aten.mul.Tensor, x, 0.0))

    # ------------------------------------------------------------ what computes with them

    def _complex(self, real: Node, imaginary: Node) -> Node:
        return self._stack(real, imaginary)

    def _polar(self, size: Node, angle: Node) -> Node:
        parts = [self._write(op, angle) for op in (_aten.cos.default, _aten.sin.default)]
        return self._stack(*(self._write(_aten.mul.Tensor, size, part) for part in parts))

    def _real(self, x: Node) -> Any:
        return self._parts(x)[0]

    def _imag(self, x: Node) -> Any:
        return self._parts(x)[1]

    def _conj(self, x: Node) -> Node:
        real, imaginary = self._parts(x)
        return self._stack(real, self._write(_aten.neg.default, imaginary))

    _conj_physical = _conj

    def _neg(self, x: Node) -> Node:
        return self._write(_aten.neg.default, self._pair(x))

    def _abs(self, x: Node) -> Node:
        squares = [self._write(_aten.mul.Tensor, part, part) for part in self._parts(x)]
        return self._write(_aten.sqrt.default, self._write(_aten.add.Tensor, *squares))

    def _exp(self, x: Node) -> Node:
        real, imaginary = self._parts(x)
        return self._polar(self._write(_aten.exp.default, real), imaginary)

    def _mul(self, x: Any, y: Any) -> Node:
        if isinstance(x, complex | float | int):
            x, y = y, x
        (a, b), (c, d) = self._parts(x), self._parts(y)
        if b is None:
            return self._stack(self._times(a, c), self._times(a, d))
        if d is None:
            return self._stack(self._times(a, c), self._times(b, c))
        real = self._write(_aten.sub.Tensor, self._times(a, c), self._times(b, d))
        imaginary = self._write(_aten.add.Tensor, self._times(a, d), self._times(b, c))
        return self._stack(real, imaginary)

    def _times(self, p: Any, q: Any) -> Node:
        return self._write(_aten.mul.Tensor, *((p, q) if isinstance(p, Node) else (q, p)))

    def _div(self, x: Node, y: Any) -> Node:
        (a, b), (c, d) = self._parts(x), self._parts(y)
        if d is not None or b is None:
            raise GraphError(
                f"{place_of(self._node)}: division by a complex number has no conversion; multiply "
                "by its conjugate and divide by the square of its size"
            )
        return self._stack(*(self._write(_aten.div.Tensor, part, c) for part in (a, b)))

    def _add(self, x: Any, y: Any, alpha: Any = 1) -> Node:
        return self._sum(_aten.add.Tensor, x, y, alpha)

    def _sub(self, x: Any, y: Any, alpha: Any = 1) -> Node:
        return self._sum(_aten.sub.Tensor, x, y, alpha)

    def _sum(self, target: Any, x: Any, y: Any, alpha: Any) -> Node:
        (a, b), (c, d) = self._parts(x), self._parts(y)
        how = {} if alpha == 1 else {"alpha": alpha}
        real = self._write(target, a, c, **how)
        if d is None:
            return self._stack(real, b)
        zero = self._write(_aten.mul.Tensor, a, 0.0) if b is None else b
        return self._stack(real, self._write(target, zero, d, **how))


def _from_front(dims: Any, rank: int) -> Any:
    if isinstance(dims, list | tuple):
        return [_from_front(d, rank) for d in dims]
    return dims % rank if isinstance(dims, int) else dims
