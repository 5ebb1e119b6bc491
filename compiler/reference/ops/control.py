"""Conditions and loops."""

from __future__ import annotations

from typing import Any

import torch

from compiler.reference.bind import Bind
from compiler.reference.registry import Kind, Run, op

MAX_ITERATIONS = 1_000_000
"""A loop that runs longer is taken for one that never ends."""


@op("cond", "pred", Kind.RAW)
def cond(bind: Bind) -> Run:
    """Run one of two blocks."""
    if len(bind.operation.blocks) != 2:
        raise bind.fail("needs two blocks")
    first, second = (bind.compiler.nested(block) for block in bind.operation.blocks)
    return lambda pred: (first if bool(pred) else second)(())


@op("while_loop", "loop_vars*", Kind.RAW)
def while_loop(bind: Bind) -> Run:
    """Run the second block as long as the first answers true."""
    if len(bind.operation.blocks) != 2:
        raise bind.fail("needs two blocks")
    test, body = (bind.compiler.nested(block) for block in bind.operation.blocks)
    single = len(bind.operation.outputs) == 1

    def run(values: list[Any]) -> Any:
        for _ in range(MAX_ITERATIONS):
            if not bool(torch.as_tensor(test(values))):
                return values[0] if single else values
            result = body(values)
            values = [result] if single else list(result)
        raise ValueError(f"did not end after {MAX_ITERATIONS} iterations")

    return run
