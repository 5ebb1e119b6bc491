"""The front end as Core ML asks for it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.export import ExportedProgram

from entracte.frontend import export, precision
from entracte.lower.backend import CORE_ML


def export_graph(module: nn.Module, args: tuple[Tensor, ...]) -> ExportedProgram:
    return export.export_graph(module, args, CORE_ML.is_convertible)


def fp32_values(program: ExportedProgram) -> frozenset[str]:
    return precision.fp32_values(program, CORE_ML.aten_islands)
