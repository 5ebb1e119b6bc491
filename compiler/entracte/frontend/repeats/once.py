"""A program in functional operations, written operation by operation.

`run_decompositions` traces a whole program twice, at a millisecond and more for each operation. As
long as nothing is changed that others read, what becomes of an operation depends on itself, its
constants and the shapes of what it reads alone. Most stay as they are. Of the others torch writes
one of each kind, all in one program, and what it made of them is put together: node for node and
name for name what it makes of the whole.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.export import ExportedProgram
from torch.export.graph_signature import ExportGraphSignature, OutputKind, TensorArgument
from torch.fx import Graph, Node, map_arg
from torch.fx.graph import _Namespace
from torch.utils import _pytree as pytree

from entracte.frontend.extract import as_aten
from entracte.frontend.repeats.calls import AGAIN
from entracte.frontend.repeats.examples import (
    Example,
    Given,
    Own,
    Unfit,
    Written,
    like,
    made_like,
    written,
)
from entracte.frontend.repeats.operations import (
    NOTHING,
    aliases,
    described,
    functional,
    is_plain,
    placed,
)
from entracte.frontend.repeats.spliced import Made

__all__ = ["once"]

_ROUNDS = 4
"""Of operations that are met with strides that none of them had before."""
Trace = Callable[[ExportedProgram], ExportedProgram]


_known: dict[Hashable, dict[Hashable, Written]] = {}
"""Operations that are written in others -> what became of each; shapes alone decide it, so it holds
for all programs."""


def once(
    programs: Sequence[ExportedProgram], decomposed: Collection[object], trace: Trace
) -> list[tuple[ExportedProgram, list[Made]] | None]:
    """`trace(program)` of each, and the nodes that it makes on the way; None where all of a program
    must be traced for that.

    Args:
        decomposed: the operations that `trace` writes in others.
        trace: `run_decompositions`.
    """
    known = _known.setdefault(frozenset(decomposed), {})
    made: dict[int, tuple[ExportedProgram, list[Made]]] = {}
    modes = {i: _mode(program) for i, program in enumerate(programs)}
    left = {i: mode for i, mode in modes.items() if mode is not None and _is_fit(programs[i])}
    for _ in range(_ROUNDS):
        missing: dict[Hashable, Example] = {}
        for i, mode in list(left.items()):
            copy = _copied(programs[i], mode, known, decomposed)
            missing |= copy.missing if copy is not None else {}
            if copy is None or not copy.missing:
                left.pop(i)
            if copy is not None and not copy.missing and (program := _whole(copy)) is not None:
                made[i] = program, copy.names
        if not left or not _learned(known, missing, next(iter(left.values())), trace):
            break
    return [made.get(i) for i in range(len(programs))]


def _copied(
    program: ExportedProgram,
    mode: FakeTensorMode,
    known: Mapping[Hashable, Written],
    decomposed: Collection[object],
) -> _Copy | None:
    try:
        return _Copy(program, mode, known, decomposed)
    except Exception:  # noqa: BLE001  a trace of the whole tells what is wrong
        return None


def _whole(copy: _Copy) -> ExportedProgram | None:
    try:
        return copy.program()
    except Exception:  # noqa: BLE001  as above
        return None


def _learned(
    known: dict[Hashable, Written],
    missing: Mapping[Hashable, Example],
    mode: FakeTensorMode,
    trace: Trace,
) -> bool:
    """Whether torch told what becomes of operations."""
    try:
        known.update(written(missing, mode, trace))
    except Exception:  # noqa: BLE001  a trace of the whole tells what is wrong
        return False
    return True


def _mode(program: ExportedProgram) -> FakeTensorMode | None:
    values = (node.meta.get("val") for node in program.graph.nodes)
    return next((v.fake_mode for v in values if isinstance(v, FakeTensor)), None)


def _is_fit(program: ExportedProgram) -> bool:
    """Whether all is operations on tensors, and no input is changed or handed out."""
    if {s.kind for s in program.graph_signature.output_specs} != {OutputKind.USER_OUTPUT}:
        return False
    (output,) = (n for n in program.graph.nodes if n.op == "output")
    calls = [n for n in program.graph.nodes if n.op not in ("placeholder", "output")]
    return all(n.op != "placeholder" for n in output.all_input_nodes) and all(map(_is_call, calls))


def _is_call(node: Node) -> bool:
    return node.op == "call_function" and (
        node.target is operator.getitem
        or isinstance(node.target, OpOverload)
        and _is_sized(node.meta.get("val"))
    )


def _is_sized(value: Any) -> bool:
    try:
        like(value)
    except Unfit:
        return False
    return True


class _Copy:
    """A program written with what is known; what is not is `missing`."""

    def __init__(
        self,
        program: ExportedProgram,
        mode: FakeTensorMode,
        known: Mapping[Hashable, Written],
        decomposed: Collection[object],
    ) -> None:
        self._source, self._known = program, known
        self._decomposed, self._mode = decomposed, mode
        self.graph, self.names = Graph(), list[Made]()
        self.missing: dict[Hashable, Example] = {}
        self._namespace = _Namespace()
        self._inputs = {n.name for n in program.graph.nodes if n.op == "placeholder"}
        self._values: dict[Node, Any] = {}
        """Of the source's nodes: a node here, or a list of them; itself where it is not known."""
        for node in program.graph.nodes:
            if node.op == "placeholder":
                self._values[node] = self._input(node)
            elif node.op == "call_function":
                self._values[node] = self._written(node)

    def program(self) -> ExportedProgram:
        """All of it."""
        source, names = self._source, {}
        (output,) = (n for n in source.graph.nodes if n.op == "output")
        self.graph.node_copy(output, self._values.__getitem__)
        for node in output.all_input_nodes:
            names[node.name] = TensorArgument(self._values[node].name)
        self.graph.eliminate_dead_code()
        signature = source.graph_signature
        outputs = [replace(s, arg=names[s.arg.name]) for s in signature.output_specs]
        made = ExportGraphSignature(list(signature.input_specs), outputs)
        return as_aten(source, self.graph, made)

    def _input(self, node: Node) -> Node:
        """Under its own name, whatever it is: graphs give nothing they make the name of a function
        of Python's (`input`, `sum`)."""
        made = self.graph.create_node("placeholder", "given", node.args)
        made.name, made.target, made.meta = node.name, node.target, dict(node.meta)
        return made

    def _written(self, node: Node) -> Any:
        target: Any = node.target
        first: Any = node.args[0] if node.args else None
        if target is operator.getitem:
            made, place = self._values[first], cast(int, node.args[1])
            return made[place] if isinstance(made, list) else node
        if target is AGAIN:
            return self._again(node) if self._is_known(node) else node
        if target is NOTHING:
            return self._values[first] if self._is_known(node) else node
        if target._schema.is_mutable:
            return self._changed(node)
        if target not in self._decomposed and is_plain(target):
            return self._plain(node, target) if self._is_known(node) else node
        return self._composite(node)

    def _is_known(self, node: Node) -> bool:
        """Whether all that an operation reads is written."""
        return all(self._values[n] is not n for n in node.all_input_nodes)

    def _composite(self, node: Node) -> Any:
        read: list[Node] = []
        given = (node.args, tuple(node.kwargs), tuple(node.kwargs.values()))
        key = (node.target, *(described(g, read, self._values) for g in given))
        known = self._known.get(key)
        if known is not None and self._is_known(node):
            return self._steps(node, known, read)
        if known is None and key not in self.missing:
            places = {n: read.index(self._values[n]) for n in node.all_input_nodes}
            self.missing[key] = Example(node, tuple(n.meta["val"] for n in read), places)
        return node

    def _changed(self, node: Node) -> Any:
        """What an operation changes in place is made anew, and read from then on."""
        target, old = functional(node.target), node.args[0]
        if target in self._decomposed or not is_plain(target) or not isinstance(old, Node):
            raise Unfit
        if not self._is_known(node):
            return node
        before = self._values[old]
        made = self._plain(node, target)
        readers = [n for n in before.users if n is not made]
        was, now = before.meta["val"], made.meta["val"]
        if (
            before.op != "call_function"
            or any(aliases(n.target) for n in (before, *readers))
            or (was.shape, was.dtype) != (now.shape, now.dtype)
        ):
            raise Unfit
        same = [name for name, value in self._values.items() if value is before]
        self._values.update(dict.fromkeys(same, made))
        return made

    def _steps(self, node: Node, known: Written, read: Sequence[Node]) -> Any:
        """What torch makes of an operation."""
        own: list[Any] = []
        place = {k: v for k, v in node.meta.items() if k != "val"}

        def here(argument: Any) -> Any:
            if isinstance(argument, Given):
                return read[argument.place]
            return own[argument.place] if isinstance(argument, Own) else argument

        for step in known.steps:
            name, made = self._name(step.base), None
            if step.target is not None:
                args, kwargs = (
                    pytree.tree_map(here, given, is_leaf=lambda a: isinstance(a, Given | Own))
                    for given in (step.args, step.kwargs)
                )
                made = self.graph.create_node("call_function", step.target, args, kwargs, name)
                made.meta = {**place, "val": made_like(step.value, self._mode)}
            own.append(made)
        results = [here(r) for r in known.results]
        return results[0] if isinstance(node.meta.get("val"), Tensor) else results

    def _plain(self, node: Node, target: Any) -> Any:
        """An operation that stays as it is."""
        name = self._name(self.graph._target_to_str(target.overloadpacket.__name__))
        args, kwargs = (map_arg(g, self._values.__getitem__) for g in placed(node))
        made = self.graph.create_node("call_function", target, args, kwargs, name)  # type: ignore[arg-type]
        value = self._value(node, made)
        made.meta = {**node.meta, "val": value}
        if not isinstance(value, list | tuple):
            return made
        return self._parts(made, dict(enumerate(value)), len(value))

    def _value(self, node: Node, made: Node) -> Any:
        """What a copy makes: other strides may come in than did in the source."""
        pairs = zip(node.all_input_nodes, made.all_input_nodes, strict=True)
        is_same = all(like(a.meta["val"]) == like(b.meta["val"]) for a, b in pairs)
        if is_same and node.target is made.target:
            return node.meta.get("val")
        target: Any = made.target
        args, kwargs = (map_arg(g, lambda n: n.meta["val"]) for g in (made.args, made.kwargs))
        with self._mode, torch.no_grad():
            return target(*args, **kwargs)  # type: ignore[misc, arg-type]

    def _again(self, node: Node) -> list[Node | None]:
        """A call of a form."""
        name = self._name("again", node.args[2])
        args = map_arg(node.args, self._values.__getitem__)
        made = self.graph.create_node("call_function", AGAIN, args, {}, name)  # type: ignore[arg-type]
        made.meta = dict(node.meta)
        parts = {n.args[1]: n.meta["val"] for n in node.users}
        return self._parts(made, parts, len(json.loads(node.args[3])))  # type: ignore[arg-type]

    def _parts(self, made: Node, values: Mapping[Any, Any], count: int) -> list[Node | None]:
        """The results of an operation, read or not."""
        parts: list[Node | None] = []
        for i in range(count):
            name, part = self._name("getitem", part_of=made), None
            if i in values:
                part = self.graph.create_node(
                    "call_function", operator.getitem, (made, i), {}, name
                )
                part.meta = {**made.meta, "val": values[i]}
            parts.append(part)
        return parts

    def _name(self, base: str, form: Any = None, part_of: Node | None = None) -> str:
        name: str = self._namespace.create_name(base, None)
        if name in self._inputs:
            raise Unfit  # torch gives it another name
        is_of_form = form is not None or part_of is not None and part_of.target is AGAIN
        self.names.append(Made(name, not is_of_form, form))
        return name
