"""Host steps of a program: each runs as its row in the table of host operations says."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entracte.declare.host_ops import HOST_OPS, Place
from entracte.errors import RunError
from entracte.ir import HostStep

if TYPE_CHECKING:
    import numpy as np


def run_host_step(
    step: HostStep,
    inputs: Mapping[str, Any],
    folder: Path,
    iteration: int = 0,
    note: Callable[[str], None] = lambda _: None,
) -> "dict[str, np.ndarray]":
    """Run one host step; arrays by port name. Raises `RunError`: the plan may be a stranger's.

    Args:
        inputs: texts and numbers as given, tensors as numpy arrays.
        iteration: of the loop that the step is in.
        note: told what whoever runs the plan should know, a line each.
    """
    op = HOST_OPS.get(step.op)
    if op is None:
        raise RunError(
            f"stage {step.stage}: this runner has no host step {step.op!r}; it has "
            f"{', '.join(HOST_OPS)}"
        )
    params = dict(step.params)
    if fault := op.fault(params, inputs):
        raise RunError(f"stage {step.stage}: {fault}")
    try:
        made = op.run(params, inputs, Place(folder, iteration, _of(step, note)))
    except RunError as error:
        raise RunError(f"stage {step.stage}: {error}") from None
    if stray := sorted({b.feature for b in step.outputs} - made.keys()):
        raise RunError(f"stage {step.stage}: {step.op} gives {', '.join(made)}, not {stray[0]!r}")
    return made


def _of(step: HostStep, note: Callable[[str], None]) -> Callable[[str], None]:
    return lambda text: note(f"stage {step.stage}: {text}")
