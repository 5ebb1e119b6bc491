"""Inputs for a run that only compares: what nobody gave and what has no default is made up.

The same on every machine, and of the range that a user's would have: colours of all kinds, quiet
noise for sound, normal numbers for tensors.
"""

import zlib
from collections.abc import Mapping
from typing import Any

from entracte.ir import DType, Input, Plan


def with_drawn(plan: Plan, inputs: Mapping[str, object]) -> dict[str, object]:
    """What was given, and something for each input of the plan that would be missing."""
    missing = [i for i in plan.program.inputs if i.name not in inputs and i.default is None]
    return {i.name: drawn(i) for i in missing} | dict(inputs)


def drawn(i: Input) -> Any:
    """Something that an input may be."""
    if i.port is not None:
        return _array(i)
    if i.kind == "text":
        return "a"
    if i.kind == "choice" and i.choices:
        return 0
    ends = [end for end in (i.least, i.most) if end is not None]
    value = ends[0] if ends else 1.0
    return value if i.kind == "number" else int(value)


def _array(i: Input) -> Any:
    import numpy as np

    assert i.port is not None
    generator = np.random.default_rng(zlib.crc32(i.name.encode()))
    if i.port.dtype is DType.INT32:
        # The index of a table of any size.
        return np.zeros(i.port.shape, np.int32)
    if i.kind in ("image", "video"):
        return generator.uniform(i.low, i.high, i.port.shape).astype(np.float32)
    scale = 0.1 if i.kind == "audio" else 1.0
    return (generator.standard_normal(i.port.shape) * scale).astype(np.float32)
