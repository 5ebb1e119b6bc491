"""LSTM, GRU and RNN, written out step by step: a compiled graph has no loops of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from entracte.graphs.onnx.node import Compute, Node, Rule

__all__ = ["ROWS"]

_MOST_STEPS = 512
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "softsign": lambda x: x / (1 + torch.abs(x)),
    "softplus": F.softplus,
}


@dataclass(frozen=True)
class _Cell:
    """What one direction computes."""

    width: int
    functions: Sequence[Callable[[Tensor], Tensor]]
    linear_before_reset: bool
    backward: bool
    clip: Callable[[Tensor], Tensor]


Weights = tuple[Tensor, Tensor, Tensor | None]
"""Of the input, of the state; both biases, one after the other."""
Advance = Callable[[_Cell, Tensor, Sequence[Tensor], Weights], list[Tensor]]
"""(cell, the input's part of all gates, state, weights) -> the next state; its first is the
output."""


def _lstm_step(
    cell: _Cell, given: Tensor, state: Sequence[Tensor], weights: Weights
) -> list[Tensor]:
    hidden, kept = state
    gates = given + hidden @ weights[1].T
    i, o, f, c = (cell.clip(g) for g in gates.split(cell.width, -1))
    first, second, third = cell.functions
    kept = first(f) * kept + first(i) * second(c)
    return [first(o) * third(kept), kept]


def _gru_step(
    cell: _Cell, given: Tensor, state: Sequence[Tensor], weights: Weights
) -> list[Tensor]:
    (hidden,), width = state, cell.width
    recurrent, bias = weights[1], weights[2]
    after = None if bias is None else bias[3 * width :]
    first, second = cell.functions
    gates = F.linear(hidden, recurrent[: 2 * width], None if after is None else after[: 2 * width])
    z, r = (first(cell.clip(g)) for g in (given[..., : 2 * width] + gates).split(width, -1))
    last = None if after is None else after[2 * width :]
    if cell.linear_before_reset:
        inner = r * F.linear(hidden, recurrent[2 * width :], last)
    else:
        inner = F.linear(r * hidden, recurrent[2 * width :], last)
    new = second(cell.clip(given[..., 2 * width :] + inner))
    return [(1 - z) * new + z * hidden]


def _rnn_step(
    cell: _Cell, given: Tensor, state: Sequence[Tensor], weights: Weights
) -> list[Tensor]:
    return [cell.functions[0](cell.clip(given + state[0] @ weights[1].T))]


def _row(advance: Advance, gates: int, defaults: tuple[str, ...], states: int) -> Rule:
    def row(node: Node) -> Compute:
        cells = _cells(node, defaults)
        node.only("input_forget", 0)
        node.only("layout", 0)
        steps, batch = node.shape()[:2]
        _check(node, gates, cells[0].width, steps, batch)
        adds_state = gates != _GRU_GATES

        def compute(
            x: Tensor,
            w: Tensor,
            r: Tensor,
            b: Tensor | None = None,
            _: None = None,
            *initial: Tensor | None,
        ) -> tuple[Tensor, ...]:
            first = [*initial, *(None,) * states][:states]
            made = []
            for d, cell in enumerate(cells):
                weights = (w[d], r[d], None if b is None else b[d])
                zeros = x.new_zeros(batch, cell.width)
                state = [zeros if s is None else s[d] for s in first]
                given = _given(x, weights, gates * cell.width, adds_state)
                made.append(_run(cell, advance, given, state, weights))
            rows, ends = zip(*made, strict=True)
            return (torch.stack(rows, 1), *(torch.stack(e) for e in zip(*ends, strict=True)))

        return compute

    return row


def _run(
    cell: _Cell, advance: Advance, given: Tensor, state: list[Tensor], weights: Weights
) -> tuple[Tensor, list[Tensor]]:
    """The outputs of all steps, [steps, batch, width], and the last state."""
    made: list[Tensor] = []
    steps = range(given.shape[0])
    for t in reversed(steps) if cell.backward else steps:
        state = advance(cell, given[t], state, weights)
        made.append(state[0])
    return torch.stack(made[::-1] if cell.backward else made), state


_GRU_GATES = 3


def _given(x: Tensor, weights: Weights, width: int, adds_state: bool) -> Tensor:
    """The input's part of the gates of all steps, with the biases that do not wait for the
    state."""
    w, _, bias = weights
    if bias is None:
        return F.linear(x, w)
    return F.linear(x, w, bias[:width] + bias[width:] if adds_state else bias[:width])


def _cells(node: Node, defaults: tuple[str, ...]) -> list[_Cell]:
    direction = node.attribute("direction")
    both = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}
    if direction not in both:
        node.fail(f"direction={direction!r}")
    backward = both[direction]
    names = node.attribute("activations")
    if "activations" not in node.attributes:
        names = list(defaults) * len(backward)
    for name in ("activation_alpha", "activation_beta"):
        if node.attribute(name):
            node.fail(f"{name} is not carried out")
    if len(names) != len(defaults) * len(backward) or any(
        n.lower() not in _ACTIVATIONS for n in names
    ):
        node.fail(f"activations {names}; known: {', '.join(sorted(_ACTIVATIONS))}")
    functions = [_ACTIVATIONS[n.lower()] for n in names]
    most = node.attribute("clip")
    width = node.attribute("hidden_size", node.shape(2)[-1])
    before = bool(node.attribute("linear_before_reset", 0))
    each = len(defaults)
    return [
        _Cell(
            width,
            functions[d * each : (d + 1) * each],
            before,
            backward[d],
            (lambda x: x) if most is None else (lambda x: torch.clamp(x, -most, most)),
        )
        for d in range(len(backward))
    ]


def _check(node: Node, gates: int, width: int, steps: int, batch: int) -> None:
    if node.shape(2)[-2:] != (gates * width, width):
        node.fail(f"its state's weights have the shape {node.shape(2)} for a width of {width}")
    if steps > _MOST_STEPS:
        node.fail(f"has {steps} steps; at most {_MOST_STEPS} are written out: run it in a loop")
    if node.has(4) and node.ints(4) != [steps] * batch:
        node.fail(f"sequence_lens other than {steps} are not carried out")
    if node.has(7):
        node.fail("peepholes are not carried out")


ROWS: dict[str, Rule] = {
    "GRU": _row(_gru_step, _GRU_GATES, ("Sigmoid", "Tanh"), 1),
    "LSTM": _row(_lstm_step, 4, ("Sigmoid", "Tanh", "Tanh"), 2),
    "RNN": _row(_rnn_step, 1, ("Tanh",), 1),
}
