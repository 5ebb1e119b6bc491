"""Converting in one line, running the emitted package, and comparing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from entracte.lower.convert import Conversion, ConversionFacts, convert_chunk
from entracte.lower.ports import Port
from entracte.reference import load
from tests.lower.ports import ports_of


def lower(
    module: nn.Module,
    args: tuple[Tensor, ...],
    path: Path,
    precision: str = "fp32",
    deployment: str = "iOS17",
    compression: str = "none",
    ports: tuple[list[Port], list[Port]] | None = None,
) -> ConversionFacts:
    """`convert_chunk` with ports made from the arguments unless given."""
    inputs, outputs = ports or ports_of(module.eval(), args, precision)
    return convert_chunk(
        module.eval(), args, inputs=inputs, outputs=outputs,
        how=Conversion(precision, deployment, compression), path=path,
    )  # fmt: skip


def run(path: Path, args: Sequence[Tensor], policy: str = "round") -> list[Tensor]:
    """The package's outputs, in fp32 if floating, in the order in which it declares them."""
    with load(path, policy=policy) as package:
        names = [feature.name for feature in package.info.inputs]
        results = package.predict(dict(zip(names, args, strict=True)))
        outputs = [results[feature.name] for feature in package.info.outputs]
    return [o.float() if o.is_floating_point() else o for o in outputs]


def relative_error(found: Tensor, expected: Tensor) -> float:
    """L2 norm of the difference over the L2 norm of the expected values."""
    difference = (found.double() - expected.double()).norm()
    return float(difference / expected.double().norm())


def psnr(found: Tensor, expected: Tensor) -> float:
    """Peak signal-to-noise ratio in dB; the peak is the range of the expected values."""
    error = (found.double() - expected.double()).pow(2).mean()
    span = float(expected.max() - expected.min())
    return math.inf if error == 0 else 20 * math.log10(span) - 10 * math.log10(float(error))


def torch_result(module: nn.Module, args: tuple[Tensor, ...]) -> Tensor:
    """The module's first output."""
    with torch.no_grad():
        result = module(*args)
    return result if isinstance(result, Tensor) else result[0]
