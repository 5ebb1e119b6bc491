"""What coremltools drops, overflows or shapes wrongly: right in the emitted package, or refused.

All cases of a kind are one module, converted once for each precision; torch eager in fp32 is right.
"""

from __future__ import annotations

import gc
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from entracte.emit.bundle import ByteProgress, Workshop
from entracte.lower.errors import LowerError
from entracte.lower.worker import run_task
from entracte.reference import Model
from entracte.reference.errors import PackageError
from entracte.store.cache import Cache
from tests.lower.execute import lower, run
from tests.lower.kinds import GROUP, GROUPS4, KINDS, Case

TOLERANCE = {"fp16": 1e-2, "fp32": 1e-4}
"""Of the L2 norm of what is right; fp16 is 5e-4 off for each rounding, fp32 6e-5 beside 1000."""


@pytest.fixture(autouse=True)
def _no_collection(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two collections in each conversion cost more than the conversion."""
    with monkeypatch.context() as patch:
        patch.setattr(gc, "collect", lambda *_: 0)
        yield


class _Together(nn.Module):
    """Several functions side by side, each with inputs of its own."""

    def __init__(self, cases: list[Case]) -> None:
        super().__init__()
        self.cases = cases
        self.held = nn.ModuleList([f for f, _ in cases if isinstance(f, nn.Module)])

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        given, results = iter(inputs), []
        for function, arguments in self.cases:
            found = function(*[next(given) for _ in arguments])
            results += found if isinstance(found, tuple) else (found,)
        return tuple(results)


def _rounded(arguments: tuple[Tensor, ...], precision: str) -> tuple[Tensor, ...]:
    """What an fp16 port makes of them, in fp32: both sides begin with the same numbers."""
    is_narrow = precision == "fp16"
    copies = (a.half().float() if is_narrow and a.is_floating_point() else a for a in arguments)
    return tuple(a.clone() for a in copies)  # one tensor given twice would be one input


NARROW = ("norms", "statistics", "tails", "masks")
"""What fp16 does not hold: fp32 packages have no cure of their own for it, and `test_convert.py`
and `test_families.py` compare the norms, statistics and masks of whole models in fp32."""
EXACT = ("ranks",)
"""`test_ranks.py` compares the graphs in fp32."""
CHOICES = [(kind, "fp16", "iOS18") for kind in KINDS]
CHOICES += [(kind, "fp16", "iOS17") for kind in ("factors", "masks")]
CHOICES += [
    pytest.param(kind, "fp32", "iOS18", marks=[pytest.mark.slow] if kind in NARROW + EXACT else [])
    for kind in KINDS
]


@pytest.mark.parametrize(("kind", "precision", "deployment"), CHOICES)
def test_a_package_computes_what_torch_does(
    tmp_path: Path, kind: str, precision: str, deployment: str
) -> None:
    cases = {n: (f, _rounded(x, precision)) for n, (f, x) in KINDS[kind].items()}
    inputs = tuple(x for _, arguments in cases.values() for x in arguments)
    module = _Together(list(cases.values())).eval()
    lower(module, inputs, tmp_path / "m.mlpackage", precision, deployment)
    found = iter(run(tmp_path / "m.mlpackage", inputs))
    wrong = {}
    for name, (function, arguments) in cases.items():
        right = function(*arguments)
        for wanted in right if isinstance(right, tuple) else (right,):
            error = max(map(_error, *_judged_apart(kind, next(found), wanted)))
            if not error <= TOLERANCE[precision]:  # NaN too
                wrong[name] = error
    assert not wrong


def _judged_apart(kind: str, *results: Tensor) -> list[tuple[Tensor, ...]]:
    """The parts whose errors may not hide behind each other: draws of a norm's inputs."""
    return [result.unbind(0) if kind == "norms" else (result,) for result in results]


def _error(found: Tensor, wanted: Tensor) -> float:
    assert found.shape == wanted.shape
    difference, size = (found.double() - wanted.double()).norm(), wanted.double().norm()
    return float(difference / size if size else difference)


def test_no_value_of_a_group_norm_leaves_fp16(tmp_path: Path) -> None:
    x = (GROUPS4 * 3000).half().float()
    lower(GROUP, (x,), tmp_path / "m.mlpackage", "fp16", "iOS18")
    with Model(tmp_path / "m.mlpackage", strict=True) as package:
        assert package.first_out_of_range({"in_0": x.numpy()}) is None


# ---------------------------------------------------------------- ceil_mode


def test_nothing_is_emitted_with_ceil_mode_and_strict_refuses_it(tmp_path: Path) -> None:
    from coremltools.converters.mil import Builder as mb

    from entracte.lower.quiet import coremltools

    ct = coremltools()
    average = (lambda a: functional.avg_pool2d(a, 2, 2, ceil_mode=True), (torch.ones(1),))
    pool = _Together([average])
    lower(pool.eval(), (torch.randn(1, 1, 5, 5),), tmp_path / "ours.mlpackage", "fp16", "iOS18")
    Model(tmp_path / "ours.mlpackage", strict=True).close()

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 1, 5, 5))], opset_version=ct.target.iOS17)
    def hanging(x):  # noqa: ANN001, ANN202
        how = {"kernel_sizes": [2, 2], "strides": [2, 2], "pad_type": "valid"}
        return mb.avg_pool(x=x, **how, ceil_mode=True)

    ct.convert(
        hanging, minimum_deployment_target=ct.target.iOS17, skip_model_load=True,
        package_dir=str(tmp_path / "theirs.mlpackage"),
    )  # fmt: skip
    Model(tmp_path / "theirs.mlpackage").close()
    with pytest.raises(PackageError, match=r"avg_pool .* has ceil_mode"):
        Model(tmp_path / "theirs.mlpackage", strict=True)


# ---------------------------------------------------------------- refusals


class _Refused(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> tuple[Tensor]:
        if self.kind == "missing":
            return (torch.linalg.svd(x)[1].sum() + x,)
        if self.kind == "counted":
            return (x.repeat_interleave(torch.tensor([1, 2, 0, 1]), 0),)
        if self.kind == "chosen":
            return (x[:, torch.tensor([True, False, True, False])],)
        if self.kind == "wide":
            return ((x.long() * 3_000_000_019 % 7).float(),)
        if self.kind == "failing":
            return (functional.fold(functional.unfold(x[None, None], 2), (4, 4), 2)[0, 0],)
        return ((torch.complex(x, x) ** 2.5).real,)


@pytest.mark.parametrize(
    ("kind", "operation", "text"),
    [
        ("missing", "svd", "torch.linalg.svd(x)"),
        ("failing", "col2im", "functional.fold("),
        ("complex", "pow", "torch.complex(x, x) ** 2.5"),
        ("counted", "repeat_interleave", "x.repeat_interleave("),
        ("chosen", "index", "x[:, torch.tensor("),
        ("wide", "mul", "x.long() * 3_000_000_019"),
    ],
)
def test_a_refusal_names_line_operation_and_a_way_out(
    tmp_path: Path, kind: str, operation: str, text: str
) -> None:
    with pytest.raises(LowerError) as caught:
        lower(_Refused(kind), (torch.randn(4, 4),), tmp_path / "m.mlpackage")
    (message,) = str(caught.value).splitlines()
    lines = Path(__file__).read_text().splitlines()
    line = next(i for i, content in enumerate(lines, 1) if text in content)
    assert f"{__file__}:{line}: `" in message and text in message
    assert operation in message
    assert "write" in message or "compute this in a host step" in message
    assert "_Refused" in message  # the module's kind


def _raise() -> None:
    raise RuntimeError("no luck")


def test_a_log_that_a_message_names_outlives_the_build_folder(tmp_path: Path) -> None:
    cache, folder = Cache(tmp_path / "cache"), tmp_path / "build"
    shop = Workshop(folder, cache, 1, ByteProgress(), cache.logs(folder))
    log = shop.log(SimpleNamespace(chunk=SimpleNamespace(id="text.00")))
    with pytest.raises(LowerError) as caught:
        run_task(_raise, (), log)
    shutil.rmtree(folder, ignore_errors=True)
    assert str(log) in str(caught.value)
    assert "no luck" in log.read_text()
