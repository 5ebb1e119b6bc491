"""One exported function of a stage: its torch nodes, and the names that they have outside."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from entracte.errors import ConfigError
from entracte.frontend.attention import in_query_blocks
from entracte.frontend.backend import Backend, Islands
from entracte.frontend.export import export_graph
from entracte.frontend.extract import constants_of
from entracte.frontend.place import places_of, refuse_unconvertible
from entracte.frontend.precision import fp32_values
from entracte.frontend.reuse import RESTS, TEST, with_reuse
from entracte.ir import DType, Stage
from entracte.trace.codes import Coder
from entracte.trace.flops import shape_of
from entracte.trace.names import MAIN
from entracte.trace.numbers import tensor_digest
from entracte.trace.tested import own_of
from entracte.trace.variants import Identities, identities, same_values

if TYPE_CHECKING:
    import torch
    from torch import fx
    from torch.export import ExportedProgram

    from entracte.graphs.spec import Graph

__all__ = ["Exported", "export_stage", "exported_of", "names_beside", "value_names"]


def export_stage(
    stage: Stage, graph: "Graph", function: str, backend: Backend
) -> "ExportedProgram":
    """The exported program of a stage's function.

    Raises `ConfigError` if the graph has no such variant, or torch.export refuses the module.
    """
    modules = {MAIN: graph.module, **graph.variants}
    if function not in modules:
        raise ConfigError(
            f"pipeline.stages.{stage.name}.functions: graph {stage.op} has no variant "
            f"{function!r}; it has {', '.join(graph.variants) or 'none'}"
        )
    module, own = modules[function], own_of(graph)
    try:
        program = export_graph(module, _examples(own), backend.is_convertible, own.outputs)
        if stage.score_bytes:
            in_query_blocks(program, stage.score_bytes // DType(stage.precision).width_bytes)
        if stage.reuse is not None:
            reuse = stage.reuse
            with_reuse(module, program, reuse.first, reuse.last, reuse.change)
        # here, where it costs seconds, and not in the chunk that is converted last
        refuse_unconvertible(program, backend.is_convertible, places_of(module, program))
    except ValueError as error:
        raise ConfigError(f"pipeline.stages.{stage.name}: graph {stage.op!r}: {error}") from error
    return program


def _examples(graph: "Graph") -> "tuple[torch.Tensor, ...]":
    import torch

    kinds = {"float": torch.float32, "int": torch.int32}
    # Never read: what a decoder keeps may be gigabytes, which no page of memory need hold.
    return tuple(torch.empty(i.shape, dtype=kinds[i.kind]) for i in graph.inputs)


@dataclass(frozen=True)
class Exported:
    """A function's program, with its nodes told apart; names of nodes are those of torch.fx."""

    name: str
    program: "ExportedProgram"
    held: Mapping[str, str]
    """Tables and literals that the module itself holds: name in the program -> digest."""
    weight_of: Mapping[str, str]
    """Placeholder -> name of the weight it stands for."""
    input_of: Mapping[str, str]
    """Placeholder -> name of the graph's input."""
    calls: "tuple[fx.Node, ...]"
    """Operations, in graph order."""
    constants: Mapping[str, None]
    """Names of operations that depend on no input, in graph order."""
    fp32_nodes: frozenset[str]
    """What fp16 cannot carry; empty where the stage is fp32 anyway."""

    @cached_property
    def coder(self) -> Coder:
        """Digests of operations, in which inputs and weights stand by position."""
        return Coder(self.weight_of, set(self.constants), self.fp32_nodes)

    @cached_property
    def computed(self) -> "tuple[fx.Node, ...]":
        """Operations that depend on an input, in graph order."""
        return tuple(n for n in self.calls if n.name not in self.constants)

    @cached_property
    def resting(self) -> frozenset[str]:
        """Names of the operations that rest in some iterations."""
        return frozenset(n.name for n in self.computed if n.meta.get(RESTS))

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Weight name -> shape, of all that the program has."""
        nodes = self.program.graph.nodes
        return {self.weight_of[n.name]: shape_of(n) for n in nodes if n.name in self.weight_of}

    @cached_property
    def used(self) -> frozenset[str]:
        """Names of the weights that an operation reads, or a constant that one reads."""
        return frozenset(w for node in self.computed for w in self.coder.code(node).weights)

    @cached_property
    def held_names(self) -> frozenset[str]:
        """Those of `held` outside."""
        return frozenset(self.weight_name(name) for name in self.held)

    @cached_property
    def whole(self) -> frozenset[str]:
        """Weights that are no floating-point numbers: positions, masks."""
        nodes = [n for n in self.program.graph.nodes if n.name in self.weight_of]
        return frozenset(
            self.weight_of[n.name] for n in nodes if not n.meta["val"].dtype.is_floating_point
        )

    def weight_name(self, name: str) -> str:
        """Name in the program -> outside: variants have the same weights, but tables of their
        own."""
        return f"{name}@{self.name}" if self.name != MAIN and name in self.held else name

    def digest_of(self, weight: str) -> str:
        """Of a table's value; empty for a weight of the checkpoint."""
        return self.held.get(weight.partition("@")[0], "")

    def identities(self) -> Identities:
        """What tells this function's values from others', by node."""
        return identities(self.computed, self.input_of, self.coder, self._spelled)

    def _spelled(self, weight: str) -> str:
        """A weight by its name, a table by its value too."""
        return f"{weight.partition('@')[0]} {self.digest_of(weight)}"


def exported_of(
    stage: Stage, graph: "Graph", program: "ExportedProgram", function: str, backend: Backend
) -> Exported:
    """Sort the nodes of a stage's exported function."""
    signature = program.graph_signature
    names = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    islands = backend.aten_islands
    made = Exported(
        name=function,
        program=program,
        held=_held(program, graph),
        weight_of={},
        input_of=dict(zip(signature.user_inputs, (i.name for i in graph.inputs), strict=True)),
        calls=tuple(n for n in program.graph.nodes if n.op == "call_function"),
        constants={},
        fp32_nodes=_fp32_nodes(program, islands) if stage.precision == "fp16" else frozenset(),
    )
    weight_of = {node: made.weight_name(name) for node, name in names.items()}
    return replace(made, weight_of=weight_of, constants=_constants(made.calls, weight_of))


def _fp32_nodes(program: "ExportedProgram", islands: Islands) -> frozenset[str]:
    tests = frozenset(n.name for n in program.graph.nodes if n.meta.get(TEST))
    return fp32_values(program, islands) | tests


def _constants(calls: "tuple[fx.Node, ...]", weight_of: Mapping[str, str]) -> dict[str, None]:
    found: dict[str, None] = {}
    for node in calls:
        if all(s.name in weight_of or s.name in found for s in node.all_input_nodes):
            found[node.name] = None
    return found


def _held(program: "ExportedProgram", graph: "Graph") -> dict[str, str]:
    """Digests of the tables and literals that no checkpoint holds: they are the module's own."""
    persistent = set(graph.module.state_dict())
    held = {k: v for k, v in constants_of(program).items() if k not in persistent}
    return {k: tensor_digest(v) for k, v in held.items()}


def value_names(stage: Stage, graph: "Graph", exported: Exported) -> dict[str, str]:
    """Node -> name of its value: outputs and inputs have their port's, all others their node's.

    Raises `ConfigError` where outputs cannot be told from each other or from inputs.
    """
    returned = list(exported.program.graph_signature.user_outputs)
    where = f"pipeline.stages.{stage.name}: graph {stage.op!r}"
    computed = {n.name for n in exported.computed}
    for i, (node, port) in enumerate(zip(returned, graph.outputs, strict=True)):
        if node in exported.input_of:
            raise ConfigError(
                f"{where}: output {port!r} is the input {exported.input_of[node]!r} as it came; "
                "leave it out, and read that input's source instead"
            )
        if node in returned[:i]:
            raise ConfigError(
                f"{where}: outputs {graph.outputs[returned.index(node)]!r} and {port!r} are the "
                "same value; leave one out"
            )
        if node not in computed:
            raise ConfigError(
                f"{where}: output {port!r} does not depend on any input: it is a weight or a "
                "table; give it as `Constants`"
            )
    names = dict(zip(returned, graph.outputs, strict=True)) | dict(exported.input_of)
    taken = set(names.values())
    for node in (n.name for n in exported.calls if n.name not in names):
        name = node
        while name in taken:  # torch names operations, and one may have the name of a port
            name += "_"
        names[node] = name
        taken.add(name)
    return {n.name: names[n.name] for n in exported.calls} | dict(exported.input_of)


def names_beside(
    variant: Exported, main: Exported, main_names: Mapping[str, str]
) -> dict[str, str]:
    """A variant's node -> value name: `main`'s where both compute the same, one apart elsewhere."""
    apart = {n.name: f"{n.name}@{variant.name}" for n in variant.calls}
    return apart | same_values(variant.identities(), main.identities(), main_names)
