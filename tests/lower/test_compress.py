"""Compressed packages: weights only, and exactly torch on the decompressed weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from entracte.lower.compress import palette_of
from tests.lower.execute import lower, relative_error, run, torch_result
from tests.lower.models import CASES

SCHEMES = [
    ("int8", "iOS17", "constexpr_affine_dequantize", 1.02),
    ("int8", "iOS18", "constexpr_blockwise_shift_scale", 1.02),
    ("palette8", "iOS17", "constexpr_lut_to_dense", 1.05),
    ("palette6", "iOS17", "constexpr_lut_to_dense", 0.80),
    ("palette4", "iOS18", "constexpr_lut_to_dense", 0.55),
    ("int4_block32", "iOS18", "constexpr_blockwise_shift_scale", 0.60),
]
"""(scheme, target, its operation, most bytes per weight with the small tensors beside them)."""


class Small(nn.Module):
    """One compressible linear, one that is too small, and a large constant that is no weight."""

    def __init__(self) -> None:
        super().__init__()
        self.large = nn.Linear(128, 64)
        self.small = nn.Linear(64, 16)
        mask = torch.full((48, 48), -torch.inf).triu(1)
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        y = functional.silu(self.large(x))
        scores = torch.softmax(y @ y.transpose(1, 2) / 8 + self.mask, -1)
        return (self.small(scores @ y),)


def _small() -> tuple[nn.Module, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    return Small().requires_grad_(False), (torch.randn(1, 48, 128),)


@pytest.mark.parametrize(("scheme", "target", "operation", "bytes_per_weight"), SCHEMES)
def test_equals_torch_on_the_decompressed_weights(
    tmp_path: Path, scheme: str, target: str, operation: str, bytes_per_weight: float
) -> None:
    module, args = _small()
    path = tmp_path / "m.mlpackage"
    facts = lower(module, args, path, "fp32", target, scheme)
    assert dict(facts.op_counts)[operation] == facts.compressed_tensors == 1
    weight = _decompressed(path)[tuple(module.large.weight.shape)]
    with torch.no_grad():
        assert 0 < relative_error(weight, module.large.weight) < 0.15
        module.large.weight.copy_(weight)
    (found,) = run(path, args)
    assert relative_error(found, torch_result(module, args)) <= 1e-6
    others = 4 * (64 + 64 * 16 + 16 + 48 * 48) + 4096
    assert facts.weight_bytes <= bytes_per_weight * module.large.weight.numel() + others


def _decompressed(path: Path) -> dict[tuple[int, ...], Tensor]:
    """Shape -> value of each compressed weight, as coremltools itself decompresses it."""
    from coremltools.converters.mil.frontend.milproto.load import load as load_program

    from entracte.lower.package import WEIGHT_FILE, read_spec

    spec = read_spec(path)
    program = load_program(
        spec, specification_version=spec.specificationVersion,
        file_weights_dir=str((path / WEIGHT_FILE).parent),
    )  # fmt: skip
    found = {}
    for op in program.functions["main"].operations:
        if op.op_type.startswith("constexpr_"):
            value = np.asarray(op.materialized_val_inference(), dtype=np.float32)
            found[value.shape] = torch.from_numpy(value)
    return found


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("t5", "palette4"),
        ("vae", "int8"),
        pytest.param("t5", "int8", marks=pytest.mark.slow),
        pytest.param("vae", "palette4", marks=pytest.mark.slow),
    ],
)
def test_models_stay_close_and_finite(tmp_path: Path, name: str, scheme: str) -> None:
    module, args = CASES[name]()
    path = tmp_path / "m.mlpackage"
    facts = lower(module, args, path, "fp16", "iOS17", scheme)
    assert facts.compressed_tensors > 0
    limit = 0.05 if scheme == "int8" else 0.4  # random weights: the worst case for 16 values
    assert relative_error(run(path, args)[0], torch_result(module, args)) <= limit


@pytest.mark.parametrize("bits", [1, 4, 6, 8])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_palette_is_the_nearest_of_its_values(bits: int, dtype: type) -> None:
    weight = np.random.default_rng(0).standard_normal((50, 80)).astype(dtype)
    table, indices = palette_of(weight, bits)
    assert table.shape == (2**bits,) and table.dtype == weight.dtype
    assert indices.shape == (weight.size,) and indices.dtype == np.uint8
    assert (np.diff(table) >= 0).all()
    distance = np.abs(weight.reshape(-1, 1).astype(np.float64) - table.astype(np.float64))
    chosen = np.take_along_axis(distance, indices[:, None].astype(int), 1)[:, 0]
    assert (chosen <= distance.min(1) + 2e-3).all()  # fp32 is clustered at fp16's resolution


def test_palette_is_as_good_as_k_means() -> None:
    sklearn = pytest.importorskip("sklearn.cluster")
    weight = np.random.default_rng(0).standard_normal(4000).astype(np.float16)
    table, indices = palette_of(weight, 4)
    ours = float(np.square(table[indices].astype(np.float64) - weight).sum())
    theirs = sklearn.KMeans(16, n_init=3, random_state=0).fit(weight.reshape(-1, 1)).inertia_
    assert ours <= 1.02 * theirs


def test_palette_of_few_values_is_exact() -> None:
    weight = np.array([0.5, -1, 0.5, 2], dtype=np.float16)
    table, indices = palette_of(weight, 4)
    assert np.array_equal(table[indices], weight)
