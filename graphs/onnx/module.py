"""A model as a torch module: one child module for each node, run in the file's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from entracte.graphs.onnx.node import Compute

__all__ = ["OnnxModule", "Step", "distinct"]


@dataclass(frozen=True)
class Step:
    """A node that depends on an input: what it computes, from which values, and which it makes."""

    name: str
    """As a child module: what messages of the compiler call it."""
    compute: Compute
    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]


class _Operation(nn.Module):
    """A step. Its name and line are what a refusal of the converter names."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self._compute = step.compute

    def forward(self, *inputs: Tensor | None) -> Tensor | tuple[Tensor, ...]:
        return self._compute(*inputs)


class OnnxModule(nn.Module):
    """Tensors in, tensors out: rank 0 is (1,) at the edge, and truth values are numbers there.

    Args:
        inputs: (key, shape, dtype) of each input, as the model's operations see it.
        constants: key -> (name, numbers) of the constants that steps read.
        steps: in order.
        outputs: keys of the results.
        digest: of all that decides what the steps compute beside `constants`. It is part of the
            module's text, by which the compiler tells modules apart.
    """

    def __init__(
        self,
        inputs: Sequence[tuple[int, tuple[int, ...], torch.dtype]],
        constants: Mapping[int, tuple[str, Tensor]],
        steps: Sequence[Step],
        outputs: Sequence[int],
        digest: str = "",
    ) -> None:
        super().__init__()
        self._digest = digest
        self._inputs, self._outputs = tuple(inputs), tuple(outputs)
        self._steps = [(name, step) for name, step in zip(_step_names(steps), steps, strict=True)]
        for name, step in self._steps:
            self.add_module(name, _Operation(step))
        self._held = dict(
            zip(constants, distinct([f"w_{n}" for n, _ in constants.values()]), strict=True)
        )
        for key, name in self._held.items():
            self._hold(name, constants[key][1].contiguous())

    def _hold(self, name: str, numbers: Tensor) -> None:
        """Weights as such, so that equal blocks are equal programs; what a program is made with
        (positions, single numbers, masks) as tables that are in no checkpoint."""
        is_table = not numbers.is_floating_point() or numbers.numel() == 1
        if is_table or bool(torch.isinf(numbers).any()):
            self.register_buffer(name, numbers, persistent=False)
        else:
            self.register_parameter(name, nn.Parameter(numbers, requires_grad=False))

    def extra_repr(self) -> str:
        """What tells this module from others of the same operations."""
        return f"{self._digest} {self._inputs} {self._outputs}"

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The outputs in order."""
        values: dict[int | None, Tensor | None] = {None: None}
        values |= {key: getattr(self, name) for key, name in self._held.items()}
        for (key, shape, dtype), given in zip(self._inputs, inputs, strict=True):
            values[key] = _inner(given, shape, dtype)
        for name, step in self._steps:
            made = getattr(self, name)(*(values[key] for key in step.inputs))
            results = made if isinstance(made, tuple) else (made,)
            values |= dict(zip(step.outputs, results, strict=False))
        return tuple(_outer(values[key]) for key in self._outputs)


def _inner(given: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    value = given if shape else given.reshape(())
    return value != 0 if dtype is torch.bool else value.to(dtype)


def _outer(value: Tensor | None) -> Tensor:
    assert value is not None
    value = value if value.dim() else value.reshape(1)
    return value if value.is_floating_point() else value.to(torch.int32)


def _step_names(steps: Sequence[Step]) -> list[str]:
    return [f"{index}_{step.name.replace('.', '_')}" for index, step in enumerate(steps)]


def distinct(names: Sequence[str]) -> list[str]:
    """Letters, digits and _, a letter or _ first; a name that comes again gets _2, _3, ..."""
    taken: set[str] = set()
    made = []
    for name in names:
        plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in name) or "_"
        plain = f"_{plain}" if plain[0].isdigit() else plain
        number, free = 2, plain
        while free in taken:
            free, number = f"{plain}_{number}", number + 1
        taken.add(free)
        made.append(free)
    return made
