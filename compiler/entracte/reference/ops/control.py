"""Conditions and loops."""

from __future__ import annotations

from typing import Any

import torch

from entracte.reference.bind import Bind
from entracte.reference.registry import Compute, Kind, op


@op("cond", "pred", Kind.RAW)
def cond(bind: Bind) -> Compute:
    """Run one of two blocks, by pred []; the results are the block's, in its shapes."""
    if len(bind.operation.blocks) != 2:
        raise bind.fail("needs two blocks")
    first, second = (bind.scope.nested(block) for block in bind.operation.blocks)
    return lambda pred: (first if bool(pred) else second)(())


@op("while_loop", "loop_vars*", Kind.RAW)
def while_loop(bind: Bind) -> Compute:
    """Run the second block on the loop variables as long as the first answers true [].

    The block makes the variables anew, in shapes of its own; the last ones are the results.
    """
    if len(bind.operation.blocks) != 2:
        raise bind.fail("needs two blocks")
    test, body = (bind.scope.nested(block) for block in bind.operation.blocks)
    single = len(bind.operation.outputs) == 1
    count_iteration = bind.scope.count_iteration

    def run(values: list[Any]) -> Any:
        while bool(torch.as_tensor(test(values))):
            count_iteration()
            result = body(values)
            values = [result] if single else list(result)
        return values[0] if single else values

    return run
