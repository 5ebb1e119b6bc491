"""A graph with a first-block test: what it reads and makes beside what its module does."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from entracte.declare.rests import RESTS, SEEN, SEEN_NEXT
from entracte.errors import ConfigError
from entracte.graphs.spec import Graph, Input
from entracte.ir import Stage

if TYPE_CHECKING:
    from torch.export import ExportedProgram


@dataclass(frozen=True)
class Tested(Graph):
    """Inputs and outputs are those of its exported functions; its module's are `own`'s."""

    own: Graph | None = None

    def __post_init__(self) -> None:
        """All but the test's was looked at when `own` was made."""


def own_of(graph: Graph) -> Graph:
    """A graph with the inputs and outputs of its module."""
    return graph.own if isinstance(graph, Tested) and graph.own is not None else graph


def tested(stage: Stage, graph: Graph, program: "ExportedProgram") -> Tested:
    """The graph of a stage with a test, of which `program` is an exported function.

    Raises `ConfigError` where a port of the graph has a name of the test's.
    """
    ports = {i.name for i in graph.inputs} | set(graph.outputs)
    if taken := sorted(ports & {SEEN, SEEN_NEXT, RESTS}):
        raise ConfigError(
            f"pipeline.stages.{stage.name}.reuse.at.change: graph {stage.op} has a port "
            f"{taken[0]} itself; give the iterations instead (`at: {{every: 2}}`)"
        )
    last = program.graph_signature.user_inputs[-1]
    node = next(n for n in program.graph.nodes if n.name == last)
    given = {f.name: getattr(graph, f.name) for f in fields(Graph)}
    given["inputs"] = (*graph.inputs, Input(SEEN, tuple(map(int, node.meta["val"].shape))))
    given["outputs"] = (*graph.outputs, SEEN_NEXT, RESTS)
    return Tested(**given, own=graph)
