"""Host steps of a program: each runs as its row in the table of host operations says."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entracte.declare.host_ops import HOST_OPS
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
    """Run one host step; arrays by port name. Raises `RunError`: the plan may be a stranger's."""
    op = HOST_OPS.get(step.op)
    if op is None:
        raise RunError(
            f"stage {step.stage}: this runner has no host step {step.op!r}; it has "
            f"{', '.join(HOST_OPS)}"
        )
    params = dict(step.params)
    if fault := op.fault(params, inputs):
        raise RunError(f"stage {step.stage}: {fault}")
    gives = [p.name for p in op.ports(params)]
    if stray := sorted({b.feature for b in step.outputs} - set(gives)):
        raise RunError(f"stage {step.stage}: {step.op} gives {', '.join(gives)}, not {stray[0]!r}")
    return op.run(params, inputs, folder)
