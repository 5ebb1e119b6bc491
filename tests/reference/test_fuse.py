"""GroupNorm found in its pieces: the same values, fewer steps, and only where nothing rounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from coremltools.converters.mil.mil import Builder as mb
from packages import relative

from entracte.reference import load


def alone(model, inputs):
    """The outputs with every operation done by itself, and the operations."""
    seen = []
    model.on_op = lambda name, kind, results: seen.append(kind)
    outputs = model.predict(inputs)
    model.on_op = None
    return [v.numpy() for v in outputs.values()], seen


def together(model, inputs):
    """The outputs as they are computed when nobody looks, and the number of steps."""
    outputs = [v.numpy() for v in model.predict(inputs).values()]
    code = model._code
    return outputs, len(code.instructions if code.quick is None else code.quick)


def affine(module):
    torch.manual_seed(1)
    for norm in module.modules():
        if isinstance(norm, torch.nn.GroupNorm):
            norm.weight.data = torch.randn(norm.num_channels)
            norm.bias.data = torch.randn(norm.num_channels)
    return module


class Norm3d(torch.nn.Module):
    """Over time, height and width, on rank 4 as the converter needs it."""

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.GroupNorm(3, 6)

    def forward(self, x):
        return self.norm(x.flatten(3)).reshape(x.shape) * 2


NORMS = {
    "2-D": (torch.nn.GroupNorm(4, 8, eps=1e-6), (2, 8, 5, 7)),
    "one group": (torch.nn.GroupNorm(1, 6), (1, 6, 4, 4)),
    "instance": (torch.nn.GroupNorm(6, 6), (3, 6, 4, 4)),
    "sequence": (torch.nn.GroupNorm(2, 6), (2, 6, 9)),
    "3-D": (Norm3d(), (2, 6, 3, 4, 5)),
    "long rows": (torch.nn.GroupNorm(2, 4), (1, 4, 128, 96)),
}


@pytest.mark.parametrize("plain", [False, True], ids=["affine", "plain"])
@pytest.mark.parametrize("name", sorted(NORMS))
def test_an_fp32_norm_is_one_step_with_the_same_values(make, name, plain):
    module, shape = NORMS[name]
    module = module if plain else affine(module)
    for offset in (0.0, 1000.0):
        x = torch.randn(shape) + offset
        with load(make.traced(module, (x,), 18, "fp32")) as model:
            wanted, seen = alone(model, {"x0": x})
            found, steps = together(model, {"x0": x})
        assert steps <= len(seen) - 8
        # Only the order of summing squares differs and that scale and deviation are joined first;
        # a mean of 1000 deviations takes no digit more.
        assert relative(found[0], wanted[0]) <= 1e-6


def test_first_and_later_calls_are_the_same_bits(make):
    x = torch.randn(1, 8, 16, 16)
    with load(make.traced(affine(torch.nn.GroupNorm(4, 8)), (x,), 18, "fp32")) as model:
        first, later = (model.predict({"x0": x})["y0"] for _ in range(2))
    assert torch.equal(first, later)


def test_our_own_lowering_is_recognised(tmp_path):
    from entracte.lower.convert import Conversion, convert_chunk
    from entracte.lower.ports import DType, Port

    class Tuple(torch.nn.Sequential):
        def forward(self, x):
            return (super().forward(x),)

    module, x = (
        Tuple(affine(torch.nn.GroupNorm(4, 8)), torch.nn.SiLU()).eval(),
        torch.randn(1, 8, 6, 6),
    )
    path = tmp_path / "norm.mlpackage"
    convert_chunk(
        module, (x,), inputs=[Port("x", (1, 8, 6, 6), DType.FP32)],
        outputs=[Port("y", (1, 8, 6, 6), DType.FP32)],
        how=Conversion("fp32", "iOS18", "none"), path=path,
    )  # fmt: skip
    with load(path) as model:
        wanted, seen = alone(model, {"x": x})
        found, steps = together(model, {"x": x})
        assert "batch_norm" not in seen and steps == 2, "the norm and silu"
        with torch.no_grad():
            assert relative(found[0], module(x)[0]) <= 1e-6 >= relative(found[0], wanted[0])


@pytest.mark.parametrize("policy", ["hybrid", "round"])
def test_an_fp16_norm_keeps_every_rounding_and_its_overflow(make, policy):
    module = affine(torch.nn.GroupNorm(2, 4))
    path = make.traced(module, (torch.randn(1, 4, 8, 8),))
    with load(path, policy=policy) as model:
        assert model._code.quick is None
        # Deviations of about 400: their squares leave fp16, the deviation is infinite, 0 is left.
        x = {"x0": torch.randn(1, 4, 8, 8) * 400}
        found, _ = together(model, x)
        bias = module.bias.detach().half().float().reshape(1, 4, 1, 1).expand(1, 4, 8, 8)
        np.testing.assert_allclose(found[0], bias, atol=2e-3)


def test_an_fp16_norm_is_one_step_under_the_fp32_policy(make):
    x = torch.randn(1, 4, 8, 8) * 400
    with load(make.traced(affine(torch.nn.GroupNorm(2, 4)), (x,)), policy="fp32") as model:
        wanted, seen = alone(model, {"x0": x})
        found, steps = together(model, {"x0": x})
    assert steps <= len(seen) - 8 and relative(found[0], wanted[0]) <= 1e-6


def test_values_at_the_edges_are_the_same(make):
    x = torch.randn(1, 4, 4, 4)
    with load(make.traced(affine(torch.nn.GroupNorm(2, 4)), (x,), 18, "fp32")) as model:
        for edge in (torch.inf, torch.nan, 1e30, 0.0):
            given = x.clone() if edge else torch.zeros_like(x)
            given[0, 0, 0, 0] = edge
            wanted, _ = alone(model, {"x0": given})
            found, _ = together(model, {"x0": given})
            np.testing.assert_allclose(found[0], wanted[0], rtol=1e-5, atol=1e-6)


def normed(x, *, axes=(2, 3, 4), other=None, twice=False):
    """The pieces by hand, with one of them not as it should be."""
    y = mb.reshape(x=x, shape=(1, 2, 2, 4, 4))
    centred = mb.sub(x=y, y=mb.reduce_mean(x=y, axes=axes, keep_dims=True))
    squares = mb.square(x=centred if other is None else other(y))
    spread = mb.reduce_mean(x=squares, axes=axes, keep_dims=True)
    root = mb.sqrt(x=mb.add(x=spread, y=np.float32(1e-5)))
    result = mb.reshape(x=mb.real_div(x=centred, y=root), shape=(1, 4, 4, 4))
    return (result, mb.abs(x=centred)) if twice else result


@pytest.mark.parametrize(
    "options, fused",
    [
        ({}, True),
        ({"axes": (2, 3)}, False),
        ({"axes": (1, 2, 3, 4)}, False),
        ({"other": lambda y: y}, False),
        ({"twice": True}, False),
    ],
    ids=["as it is", "axes left out", "group axis too", "another square", "read elsewhere"],
)
def test_only_the_whole_pattern_is_taken(make, options, fused):
    path = make.mil(lambda x: normed(x, **options), [((1, 4, 4, 4), "fp32")])
    x = {"x0": np.random.default_rng(0).standard_normal((1, 4, 4, 4), np.float32)}
    with load(path) as model:
        wanted, _ = alone(model, x)
        found, _ = together(model, x)
        assert (model._code.quick is not None) is fused
    for one, other in zip(found, wanted, strict=True):
        assert relative(one, other) <= 1e-6


def test_a_scale_that_is_not_per_channel_stays_outside(make):
    wide = np.random.default_rng(1).standard_normal((1, 4, 4, 4)).astype(np.float32)

    path = make.mil(lambda x: mb.mul(x=normed(x), y=wide), [((1, 4, 4, 4), "fp32")])
    x = {"x0": np.random.default_rng(0).standard_normal((1, 4, 4, 4), np.float32)}
    with load(path) as model:
        wanted, _ = alone(model, x)
        found, steps = together(model, x)
    assert steps == 2 and relative(found[0], wanted[0]) <= 1e-6


def test_the_static_peak_bounds_the_fused_run(make):
    x = torch.randn(1, 8, 32, 32)
    with load(make.traced(affine(torch.nn.GroupNorm(4, 8)), (x,), 18, "fp32")) as model:
        model.predict({"x0": x})
        assert 0 < model.observed_peak_bytes <= model.activation_peak_bytes
