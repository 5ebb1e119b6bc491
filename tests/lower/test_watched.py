"""Conversions that are wrong in silence are refused: dropped arguments, other shapes and kinds.

The faults are made on purpose, in conversions that are right: `registered` puts a wrong one in the
place of coremltools' own. The right value is torch's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from entracte.frontend.export import export_graph
from entracte.lower.arguments import unread_arguments
from entracte.lower.backend import CORE_ML
from entracte.lower.errors import LowerError
from entracte.lower.registrations import _registry, install_cures
from entracte.lower.targets import target_of
from tests.lower.execute import lower, run, torch_result
from tests.lower.models import CASES


class Inner(nn.Module):
    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Tensor) -> Tensor:
        return self.function(*args)


CALL = "        return self.function(*args)"
"""The line of the user's module that makes the operation."""


class Outer(nn.Module):
    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.layer = Inner(function)

    def forward(self, *args: Tensor) -> tuple[Tensor]:
        return (self.layer(*args) * 2,)


@contextlib.contextmanager
def registered(name: str, function: Callable[[Any, Any], None]) -> Iterator[None]:
    """A conversion of ours in the place of the one for `name`."""
    install_cures()
    table = _registry().name_to_func_mapping
    before = table[name]
    table[name] = function
    try:
        yield
    finally:
        table[name] = before


def exact_gelu(context: Any, node: Any) -> None:
    """Takes what it knows and drops `approximate`, as coremltools does without our cure."""
    from coremltools.converters.mil import Builder as mb

    context.add(mb.gelu(x=context[node.inputs[0]], mode="EXACT", name=node.name))


def narrow_tanh(context: Any, node: Any) -> None:
    """One column in place of all: the sum behind it still has the right shape."""
    from coremltools.converters.mil import Builder as mb

    x = mb.slice_by_size(x=context[node.inputs[0]], begin=[0, 0], size=[-1, 1])
    context.add(mb.tanh(x=x, name=node.name))


def float_greater(context: Any, node: Any) -> None:
    from coremltools.converters.mil import Builder as mb

    made = mb.greater(x=context[node.inputs[0]], y=0.0)
    context.add(mb.cast(x=made, dtype="fp32", name=node.name))


def test_a_dropped_argument_is_refused_with_its_line(tmp_path: Path) -> None:
    module = Outer(lambda x: functional.gelu(x, approximate="tanh"))
    line = Path(__file__).read_text().splitlines().index(CALL) + 1
    with registered("gelu", exact_gelu), pytest.raises(LowerError) as error:
        lower(module, (torch.randn(3, 4),), tmp_path / "m.mlpackage")
    message = str(error.value)
    assert "operation gelu (node `gelu`)" in message
    assert "does not read approximate=tanh (default none), which changes the result" in message
    assert f"of {__file__}:{line}: `return self.function(*args)` (module layer, Inner)" in message


def test_an_argument_that_changes_nothing_passes(tmp_path: Path) -> None:
    """The wrong conversion is right where the argument has its default."""
    module, args = Outer(lambda x: functional.gelu(x, approximate="none")), (torch.randn(3, 4),)
    with registered("gelu", exact_gelu):
        lower(module, args, tmp_path / "m.mlpackage")
    found = run(tmp_path / "m.mlpackage", args)[0]
    assert torch.allclose(found, torch_result(module, args), atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_refused_in_models_that_convert_right(name: str) -> None:
    module, args = CASES[name]()
    program = export_graph(module.eval(), args, CORE_ML.is_convertible)
    install_cures()
    assert unread_arguments(program, target_of("iOS18")) == []


def stock(name: str) -> Callable[[Any, Any], None]:
    """coremltools' own conversion, whatever cure stands before it."""
    from coremltools.converters.mil.frontend.torch import ops

    return getattr(ops, {"rsub": "sub"}.get(name, name))


X = torch.randn(3, 4)


@pytest.mark.parametrize(
    ("function", "kind", "dropped"),
    [
        (lambda x: torch.add(x, x, alpha=0.5), "add", ["add.alpha"]),
        (lambda x: torch.add(x, x, alpha=1), "add", []),
        (lambda x: torch.rsub(x, x, alpha=3), "rsub", ["rsub.alpha"]),
        (lambda x: functional.softplus(x, 2, 3), "softplus", ["softplus.threshold"]),
        (lambda x: functional.softplus(x, 2, 20), "softplus", []),
    ],
)
def test_what_coremltools_drops_is_found(function: Any, kind: str, dropped: list[str]) -> None:
    """Known from public reports; a version that reads them finds nothing here."""
    with registered(kind, stock(kind)):
        # As torch gives it: our front end writes these out.
        program = torch.export.export(Outer(function).eval(), (X,)).run_decompositions({})
        assert unread_arguments(program, target_of("iOS18")) == dropped


def test_a_wrong_shape_inside_is_refused(tmp_path: Path) -> None:
    module = Outer(lambda x: torch.tanh(x).sum(1))
    with registered("tanh", narrow_tanh), pytest.raises(LowerError) as error:
        lower(module, (torch.randn(3, 4),), tmp_path / "m.mlpackage")
    assert f"operation tanh (node `tanh`) of {__file__}:" in str(error.value)
    assert "gives shape (3, 1), torch (3, 4)" in str(error.value)


def test_another_kind_of_element_is_refused(tmp_path: Path) -> None:
    module = Outer(lambda x: torch.where(x > 0, x, -x))
    with registered("gt", float_greater), pytest.raises(LowerError, match=r"gives float elements"):
        lower(module, (torch.randn(3, 4),), tmp_path / "m.mlpackage")
