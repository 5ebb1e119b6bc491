"""Operations marked `exact` give in half precision what fp32 rounded once gives, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from direct import evaluate

from entracte.reference.ops import load_table
from entracte.reference.registry import Kind

EVERY_HALF = np.arange(65536, dtype=np.uint16).view(np.float16).reshape(256, 256)
OPTIONS = {
    "clip": {"alpha": -1.5, "beta": 3.25},
    "threshold": {"alpha": 0.1},
    "leaky_relu": {"alpha": 0.3},
    "thresholded_relu": {"alpha": 0.7},
    "reduce_max": {"axes": [1]},
    "reduce_min": {"axes": [1]},
}
SEPARATE = {"max_pool", "constexpr_cast"}


def exact(arity: int) -> list[str]:
    rows = load_table().values()
    chosen = [r.type for r in rows if r.kind is Kind.EXACT and len(r.args) == arity]
    return sorted(set(chosen) - SEPARATE)


def same(kind: str, tensors: dict, options: dict | None = None) -> None:
    found, wanted = (
        evaluate(kind, tensors, options, out="fp16", policy=p) for p in ("hybrid", "round")
    )
    assert found.dtype == np.float16
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    number = ~np.isnan(found)
    np.testing.assert_array_equal(found[number], wanted[number])


@pytest.mark.parametrize("kind", exact(1))
def test_on_every_half(kind):
    same(kind, {"x": EVERY_HALF}, OPTIONS.get(kind))


@pytest.mark.parametrize("kind", exact(2))
def test_on_pairs(kind):
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 65536, (2, 300, 300)).astype(np.uint16).view(np.float16)
    same(kind, {"x": x, "y": y})
