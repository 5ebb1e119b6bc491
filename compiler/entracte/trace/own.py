"""The numbers that a module holds itself: which of them a stage uses, and what they are.

Three kinds of tensors reach an exported program. A checkpoint gives the parameters and the
buffers of the state dict, if the graph names one; else the module's own values are the weights.
Everything else (tables that are not saved, literals) can only be the module's own. What is used
and comes from nowhere is refused here, while it has a name: a seed would draw it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from entracte.errors import ConfigError
from entracte.frontend.extract import constants_of, has_data
from entracte.trace.exported import Exported
from entracte.trace.numbers import (
    check_finite,
    has_nan,
    module_state,
    saved_names,
    tensor_digest,
)

if TYPE_CHECKING:
    from entracte.graphs.spec import Graph
    from entracte.ir import Stage

__all__ = ["check_numbers", "own_numbers"]


def own_numbers(stage: Stage, graph: Graph, used: frozenset[str]) -> dict[str, str]:
    """Name -> digest of the used weights whose values the module gives: all where there is no
    checkpoint; else the buffers that hold data, for when nobody gives others."""
    state, saved = module_state(graph.module), saved_names(graph.module)
    found = {}
    for name in sorted(used & saved & state.keys()):
        is_theirs = graph.checkpoint is not None and isinstance(state[name], torch.nn.Parameter)
        if is_theirs or not has_data(state[name]):
            continue
        is_buffer = not isinstance(state[name], torch.nn.Parameter)
        if graph.checkpoint is None:
            check_finite(_where(stage), name, state[name], endless=is_buffer)
        elif has_nan(state[name]):
            continue  # never filled: a checkpoint must give it
        found[name] = tensor_digest(state[name])
    return found


def _where(stage: Stage) -> str:
    return f"stage {stage.name}: graph {stage.op}"


def check_numbers(stage: Stage, graph: Graph, functions: Sequence[Exported]) -> None:
    """Every used tensor has its values from somewhere, and tables hold numbers. Raises
    `ConfigError` with its name."""
    state, saved = module_state(graph.module), saved_names(graph.module)
    lacking = {}
    for function in functions:
        for name in function.used - function.held_names:
            is_saved = name in saved
            if not is_saved or (graph.checkpoint is None and not has_data(state.get(name))):
                lacking[name] = is_saved
    if lacking:
        raise ConfigError(_without_data(stage, graph, lacking))
    for function in functions:
        tables = constants_of(function.program)
        for name in sorted(function.held.keys() & tables.keys()):
            if function.weight_name(name) in function.used:
                check_finite(_where(stage), name, tables[name])
    for function in functions[1:]:
        _check_shared(stage, graph, function)


def _without_data(stage: Stage, graph: Graph, lacking: Mapping[str, bool]) -> str:
    """What is said of used tensors without data; True for those of the state dict."""
    is_unnamed = graph.checkpoint is None and any(lacking.values())
    names = sorted(lacking, key=lambda n: (lacking[n] != is_unnamed, n))
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    why = (
        "the graph names no checkpoint that would give it: build the module with its numbers, or "
        "name `checkpoint` in its Graph"
        if is_unnamed
        else "no checkpoint gives what is not in the module's state dict: build the module with "
        "`on_meta` of `entracte.graphs`, which keeps tables real, not in `torch.device('meta')`"
    )
    return (
        f"stage {stage.name}: graph {stage.op} computes with {shown}: no data is there (it is on "
        f"the meta device), and {why}"
    )


def _check_shared(stage: Stage, graph: Graph, function: Exported) -> None:
    """A variant has the weights of `main`, by value where no checkpoint gives both theirs."""
    if graph.checkpoint is not None:
        return
    ours, theirs = module_state(graph.module), module_state(graph.variants[function.name])
    for name in sorted((function.used - function.held_names) & theirs.keys() & ours.keys()):
        if theirs[name] is ours[name] or not has_data(theirs[name]):
            continue
        if tensor_digest(theirs[name]) != tensor_digest(ours[name]):
            raise ConfigError(
                f"stage {stage.name}: graph {stage.op}: variant {function.name!r} holds other "
                f"numbers for {name!r} than `main`; they share their weights: use the same tensors"
            )
