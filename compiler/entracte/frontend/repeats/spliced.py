"""A program in which every call of a form is an operation, with the form's own program in its
place: node for node and name for name what an export of everything gives."""

from __future__ import annotations

import contextlib
import json
import operator
import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind
from torch.fx import Graph, Node, map_arg
from torch.fx.experimental.proxy_tensor import PythonKeyTracer
from torch.fx.graph import _Namespace

from entracte.frontend.repeats.aside import Aside
from entracte.frontend.repeats.calls import AGAIN

__all__ = ["Made", "Piece", "Unfit", "changes_results", "is_plain", "names_made",
           "nodes_made", "splice", "unread"]  # fmt: skip

_NUMBER = re.compile(r"_\d+$")
T = TypeVar("T")


class Unfit(Exception):
    """The pieces do not make up the whole: it must be exported as one."""


@dataclass(frozen=True)
class Made:
    """A node that a trace made."""

    name: str
    is_counted: bool
    """Whether an export of everything makes it too."""
    form: int | None = None
    """The number of the form that it calls."""


def names_made() -> contextlib.AbstractContextManager[list[Made]]:
    """Inside, the operations that a trace makes, in order, also those that it drops later: they
    count in the numbers of those that stay."""
    return nodes_made(_told)


@contextlib.contextmanager
def nodes_made(told: Callable[[Node], T]) -> Iterator[list[T]]:
    """Inside, what is told of each operation that a trace makes, in order, when it is made."""
    made: list[T] = []
    own = PythonKeyTracer.create_node

    def create_node(self: PythonKeyTracer, *args: Any, **kwargs: Any) -> Node:
        node = own(self, *args, **kwargs)
        if node.op == "call_function":
            made.append(told(node))
        return node

    PythonKeyTracer.create_node = create_node  # type: ignore[method-assign]
    try:
        yield made
    finally:
        PythonKeyTracer.create_node = own  # type: ignore[method-assign]


def _told(node: Node) -> Made:
    if node.target is AGAIN:
        number: Any = node.args[2]
        return Made(node.name, is_counted=False, form=number)
    return Made(node.name, is_counted=not _is_part(node))


def _is_part(node: Node) -> bool:
    """Whether it is one result of a form's call."""
    source = node.args[0] if node.args else None
    return node.target is operator.getitem and isinstance(source, Node) and source.target is AGAIN


def is_plain(program: ExportedProgram) -> bool:
    """Whether a program only computes: it changes nothing in place and holds no literals."""
    signature = program.graph_signature
    kinds = {spec.kind for spec in signature.output_specs}
    calls = {node.op for node in program.graph.nodes}
    return (
        kinds == {OutputKind.USER_OUTPUT}
        and not signature.inputs_to_lifted_tensor_constants
        and calls <= {"placeholder", "call_function", "output"}
    )


def unread(program: ExportedProgram) -> list[frozenset[int]]:
    """Of each call of a form, in order, the results that nothing reads: an export of everything
    drops what makes those before its next trace."""
    calls = [node for node in program.graph.nodes if node.target is AGAIN]
    return [
        frozenset(range(len(json.loads(node.args[3])))) - {u.args[1] for u in node.users if u.users}
        for node in calls
    ]


def changes_results(program: ExportedProgram) -> bool:
    """Whether an operation of a program, as torch.export gives it, changes in place what a form's
    call makes: that may be memory of more than this one value."""
    return any(_root(target).target is AGAIN for node in program.graph.nodes
               for target in _aliased(node, is_write=True))  # fmt: skip


def _aliased(node: Node, is_write: bool) -> list[Node]:
    """The arguments whose memory an operation writes to, or hands on."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        is_part = node.target is operator.getitem and not is_write
        return [node.args[0]] if is_part else []  # type: ignore[list-item]
    pairs = zip(schema.arguments, node.args, strict=False)
    return [
        given
        for argument, given in pairs
        if isinstance(given, Node)
        and argument.alias_info is not None
        and argument.alias_info.is_write == is_write
    ]


def _root(node: Node) -> Node:
    """The operation that made the memory that a value lies in."""
    while source := _aliased(node, is_write=False) or _aliased(node, is_write=True):
        node = source[0]
    return node


@dataclass
class Piece:
    """An exported program: of everything, or of a form."""

    program: ExportedProgram
    names: Sequence[Made] = ()
    """What its last trace made."""
    unread: Sequence[frozenset[int]] = ()
    """What of its calls' results nothing read before that."""
    path: str = ""
    """Of the module that was exported for a form."""
    read: Sequence[int] = ()
    """Which of its inputs a form's calls are given."""
    kept: Mapping[str, str] | None = None
    """Name of a module that a call is given -> its path."""
    aside: Aside | None = None
    """Of the program of everything: the weights that only forms read."""


@dataclass(frozen=True)
class _Place:
    """Where a piece goes."""

    piece: Piece
    path: str
    """Of the module that it stands for here."""
    stack: Mapping[str, Any]
    """The modules around it, itself the last."""

    def moved(self, path: str) -> str:
        """The path of a module, as in the model, of the call that is written here."""
        own = self.piece.path
        is_below = path == own or path.startswith(f"{own}.")
        return self.path + path[len(own) :] if is_below else path

    def path_of(self, name: str) -> str:
        """The path of what the exported program calls `name`."""
        first, _, rest = name.partition(".")
        kept = self.piece.kept or {}
        if self.piece.kept is None:
            return name
        base = self.path if first == BLOCK else kept.get(first)
        if base is None:
            raise Unfit
        return f"{base}.{rest}" if rest else base

    def stack_of(self, node: Node) -> dict[str, Any]:
        """The modules that an operation is in, here."""
        own: dict[str, Any] = node.meta.get("nn_module_stack") or {}
        if self.piece.kept is None:
            return own
        moved = [
            (self.path_of(path), kind) for path, kind in own.values() if path not in ("", BLOCK)
        ]
        return {**self.stack, **{f"L__self__{path}": (path, kind) for path, kind in moved}}


BLOCK = "block"
"""What the program of a form calls its module."""


def splice(
    outer: Piece, forms: Mapping[int, Piece], known_as: Callable[[str], str]
) -> ExportedProgram:
    """The program of everything, in place of `outer`'s.

    Args:
        forms: by number.
        known_as: the name that `outer` has for a weight of another name.

    Raises:
        Unfit: names or weights do not fit together.
    """
    splicing = _Splicing(outer, forms, known_as)
    made = splicing.inputs()
    splicing.body(_Place(outer, "", {}), made)
    program = outer.program
    (output,) = (n for n in program.graph.nodes if n.op == "output")
    renamed = {n.name: m.name for n, m in made.items() if isinstance(m, Node)}
    splicing.graph.node_copy(output, made.__getitem__)
    for spec in program.graph_signature.output_specs:
        spec.arg.name = renamed[spec.arg.name]
    splicing.graph._codegen = program.graph._codegen
    assert outer.aside is not None
    outer.aside.put_back(program)
    program.graph_module.graph = splicing.graph
    return program


class _Splicing:
    """Working state: the graph that is being written."""

    def __init__(
        self, outer: Piece, forms: Mapping[int, Piece], known_as: Callable[[str], str]
    ) -> None:
        self._outer, self._forms, self._known_as = outer, forms, known_as
        self.graph = Graph()
        self._names = _Namespace()
        self._weights: dict[str, Node] = {}
        self._inputs: set[str] = set()
        for piece in (outer, *forms.values()):
            _check_names(piece)

    def inputs(self) -> dict[Node, Any]:
        """Of everything: as `outer` has them."""
        program, aside = self._outer.program, self._outer.aside
        assert aside is not None
        target_of = _weights(program) | aside.targets
        made: dict[Node, Any] = {}
        for node in aside.placeholders(program):
            made[node] = self.graph.node_copy(node)
            self._inputs.add(_NUMBER.sub("", node.name))
            if node.name in target_of:
                self._weights[target_of[node.name]] = made[node]
        return made

    def body(
        self, place: _Place, made: dict[Node, Any], dead: Container[Node] = frozenset()
    ) -> None:
        """Copy a piece's operations but the dead ones, under the names that a trace of everything
        gives them."""
        nodes = {n.name: n for n in place.piece.program.graph.nodes if n.op == "call_function"}
        unread = iter(place.piece.unread)
        for one in place.piece.names:
            node = nodes.pop(one.name, None)
            left = next(unread) if one.form is not None else frozenset()
            if node in dead:
                continue
            if one.is_counted:
                name = self._name(one.name)
                if node is not None:
                    made[node] = self._copied(node, made, place, name)
            elif node is None:
                self._drop(one.form)
            elif node.target is AGAIN:
                made[node] = self._form(node, made, place, left)
            else:
                source: Any = node.args[0]
                made[node] = made[source][node.args[1]]
        if nodes:
            raise Unfit

    def _drop(self, form: int | None) -> None:
        """Count what a call of a form makes that is dropped, since nothing reads it."""
        for one in self._forms[form].names if form is not None else ():
            if one.is_counted:
                self._name(one.name)
            self._drop(one.form)

    def _form(
        self, node: Node, made: dict[Node, Any], place: _Place, left: frozenset[int]
    ) -> list[Node | None]:
        """What a call of a form makes here; of the results that are `left` nothing."""
        arguments: Any = node.args
        given, path, number, _ = arguments
        piece = self._forms[number]
        inner = _Place(piece, place.moved(path), place.stack_of(node))
        own: dict[Node, Any] = {}
        signature, target_of = piece.program.graph_signature, _weights(piece.program)
        inputs = (signature.user_inputs[i] for i in piece.read)
        values = dict(zip(inputs, (made[g] for g in given), strict=True))
        for source in piece.program.graph.nodes:
            if source.op == "placeholder" and source.name in target_of:
                own[source] = self._weight(inner.path_of(target_of[source.name]))
            elif source.op == "placeholder" and source.name in values:
                own[source] = values[source.name]
        (output,) = (n for n in piece.program.graph.nodes if n.op == "output")
        results: Any = output.args[0]
        read = [n for i, n in enumerate(results) if i not in left]
        self.body(inner, own, _unneeded(piece.program, read) if left else frozenset())
        return [own.get(n) for n in results]

    def _weight(self, name: str) -> Node:
        known = self._known_as(name)
        if known not in self._weights:
            raise Unfit
        return self._weights[known]

    def _name(self, name: str) -> str:
        base = _NUMBER.sub("", name)
        if base in self._inputs:
            raise Unfit
        return self._names.create_name(base, None)

    def _copied(self, node: Node, made: dict[Node, Any], place: _Place, name: str) -> Node:
        copy = self.graph.create_node(
            node.op,
            node.target,
            map_arg(node.args, made.__getitem__),  # type: ignore[arg-type]
            map_arg(node.kwargs, made.__getitem__),  # type: ignore[arg-type]
            name,
            node.type,
        )
        copy.meta = {**node.meta, "nn_module_stack": place.stack_of(node)}
        if copy.name != name:
            raise Unfit
        return copy


def _unneeded(program: ExportedProgram, results: Sequence[Node]) -> set[Node]:
    """The operations that these results need not."""
    needed = set(results)
    nodes = list(program.graph.nodes)
    for node in reversed(nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    return {n for n in nodes if n.op == "call_function" and n not in needed}


def _weights(program: ExportedProgram) -> dict[str, str]:
    """Placeholder -> name of the parameter or buffer."""
    signature = program.graph_signature
    return {**signature.inputs_to_parameters, **signature.inputs_to_buffers}


def _check_names(piece: Piece) -> None:
    """Names follow from the order of what is made, in each piece by itself."""
    names = _Namespace()
    if any(names.create_name(_NUMBER.sub("", m.name), None) != m.name for m in piece.names):
        raise Unfit
