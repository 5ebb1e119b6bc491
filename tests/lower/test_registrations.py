"""Each cure: still needed by this coremltools, and right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from entracte.lower import registrations
from entracte.lower.errors import LowerError
from entracte.lower.quiet import coremltools
from entracte.lower.registrations import CURES, exceeds_fp16, install_cures, is_convertible
from tests.lower.execute import lower, relative_error, run, torch_result

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def stock() -> dict[str, str | None]:
    """cure -> the fault that coremltools without cures shows, or None."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.lower.stock"], capture_output=True, text=True, check=True,
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.parametrize("cure", [cure.__name__ for cure in CURES])
def test_cure_is_still_needed(stock: dict[str, str | None], cure: str) -> None:
    version = coremltools().__version__
    assert stock[cure], f"coremltools {version} no longer needs {cure}: delete it and its tests"


def test_cures_are_installed_once() -> None:
    install_cures()
    before = dict(registrations._registry().name_to_func_mapping)
    install_cures()
    assert registrations._registry().name_to_func_mapping == before


def test_another_major_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registrations, "SUPPORTED_MAJOR", "8")
    with pytest.raises(LowerError, match=r"cures are written for 8.x: install"):
        install_cures.__wrapped__()


def _agrees(module: nn.Module, args: tuple[Tensor, ...], path: Path) -> None:
    lower(module, args, path / "m.mlpackage")
    found, expected = run(path / "m.mlpackage", args)[0], torch_result(module, args)
    assert relative_error(found, expected) <= 1e-6


class _Function(nn.Module):
    def __init__(self, function) -> None:  # noqa: ANN001
        super().__init__()
        self.function = function

    def forward(self, *args: Tensor) -> tuple[Tensor]:
        return (self.function(*args),)


def test_names() -> None:
    install_cures()
    for target in (
        torch.ops.aten.alias.default,
        torch.ops.aten.concatenate.default,
        torch.ops.aten.__and__.Tensor,
    ):
        assert is_convertible(target)
    assert not is_convertible(torch.ops.aten.linalg_svd.default)


def test_and_of_booleans(tmp_path: Path) -> None:
    both = _Function(lambda x, y: ((x > 0) & (y > 0)).float() * x + (x > 1).__and__(y > 1) * y)
    # Of a seed, with which some of the result is not zero: the error is relative to it.
    drawn = torch.Generator().manual_seed(0)
    pair = torch.randn(3, 4, generator=drawn), torch.randn(3, 4, generator=drawn)
    assert bool(((pair[0] > 0) & (pair[1] > 0)).any())
    _agrees(both, pair, tmp_path)


def test_new_ones(tmp_path: Path) -> None:
    _agrees(_Function(lambda x: x + x.new_ones(3, 1)), (torch.randn(3, 4),), tmp_path)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(tmp_path: Path, approximate: str) -> None:
    gelu = _Function(nn.GELU(approximate=approximate))
    _agrees(gelu, (torch.linspace(-4, 4, 64),), tmp_path)


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_attention_scale(tmp_path: Path, scale: float | None, dtype: torch.dtype) -> None:
    def attend(x: Tensor) -> Tensor:
        q = x.to(dtype)
        return functional.scaled_dot_product_attention(q, q, q, scale=scale).float()

    module, args = _Function(attend), (torch.randn(1, 2, 5, 8),)
    lower(module, args, tmp_path / "m.mlpackage")
    found, expected = run(tmp_path / "m.mlpackage", args)[0], torch_result(module, args)
    assert relative_error(found, expected) <= (1e-6 if dtype is torch.float32 else 2e-3)


def test_scalar_cast() -> None:
    from coremltools.converters.mil import Builder as mb

    install_cures()
    ops = registrations._ops()
    made = []

    @mb.program(input_specs=[mb.TensorSpec(shape=(1,))])
    def program(x):  # noqa: ANN001, ANN202
        one = mb.const(val=np.array([3], dtype=np.int32))
        stock, ops._get_inputs = ops._get_inputs, lambda *_, **__: [one]
        context = SimpleNamespace(add=lambda var, _: made.append(var))
        ops._cast(context, SimpleNamespace(name="n"), int, "int32")
        ops._get_inputs = stock
        return mb.identity(x=x)

    assert made[0].val == 3


@pytest.mark.parametrize("affine", [True, False])
def test_group_norm_of_rank_5(tmp_path: Path, affine: bool) -> None:
    norm = nn.GroupNorm(2, 4, affine=affine)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    _agrees(_Function(norm.requires_grad_(False)), (torch.randn(2, 4, 2, 3, 5),), tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {"scale_factor": 2, "mode": "nearest"},
        {"scale_factor": (1, 2, 3), "mode": "nearest"},
        {"size": (4, 9, 10), "mode": "nearest"},
        {"scale_factor": 2, "mode": "trilinear", "align_corners": False},
        {"scale_factor": (1, 2, 3), "mode": "trilinear", "align_corners": False},
        {"size": (4, 6, 10), "mode": "trilinear", "align_corners": True},
    ],
)
def test_upsampling_in_3d(tmp_path: Path, options: dict) -> None:
    module = _Function(lambda x: functional.interpolate(x, **options))
    _agrees(module, (torch.randn(2, 3, 2, 3, 5),), tmp_path)


def test_overflow_check_needs_no_memory() -> None:
    install_cures()
    value = np.zeros(1_000_000, dtype=np.float32)
    constant = SimpleNamespace(op_type="const", val=SimpleNamespace(val=value))
    var = SimpleNamespace(op=constant, is_tensor_or_scalar_of=lambda dtype: True)
    tracemalloc.start()
    assert not registrations.fp16_overflow(SimpleNamespace(inputs={"x": var}))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.1 * value.size


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(65504.0, False), (65505.0, True), (-1e6, True), (-np.inf, False), (-3.4e38, False)],
)
def test_overflow_verdict(value: float, verdict: bool) -> None:
    assert exceeds_fp16(np.array([0.0, value])) is verdict
    assert not exceeds_fp16(np.array([]))
