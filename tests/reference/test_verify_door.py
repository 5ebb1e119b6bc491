"""`plan verify` judges a package by what the public door gives for recorded inputs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb

from entracte.verify.verify import _score


class Source:
    """The torch source's part: exp in fp32, or something else."""

    def __init__(self, function) -> None:
        self.function = function

    def load(self, package, folder):
        return self.function

    def call(self, handle, function, inputs):
        (x,) = inputs.values()
        return {"y": handle(x), "total": np.float32(handle(x).sum())}


@pytest.mark.parametrize("function, passes", [(np.exp, True), (np.sinh, False)])
def test_a_package_is_scored_against_its_source(make, function, passes):
    def build(x):
        y = mb.exp(x=x, name="y")
        return y, mb.reduce_sum(x=y, axes=[0], name="total")

    path = make.mil(build, [((4,), "fp32")])
    package = SimpleNamespace(
        chunk="c", path=path.name, precision="fp32", compression="none", arrays=None
    )
    given = (np.linspace(0, 1, 4, dtype=np.float32), np.ones(4, np.float32))
    samples = [("main", {"x0": x}) for x in given]
    score = _score(package, path.parent, Source(function), samples)
    assert score.calls == 2 and score.passed is passes
    assert (score.max_error < 1e-5) is passes
