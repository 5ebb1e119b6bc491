"""Factors of matrices, a column at a time: what models make of weights, which have few columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["ROWS"]

_aten = torch.ops.aten
Rule = Callable[..., Any]
_MOST_COLUMNS = 64
"""Each is some fifteen operations."""


def _qr(x: Tensor, mode: str = "reduced") -> Any:
    """Orthogonal columns, and how x is made of them, by Householder's reflections: signs as
    LAPACK's, which torch calls. Of a matrix with at least as many rows as columns."""
    rows, columns = x.shape[-2:]
    if mode != "reduced" or rows < columns or columns > _MOST_COLUMNS:
        return NotImplemented
    upper, mirrors = x, list[Tensor]()
    for k in range(min(columns, rows - 1)):
        mirror = _mirror(upper, k)
        upper = _reflected(upper, mirror)
        mirrors.append(mirror)
    table = torch.eye(rows, columns, dtype=x.dtype)
    basis = table.expand([*x.shape[:-2], rows, columns])
    for mirror in reversed(mirrors):
        basis = _reflected(basis, mirror)
    return basis, torch.triu(_aten.slice.Tensor(upper, -2, 0, columns))


def _mirror(x: Tensor, k: int) -> Any:
    """What is reflected on [..., rows, 1] so that column k ends at the diagonal; of length 1."""
    place = torch.arange(x.shape[-2], dtype=x.dtype).unsqueeze(-1)
    column = _aten.slice.Tensor(x, -1, k, k + 1) * (place >= k).to(x.dtype)
    head = _aten.slice.Tensor(column, -2, k, k + 1)
    size = torch.sqrt(column.square().sum(-2, keepdim=True))
    sign = (head >= 0).to(x.dtype) * 2 - 1
    mirror = column + (place == k).to(x.dtype) * (sign * size)
    length = torch.sqrt(mirror.square().sum(-2, keepdim=True))
    return mirror / length.clamp_min(torch.finfo(torch.float32).tiny)


def _reflected(x: Tensor, mirror: Tensor) -> Tensor:
    return x - mirror * (torch.matmul(mirror.transpose(-1, -2), x) * 2)


ROWS: dict[object, Rule] = {_aten.linalg_qr.default: _qr}
