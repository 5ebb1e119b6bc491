"""Two functions over the same weights: which of their values are the same, or stand for the same.

A chunk of several functions has one interface, so it may be cut only where both functions have the
same values to hand on. A value is the same in both if both compute it alike from the inputs (keys
of a prompt); it stands for the same if it is what the same module returns (a block's output).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import fx

from entracte.frontend.reuse import CHANGE
from entracte.ir import Op, StageGraph
from entracte.trace.codes import Coder
from entracte.trace.flops import shape_of


@dataclass(frozen=True)
class Identities:
    """Node -> digest of its whole computation; node -> path of the module that returns it."""

    computed: Mapping[str, str]
    returned: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]


def identities(
    nodes: Sequence[fx.Node],
    input_of: Mapping[str, str],
    coder: Coder,
    spell: Callable[[str], str],
) -> Identities:
    """Of the operations of one program, in graph order, constants left out.

    Args:
        spell: weight name -> a text that is the same in both programs for equal weights.
    """
    computed = dict(input_of)
    for node in nodes:
        code = coder.code(node)
        reads = [computed[s.name] for s in node.all_input_nodes if s.name in computed]
        text = repr((code.digest, [spell(w) for w in code.weights], reads))
        computed[node.name] = hashlib.sha256(text.encode()).hexdigest()
    own = {n.name: computed[n.name] for n in nodes}
    return Identities(own, _returned(nodes), {n.name: shape_of(n) for n in nodes})


def _returned(nodes: Sequence[fx.Node]) -> dict[str, str]:
    """Values that a module hands out, of modules that hand out exactly one; and changes of
    streams, of which the same numbers stand for each other."""
    path = {n: _path(n) for n in nodes}
    escaping: dict[str, list[fx.Node]] = {}
    for node in nodes:
        readers = [path.get(user, "") for user in node.users]
        for scope in _scopes(path[node]):
            if not all(_is_within(reader, scope) for reader in readers):
                escaping.setdefault(scope, []).append(node)
    changes = {n.name: f"change {n.meta[CHANGE]}" for n in nodes if CHANGE in n.meta}
    return changes | {
        found[0].name: scope
        for scope, found in escaping.items()
        if len(found) == 1 and path[found[0]] == scope
    }


def _path(node: fx.Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    last = list(stack.values())[-1] if stack else ("",)
    return str(last[0])


def _scopes(path: str) -> list[str]:
    """The module itself and those around it, the outermost left out."""
    parts = path.split(".") if path else []
    return [".".join(parts[:i]) for i in range(1, len(parts) + 1)]


def _is_within(path: str, scope: str) -> bool:
    return path == scope or path.startswith(f"{scope}.")


def same_values(
    variant: Identities, main: Identities, value_of: Mapping[str, str]
) -> dict[str, str]:
    """Node of the variant -> the name that `main` gives the same value (`value_of` by node)."""
    found = {}
    by_computation = {digest: node for node, digest in main.computed.items()}
    by_module = {scope: node for node, scope in main.returned.items()}
    for node, digest in variant.computed.items():
        twin = by_computation.get(digest)
        twin = twin or by_module.get(variant.returned.get(node, "-"))
        if twin is not None and variant.shapes[node] == main.shapes[twin]:
            found[node] = value_of[twin]
    return found


def needed_ops(ops: Sequence[Op], outputs: set[str], given: Iterable[str]) -> tuple[Op, ...]:
    """The operations that make `outputs` from what is `given`, in order."""
    wanted, available, kept = set(outputs), set(given), []
    for op in reversed(ops):
        if op.name in wanted and op.name not in available:
            kept.append(op)
            wanted |= set(op.inputs)
    return tuple(reversed(kept))


def with_variant(part: StageGraph, variant: StageGraph | None) -> StageGraph:
    """The part with another function; cuts that only one of them allows are dropped."""
    if variant is None:
        return part
    shared = set(variant.frontiers)
    return replace(
        part,
        cuts=tuple(c for c, f in zip(part.cuts, part.frontiers, strict=True) if f in shared),
        variants=(*part.variants, variant),
    )
