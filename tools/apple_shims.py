"""Stand-ins for what some of Apple's test files import and a machine may lack.

`torchvision`: only what the torch suite's NMS tests use, so their expected values are those of the
greedy rule below, not of torchvision's kernel. A real torchvision takes precedence.
"""

from __future__ import annotations

import functools
import importlib.util
import platform
import sys
import types
import unittest.mock
from typing import Any

import torch


def box_iou(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Intersection over union of boxes (n, 4) and (m, 4) as x1, y1, x2, y2: (n, m)."""
    sizes = [(b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (left, right)]
    low = torch.maximum(left[:, None, :2], right[None, :, :2])
    high = torch.minimum(left[:, None, 2:], right[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(dim=2)
    return shared / (sizes[0][:, None] + sizes[1][None, :] - shared)


def _nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Greedy suppression, best score first; the threshold is a double, as in torch's kernels."""
    left = torch.argsort(scores, descending=True)
    overlap = box_iou(boxes, boxes).double()
    kept: list[int] = []
    while len(left):
        kept.append(int(left[0]))
        # A box of no size overlaps by 0 / 0, which is not above any threshold.
        left = left[1:][~(overlap[left[0], left[1:]] > iou_threshold)]
    return torch.tensor(kept, dtype=torch.int64)


def torchvision() -> types.ModuleType:
    """A module with `ops.nms`, the operator the converter knows, and `ops.box_iou`."""
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", _nms, "CPU")
    module = types.ModuleType("torchvision")
    module.library = library  # type: ignore[attr-defined] # the operator lives as long as it
    module.ops = types.SimpleNamespace(  # type: ignore[attr-defined]
        nms=torch.ops.torchvision.nms, box_iou=box_iou
    )
    return module


class _Arm:
    """`platform` of an Apple machine: some tests leave out what once failed on x86-64."""

    machine = staticmethod(lambda: "arm64")

    def __getattr__(self, name: str) -> Any:
        return getattr(platform, name)


MACHINE = platform.machine


def install() -> None:
    """Before collection. coremltools is imported already, so it knows that nothing is installed."""
    platform.machine = _Arm.machine
    sys.modules.setdefault("mock", unittest.mock)
    if importlib.util.find_spec("torchvision") is None:
        sys.modules["torchvision"] = torchvision()
    if importlib.util.find_spec("peft") is None:
        # Only one test needs it, but with transformers installed a whole file imports it.
        from coremltools import _deps

        _deps._HAS_HF = False
    remember_composites()


def remember_composites() -> None:
    """`run_decompositions` lists torch's composite operators anew for every case, 0.15 s each."""
    from torch.export import exported_program

    listed = functools.cache(exported_program._collect_all_valid_cia_ops)
    exported_program._collect_all_valid_cia_ops = lambda: set(listed())


def complete_modules() -> None:
    """After collection: what the test files ask while they run; torch gets its machine back."""
    platform.machine = MACHINE
    for name, module in list(sys.modules.items()):
        names = getattr(module, "__dict__", {})
        if not name.startswith("coremltools.") or ".test" not in name:
            continue
        if names.get("platform") is platform:
            names["platform"] = _Arm()
        if name.endswith(".test_torch_ops"):
            names.setdefault("torchvision", sys.modules["torchvision"])
