"""Quicker conversions: coremltools as it is makes the same bytes, and each shortcut its values."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from coremltools.converters import _converters_entry
from coremltools.converters.mil.backend.mil import helper
from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.block import Function
from coremltools.converters.mil.mil.operation import Operation
from coremltools.converters.mil.mil.ops.defs.iOS15.elementwise_unary import cast
from coremltools.converters.mil.mil.passes.defs.quantization import FP16ComputePrecision
from coremltools.converters.mil.mil.passes.pass_pipeline import PassPipelineManager
from coremltools.models import model
from torch import nn

from entracte.lower.quicker import KINDS, QUICKER
from entracte.lower.registrations import install_cures
from tests.lower.determinism import convert
from tests.lower.execute import lower

PLACES = (
    (FP16ComputePrecision, "_check_underflow_to_zero"),
    (cast, "get_cast_value"),
    (helper, "_get_offset_by_writing_data"),
    (model, "_create_mlpackage"),
    (PassPipelineManager, "apply_pipeline"),
    (Function, "_propagate_nonreplaceable_vars"),
    (Operation, "type_value_inference"),
    (Function, "to_str"),
    *((types, name) for name in KINDS),
    (_converters_entry, "gc"),
)
"""What `QUICKER` replaces."""


def _stock(place: tuple[Any, str]) -> Any:
    """What coremltools itself has there."""
    changed = vars(place[0])[place[1]]
    if isinstance(changed, classmethod | staticmethod):
        return type(changed)(changed.__func__.__wrapped__)
    return changed.__wrapped__


@pytest.fixture
def as_it_is(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """coremltools without shortcuts, once the patch that is handed out is told so."""
    install_cures()
    yield monkeypatch


def _undo(patch: pytest.MonkeyPatch) -> None:
    for place in PLACES:
        patch.setattr(*place, _stock(place))


def test_every_shortcut_is_undone_below() -> None:
    assert len({place for place, _ in PLACES}) == len(QUICKER) - 1
    assert len(PLACES) == len(QUICKER) - 1 + len(KINDS)


@pytest.mark.parametrize(
    "case",
    [
        "dit fp32 none",
        "dit fp16 palette6",
        # Of its permutations one is given as int64 and counted from the end.
        "t5 fp16 none",
        *(
            pytest.param(f"{name} {how}", marks=pytest.mark.slow)
            for name in ("vae", "causal")
            for how in ("fp16 none", "fp32 none")
        ),
    ],
)
def test_coremltools_makes_the_same_bytes(
    as_it_is: pytest.MonkeyPatch, tmp_path: Path, case: str
) -> None:
    quick = convert(*case.split(), f"{tmp_path}/quick.mlpackage")
    _undo(as_it_is)
    slow = convert(*case.split(), f"{tmp_path}/slow.mlpackage")
    assert quick.digest == slow.digest
    assert quick == slow


def test_large_weights_of_every_size_are_the_same(
    as_it_is: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Subnormal in fp16, rounded to zero, tied between two neighbours, the largest that fits; in a
    matrix that torch casts, and in a bias that is few."""
    torch.manual_seed(0)
    linear = nn.Linear(200, 150)
    weight = torch.randn(150, 200) * torch.logspace(-10, 0, 200)
    weight[0, :4] = torch.tensor([1 + 2**-11, 1 + 3 * 2**-11, 65504.0, 2**-25])
    linear.weight.data, linear.bias.data = weight, torch.logspace(-12, 0, 150)
    quick = lower(linear.requires_grad_(False), (torch.zeros(1, 200),), tmp_path / "q.mlpackage")
    _undo(as_it_is)
    slow = lower(linear, (torch.zeros(1, 200),), tmp_path / "s.mlpackage")
    assert quick.digest == slow.digest


def test_a_cast_is_numpys(as_it_is: pytest.MonkeyPatch) -> None:
    bits = np.arange(0, 2**32, 9973, dtype=np.uint64).astype(np.uint32)
    values = bits.view(np.float32)
    values = values[np.isfinite(values)]
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16)
    found = cast.get_cast_value(SimpleNamespace(val=values, sym_val=values), "fp16")
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found.view(np.uint16), expected.view(np.uint16))


def test_programs_are_still_validated(as_it_is: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[str] = []
    stock = Function.validate
    as_it_is.setattr(Function, "validate", lambda *a, **k: (seen.append("x"), stock(*a, **k))[1])
    lower(nn.Linear(3, 3).requires_grad_(False), (torch.zeros(1, 3),), tmp_path / "m.mlpackage")
    assert len(seen) >= 3
