"""Recurrent cells, stepped in Python: reference semantics, not speed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from entracte.reference.bind import Bind
from entracte.reference.registry import Compute, op

Maybe = torch.Tensor | None
Cell = Callable[[torch.Tensor, Any], Any]

_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "linear": lambda x: x,
    "hard_sigmoid": lambda x: torch.clamp(0.2 * x + 0.5, 0, 1),
    "sigmoid_hard": lambda x: torch.clamp(0.2 * x + 0.5, 0, 1),
    "scaled_tanh": torch.tanh,
}
"""The parametrised ones take Core ML's defaults: alpha 0.2, beta 0.5; alpha 1, beta 1."""


def _activation(bind: Bind, name: str, default: str) -> Callable[[torch.Tensor], torch.Tensor]:
    chosen = bind.const(name, default).lower()
    if chosen not in _ACTIVATIONS:
        raise bind.fail(f"unknown {name} {chosen!r}")
    return _ACTIVATIONS[chosen]


def _scan(x: torch.Tensor, state: Any, cell: Cell, backwards: bool) -> tuple[torch.Tensor, Any]:
    """Run a cell over [s, b, i]; outputs [s, b, h] in the order of their computation."""
    rows: list[torch.Tensor] = []
    for row in reversed(x.unbind(0)) if backwards else x.unbind(0):
        state = cell(row, state)
        rows.append(state[0])
    return torch.stack(rows), state


def _pick(sequence: torch.Tensor, last: torch.Tensor, whole: bool) -> torch.Tensor:
    return sequence if whole else last[None]


@op("rnn", "x initial_h weight_ih weight_hh bias?")
def rnn(bind: Bind) -> Compute:
    """h = activation(W_ih x + W_hh h + b).

    x [s, b, i], h [b, h], W_ih [h, i], W_hh [h, h], bias [h]: (every h [s, b, h], or [1, b, h] of
    the last one; last h [b, h]).
    """
    activate = _activation(bind, "activation", "tanh")
    whole, backwards = bind.const("output_sequence", False), _backwards(bind)

    def run(
        x: torch.Tensor, h: torch.Tensor, w_ih: torch.Tensor, w_hh: torch.Tensor, bias: Maybe
    ) -> tuple[torch.Tensor, ...]:
        def cell(row: torch.Tensor, state: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
            mixed = functional.linear(row, w_ih, bias) + functional.linear(state[0], w_hh)
            return (activate(mixed),)

        sequence, (last,) = _scan(x, (h,), cell, backwards)
        return _pick(sequence, last, whole), last

    return run


def _backwards(bind: Bind) -> bool:
    direction: str = bind.const("direction", "forward")
    if direction not in ("forward", "reverse"):
        raise bind.fail(f"unknown direction {direction!r}")
    return direction == "reverse"


@op("gru", "x initial_h weight_ih weight_hh bias? input_bias?")
def gru(bind: Bind) -> Compute:
    """Gated recurrent unit; gates in the order reset, candidate, update.

    x [s, b, i], h [b, h], weight_ih [3h, i], weight_hh [3h, h], biases [3h]: (every h [s, b, h], or
    [1, b, h] of the last one; last h [b, h]).
    """
    gate = _activation(bind, "recurrent_activation", "sigmoid")
    activate = _activation(bind, "activation", "tanh")
    whole, backwards = bind.const("output_sequence", False), _backwards(bind)
    reset_after = bind.const("reset_after", False)

    def run(
        x: torch.Tensor, h: torch.Tensor, w_ih: torch.Tensor, w_hh: torch.Tensor,
        bias: Maybe, input_bias: Maybe,
    ) -> tuple[torch.Tensor, ...]:  # fmt: skip
        size = h.shape[-1]
        b = w_hh.new_zeros(3 * size) if bias is None else bias
        b_r, b_n, b_z = torch.split(b, size)
        w_r, w_n, w_z = torch.split(w_hh, size)

        def cell(row: torch.Tensor, state: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
            (old,) = state
            x_r, x_n, x_z = torch.split(functional.linear(row, w_ih, input_bias), size, -1)
            reset = gate(x_r + functional.linear(old, w_r, b_r))
            update = gate(x_z + functional.linear(old, w_z, b_z))
            if reset_after:
                new = activate(x_n + reset * functional.linear(old, w_n, b_n))
            else:
                new = activate(x_n + functional.linear(reset * old, w_n, b_n))
            return ((1 - update) * new + update * old,)

        sequence, (last,) = _scan(x, (h,), cell, backwards)
        return _pick(sequence, last, whole), last

    return run


class _Lstm:
    """One direction of an LSTM; gates in the order input, forget, output, candidate."""

    def __init__(self, bind: Bind) -> None:
        self.gate = _activation(bind, "recurrent_activation", "sigmoid")
        self.candidate = _activation(bind, "cell_activation", "tanh")
        self.activate = _activation(bind, "activation", "tanh")
        self.clip = bind.const("clip")

    def __call__(
        self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor, weights: tuple[Maybe, ...],
        backwards: bool,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
        w_ih, w_hh, bias, peephole = weights
        assert w_ih is not None and w_hh is not None, "checked at load"
        peeps = (None,) * 3 if peephole is None else torch.split(peephole, h.shape[-1])

        def peep(value: torch.Tensor, cell: torch.Tensor, weight: Maybe) -> torch.Tensor:
            return self.gate(value if weight is None else value + weight * cell)

        def cell(row: torch.Tensor, state: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            old_h, old_c = state
            mixed = functional.linear(row, w_ih, bias) + functional.linear(old_h, w_hh)
            i, f, o, z = torch.split(mixed, old_h.shape[-1], -1)
            z = self.candidate(z)
            new_c = peep(f, old_c, peeps[1]) * old_c + peep(i, old_c, peeps[0]) * z
            if self.clip is not None:
                new_c = new_c.clamp(-self.clip, self.clip)
            return peep(o, new_c, peeps[2]) * self.activate(new_c), new_c

        sequence, (last_h, last_c) = _scan(x, (h, c), cell, backwards)
        return sequence, last_h, last_c


@op("lstm", "x initial_h initial_c weight_ih weight_hh bias? peephole? "
            "weight_ih_back? weight_hh_back? bias_back? peephole_back?")  # fmt: skip
def lstm(bind: Bind) -> Compute:
    """Long short-term memory in one or both directions.

    x [s, b, i], h and c [b, h], weight_ih [4h, i], weight_hh [4h, h], bias [4h], peephole [3h]:
    (every h [s, b, h], or [1, b, h] of the last one; last h and last c [b, h]). Of two directions
    h, c and the results are 2h wide, the forward one first; each has its own weights.

    Rows of the initial state beyond the batch are not read: Apple's packed-sequence tests convert
    to such programs and expect Core ML to run them.
    """
    direction = bind.const("direction", "forward")
    whole = bind.const("output_sequence", False)
    step = _Lstm(bind)
    if direction not in ("forward", "reverse", "bidirectional"):
        raise bind.fail(f"unknown direction {direction!r}")
    if direction == "bidirectional" and not bind.has("weight_hh_back"):
        raise bind.fail("needs weights for the backward direction")

    def run(
        x: torch.Tensor, h: torch.Tensor, c: torch.Tensor, *weights: Maybe
    ) -> tuple[torch.Tensor, ...]:
        h, c = h[: x.shape[1]], c[: x.shape[1]]
        if direction != "bidirectional":
            sequence, last_h, last_c = step(x, h, c, weights[:4], direction == "reverse")
            return _pick(sequence, last_h, whole), last_h, last_c
        size = h.shape[-1] // 2
        there = step(x, h[:, :size], c[:, :size], weights[:4], False)
        back = step(x, h[:, size:], c[:, size:], weights[4:], True)
        # Of two directions the outputs are in the order of time, unlike those of a reverse one.
        back = (back[0].flip(0), *back[1:])
        sequence, last_h, last_c = (torch.cat(p, -1) for p in zip(there, back, strict=True))
        return _pick(sequence, last_h, whole), last_h, last_c

    return run
