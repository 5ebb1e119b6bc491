"""What torch makes of operations, of one of each kind, all in one program."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch._export.verifier import TrainingIRVerifier
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import ExportedProgram
from torch.export.exported_program import ModuleCallEntry, ModuleCallSignature
from torch.export.graph_signature import (
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from torch.fx import Graph, Node, map_arg
from torch.utils import _pytree as pytree

from entracte.frontend.repeats.calls import AGAIN
from entracte.frontend.repeats.spliced import nodes_made

__all__ = ["Example", "Given", "Own", "Step", "Unfit", "Written", "written"]

_NUMBER = re.compile(r"_\d+$")
_END = "end"
"""Where the results of all are read."""
_SCALAR = json.dumps([[[], [], "float32"]])

Trace = Callable[[ExportedProgram], ExportedProgram]


class Unfit(Exception):
    """The whole must be traced."""


@dataclass(frozen=True)
class Example:
    """An operation, and the different tensors that it reads."""

    node: Node
    read: tuple[Tensor, ...]
    places: Mapping[Node, int]
    """Of each node that is an argument: which of them."""


@dataclass(frozen=True)
class Given:
    """One of the different tensors that an operation reads."""

    place: int


@dataclass(frozen=True)
class Own:
    """What another step of the same operation makes."""

    place: int


@dataclass(frozen=True)
class Step:
    """A node that torch makes for an operation."""

    base: str
    """Its name without a number."""
    target: Any = None
    """None of one that nothing reads: only its name counts."""
    args: Any = ()
    kwargs: Any = None
    value: Any = None
    """What it makes, as `like` tells it."""


@dataclass(frozen=True)
class Written:
    """What becomes of an operation."""

    steps: tuple[Step, ...]
    results: tuple[Given | Own, ...]
    """Of each tensor that it makes."""


def written(
    wanted: Mapping[Hashable, Example], mode: FakeTensorMode, trace: Trace
) -> dict[Hashable, Written]:
    """What `trace` makes of each. Raises `Unfit`."""
    examples = list(wanted.values())
    source = _program_of(examples, mode)
    with nodes_made(_made) as made:
        program = trace(source)
    return dict(zip(wanted, _told(program, made, examples), strict=True))


def like(value: Any) -> Any:
    """Of a tensor sizes, strides and type; of several a list. Raises `Unfit`."""
    if isinstance(value, list | tuple):
        return [like(v) for v in value]
    if value is None:
        return None
    if not isinstance(value, Tensor) or value.device.type != "cpu":
        raise Unfit
    if not all(type(n) is int for n in (*value.shape, *value.stride())):
        raise Unfit
    return tuple(value.shape), value.stride(), value.dtype


def made_like(told: Any, mode: FakeTensorMode) -> Any:
    """Stand-ins of a mode, as `like` tells them."""
    if isinstance(told, list):
        return [made_like(t, mode) for t in told]
    if told is None:
        return None
    sizes, strides, dtype = told
    with mode:
        return torch.empty_strided(sizes, strides, dtype=dtype, device="cpu")


# ---------------------------------------------------------------- the program
def _program_of(examples: Sequence[Example], mode: FakeTensorMode) -> ExportedProgram:
    graph, count = Graph(), sum(len(e.read) for e in examples)
    inputs = [graph.placeholder(f"args_{i}") for i in range(count)]
    for node, tensor in zip(inputs, (t for e in examples for t in e.read), strict=True):
        node.meta["val"] = made_like(like(tensor), mode)
    rest, results = iter(inputs), list[Node]()
    for number, example in enumerate(examples):
        own = [next(rest) for _ in example.read]
        results += _results(graph, example, own, str(number), mode)
    # Results that are views of inputs would be outputs of another kind.
    end = graph.call_function(AGAIN, (results, "", 0, _SCALAR))
    one = graph.call_function(operator.getitem, (end, 0))
    with mode:
        value = torch.empty(())
    end.meta = {"val": [value], "stack_trace": _END, "nn_module_stack": {}}
    one.meta = {**end.meta, "val": value}
    graph.output((one,))
    return _exported(graph, inputs, one)


def _results(
    graph: Graph, example: Example, own: Sequence[Node], number: str, mode: FakeTensorMode
) -> list[Node]:
    """An operation, under a number that torch hands on as the place in the source."""
    source = example.node

    def here(node: Node) -> Node:
        return own[example.places[node]]

    args, kwargs = map_arg(source.args, here), map_arg(source.kwargs, here)
    node = graph.create_node("call_function", source.target, args, kwargs)  # type: ignore[arg-type]
    value = made_like(like(source.meta.get("val")), mode)
    node.meta = {"val": value, "stack_trace": number, "nn_module_stack": {}}
    if isinstance(value, Tensor):
        return [node]
    results = []
    for i, part in enumerate(value if isinstance(value, list | tuple) else ()):
        item = graph.call_function(operator.getitem, (node, i))
        item.meta = {**node.meta, "val": part}
        results.append(item)
    return results


def _exported(graph: Graph, inputs: Sequence[Node], output: Node) -> ExportedProgram:
    given = tuple(node.meta["val"] for node in inputs)
    _, in_spec = pytree.tree_flatten((given, {}))
    _, out_spec = pytree.tree_flatten((0,))
    specs = [InputSpec(InputKind.USER_INPUT, TensorArgument(n.name), None) for n in inputs]
    made = [OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(output.name), None)]
    call = ModuleCallSignature([], [], in_spec, out_spec)
    return ExportedProgram(
        root=nn.Module(),
        graph=graph,
        graph_signature=ExportGraphSignature(specs, made),
        state_dict={},
        range_constraints={},
        module_call_graph=[ModuleCallEntry("", call)],
        example_inputs=(given, {}),
        verifiers=[TrainingIRVerifier],
    )


# ---------------------------------------------------------------- what came of it
@dataclass(frozen=True)
class _Made:
    number: str
    """Of the example that it was made for."""
    name: str


def _made(node: Node) -> _Made:
    return _Made(str(node.meta.get("stack_trace")), node.name)


def _told(
    program: ExportedProgram, made: Sequence[_Made], examples: Sequence[Example]
) -> Iterator[Written]:
    """Of each example what was made for it."""
    nodes = {node.name: node for node in program.graph.nodes}
    end = next(node for node in nodes.values() if node.target is AGAIN)
    inputs = iter([node for node in nodes.values() if node.op == "placeholder"])
    results: Any = iter(end.args[0])  # type: ignore[arg-type]
    names = {k: [m.name for m in g] for k, g in groupby(made, key=lambda m: m.number)}
    if set(names) - {str(i) for i in range(len(examples))} != {_END}:
        raise Unfit
    for number, example in enumerate(examples):
        places: dict[Node, Any] = {next(inputs): Given(i) for i in range(len(example.read))}
        steps = []
        for name in names.get(str(number), ()):
            node = nodes.get(name)
            steps.append(_step(name, node, places))
            if node is not None:
                places[node] = Own(len(steps) - 1)
        value = example.node.meta.get("val")
        count = len(value) if isinstance(value, list | tuple) else int(isinstance(value, Tensor))
        yield Written(tuple(steps), tuple(places[next(results)] for _ in range(count)))


def _step(name: str, node: Node | None, places: Mapping[Node, Any]) -> Step:
    base = _NUMBER.sub("", name)
    if node is None:
        return Step(base)
    if any(n not in places for n in node.all_input_nodes):
        raise Unfit
    args = map_arg(node.args, places.__getitem__)
    kwargs = map_arg(node.kwargs, places.__getitem__)
    return Step(base, node.target, args, kwargs, like(node.meta.get("val")))
