"""Where a package leaves its torch source: the operations at which the error first rises.

coremltools names what it emits after the node it comes from, so most nodes' values can be found
in the package while it runs, and compared with the values that torch gives the same nodes.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from entracte.frontend.backend import Backend
from entracte.reference.fidelity import psnr

if TYPE_CHECKING:
    import torch
    from torch.fx import GraphModule, Node

_SUFFIX = re.compile(r"(_cast_fp(16|32))?(_\d+)?$")


class Blame:
    """Compares the values inside one function of a chunk."""

    def __init__(self, module: "GraphModule", backend: Backend, floor_db: float) -> None:
        self._module, self._backend, self._floor_db = module, backend, floor_db

    def nodes(
        self,
        path: Path,
        function: str,
        arguments: "Sequence[torch.Tensor]",
        features: Mapping[str, np.ndarray],
    ) -> list[str]:
        """Names of the module's nodes, in order; empty where everything is close."""
        db = self._measured(path, function, self._values(arguments), arguments, features)
        blamed: dict[str, None] = {}
        for node in self._module.graph.nodes:
            if node.op == "output":
                last = [n for n in node.all_input_nodes if n.name not in db]
                blamed.update({n.name: None for n in last if not blamed})
            elif db.get(node.name, np.inf) < self._floor_db:
                inside = _unseen(node, db)
                if all(db[n.name] >= self._floor_db for n in _seen(node, inside, db)):
                    blamed.update({n.name: None for n in [*inside, node]})
        order = {n.name: i for i, n in enumerate(self._module.graph.nodes)}
        return sorted(blamed, key=order.__getitem__)

    def _values(self, arguments: "Sequence[torch.Tensor]") -> dict[str, Any]:
        """Node -> its value in torch."""
        import torch

        found: dict[str, Any] = {}

        class Recorder(torch.fx.Interpreter):
            def run_node(self, node: "Node") -> Any:
                made = found[node.name] = super().run_node(node)
                return made

        with torch.inference_mode():
            Recorder(self._module).run(*arguments)
        return found

    def _measured(
        self,
        path: Path,
        function: str,
        values: Mapping[str, Any],
        arguments: "Sequence[torch.Tensor]",
        features: Mapping[str, np.ndarray],
    ) -> dict[str, float]:
        """Node -> PSNR of its value in the package, of those that can be found there."""
        from entracte.reference import load

        own = self._names(arguments)
        db: dict[str, float] = {}

        def look(name: str, _: str, results: Sequence[Any]) -> None:
            node = own.get(name) or own.get(_SUFFIX.sub("", name))
            wanted: Any = values.get(node or "")
            if node is None or not hasattr(wanted, "shape") or len(results) != 1:
                return
            made = results[0]
            if getattr(made, "shape", None) == wanted.shape:
                found = psnr(wanted.double().numpy(), made.double().numpy())
                db[node] = min(db.get(node, np.inf), found)

        with load(path, function=function) as package:
            package.on_op = look
            package.predict(features)
        return db

    def _names(self, arguments: "Sequence[torch.Tensor]") -> dict[str, str]:
        """Name in the converted program -> the module's node."""
        from entracte.frontend.export import export_graph
        from entracte.frontend.place import same_nodes

        args = tuple(a.contiguous() for a in arguments)
        program = export_graph(self._module, args, self._backend.is_convertible)
        return same_nodes(self._module.graph, program.graph)


def _unseen(node: "Node", db: Mapping[str, float]) -> list["Node"]:
    """Operations between a node and what is known of its inputs."""
    found: dict[Any, None] = {}
    waiting = [node]
    while waiting:
        for source in waiting.pop().all_input_nodes:
            if source.op == "call_function" and source.name not in db and source not in found:
                found[source] = None
                waiting.append(source)
    return list(found)


def _seen(node: "Node", inside: Sequence["Node"], db: Mapping[str, float]) -> list["Node"]:
    """What is known of the inputs of a node and of the operations between."""
    inputs = {s: None for n in (node, *inside) for s in n.all_input_nodes}
    return [s for s in inputs if s.name in db]
