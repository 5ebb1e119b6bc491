"""Shapes, numbers and axes that the property tests draw."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

settings.register_profile(
    "reference", max_examples=40, deadline=None, database=None, derandomize=True
)
settings.load_profile("reference")

NUMBERS = st.floats(-100, 100, width=16)
SPECIAL = st.one_of(NUMBERS, st.sampled_from([0.0, -0.0, np.inf, -np.inf, np.nan, 65504.0, 6e-8]))
SHAPES = hnp.array_shapes(min_dims=1, max_dims=5, min_side=1, max_side=4)
ANY_SHAPES = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4)


def arrays(shape, dtype=np.float32, elements=NUMBERS):
    return hnp.arrays(dtype, shape, elements=elements)


def any_sign(axis: int, rank: int, data: st.DataObject) -> int:
    """The same axis, counted from either end."""
    return axis - rank if data.draw(st.booleans()) else axis


@st.composite
def with_axes(draw):
    x = draw(arrays(draw(SHAPES)))
    axes = draw(st.lists(st.integers(0, x.ndim - 1), min_size=1, unique=True))
    return x, [a - x.ndim if draw(st.booleans()) else a for a in axes]
