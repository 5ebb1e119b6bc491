"""Weights that nothing but the calls of forms reads: the program of everything is without them
while it is written anew. There may be a thousand, and every trace costs for each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec
from torch.fx import Node

__all__ = ["Aside", "set_aside"]

_WEIGHTS = (InputKind.PARAMETER, InputKind.BUFFER)

T = TypeVar("T")


@dataclass(frozen=True)
class Aside:
    """What was taken out of a program."""

    order: tuple[str, ...]
    """Placeholders of all weights, as the program had them: before all others."""
    nodes: Mapping[str, Node]
    """Those that were taken out, by name."""
    specs: Mapping[str, InputSpec]
    state: Mapping[str, Any]
    """All that the program held for weights, in order."""
    constants: Mapping[str, Any]

    @property
    def targets(self) -> dict[str, str]:
        """Placeholder that was taken out -> name of the weight."""
        return {name: spec.target for name, spec in self.specs.items() if spec.target is not None}

    def placeholders(self, program: ExportedProgram) -> list[Node]:
        """Those of a program, and what was taken out in its place."""
        own = [node for node in program.graph.nodes if node.op == "placeholder"]
        return self._with(self.nodes, {node.name: node for node in own})

    def put_back(self, program: ExportedProgram) -> None:
        """In what a program says of its inputs, and holds for them."""
        signature = program.graph_signature
        own = {spec.arg.name: spec for spec in signature.input_specs}
        signature.input_specs[:] = self._with(self.specs, own)
        for now, before in ((program.state_dict, self.state), (program.constants, self.constants)):
            whole = {**before, **now}
            now.clear()
            now.update(whole)

    def _with(self, out: Mapping[str, T], own: Mapping[str, T]) -> list[T]:
        weights = [out[name] if name in out else own[name] for name in self.order]
        return [*weights, *(value for name, value in own.items() if name not in self.order)]


def set_aside(program: ExportedProgram) -> Aside:
    """Take the weights that no operation reads out of a program."""
    specs: Sequence[InputSpec] = program.graph_signature.input_specs
    weights = [spec for spec in specs if spec.kind in _WEIGHTS]
    if list(specs[: len(weights)]) != weights:
        weights = []
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    out = {s.arg.name: s for s in weights if not nodes[s.arg.name].users}
    named = {spec.target for spec in weights}
    made = Aside(
        tuple(spec.arg.name for spec in weights),
        {name: nodes[name] for name in out},
        out,
        {k: v for k, v in program.state_dict.items() if k in named},
        {k: v for k, v in program.constants.items() if k in named},
    )
    for name, spec in out.items():
        program.graph.erase_node(nodes[name])
        for held in (program.state_dict, program.constants):
            held.pop(spec.target, None)
    program.graph_signature.input_specs[:] = [s for s in specs if s.arg.name not in out]
    program.graph_module.recompile()
    return made
