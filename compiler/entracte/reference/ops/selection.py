"""Ordering and choosing: sort, top-k, non-maximum suppression, classification."""

from __future__ import annotations

from typing import Any

import torch

from entracte.reference.bind import Bind
from entracte.reference.registry import Compute, Kind, op


@op("argsort", "x", Kind.MOVE)
def argsort(bind: Bind) -> Compute:
    """Order of the elements along `axis`, in the shape of x; descending unless `ascending`."""
    axis, ascending = bind.const("axis", -1), bind.const("ascending", False)
    dtype = bind.out_dtype()
    return lambda x: torch.argsort(x, dim=axis, descending=not ascending, stable=True).to(dtype)


@op("topk", "x #k?", Kind.MOVE)
def topk(bind: Bind) -> Compute:
    """The k largest (or smallest) elements along `axis` with their places; k -1 takes all.

    Both as x, with size k along `axis`.
    """
    axis, ascending = bind.const("axis", -1), bind.const("ascending", False)
    both = len(bind.operation.outputs) > 1
    dtype = bind.out_dtype(1) if both else torch.int32

    def run(x: torch.Tensor, k: Any) -> Any:
        k = k[0] if isinstance(k, list) else 1 if k is None else k
        count = x.shape[axis] if k == -1 else k
        # A stable sort: of equal elements the first one counts, as in Apple's expected values.
        values, places = torch.sort(x, dim=axis, descending=not ascending, stable=True)
        values, places = values.narrow(axis, 0, count), places.narrow(axis, 0, count)
        return (values.contiguous(), places.to(dtype)) if both else values.contiguous()

    return run


def _overlap(box: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Intersection over union of centre-size boxes: [4] against [n, 4]."""
    low, high = box[:2] - box[2:] / 2, box[:2] + box[2:] / 2
    lows, highs = others[:, :2] - others[:, 2:] / 2, others[:, :2] + others[:, 2:] / 2
    shared = (torch.minimum(high, highs) - torch.maximum(low, lows)).clamp(min=0).prod(-1)
    union = box[2:].prod() + others[:, 2:].prod(-1) - shared
    return shared / union.clamp(min=1e-12)


def _suppress(boxes: torch.Tensor, scores: torch.Tensor, limit: float, floor: float, most: int,
              classes: torch.Tensor | None) -> list[int]:  # fmt: skip
    """Indices of the kept among boxes [b, 4] by scores [b]; of the same of classes [b] if given."""
    left = torch.argsort(scores, descending=True, stable=True)
    kept: list[int] = []
    while len(left) and len(kept) < most and scores[left[0]] > floor:
        best, left = left[0], left[1:]
        kept.append(int(best))
        rival = _overlap(boxes[best], boxes[left]) > limit
        if classes is not None:
            rival &= classes[left] == classes[best]
        left = left[~rival]
    return kept


@op("non_maximum_suppression", "boxes scores")
def non_maximum_suppression(bind: Bind) -> Compute:
    """Best-scored boxes that do not overlap a better one; padded with zeros, indices with -1.

    boxes [n, b, 4], scores [n, b, classes] to m = `max_boxes`: boxes [n, m, 4], scores
    [n, m, classes], indices [n, m], number found [n]. From iOS17 on the boxes are the last axis
    ([n, 4, b] and so on), and their number is not returned.
    """
    limit = bind.const("iou_threshold")
    floor = bind.const("score_threshold", float("-inf"))
    most = bind.const("max_boxes")
    per_class = bind.const("per_class_suppression", False)

    def one(boxes: torch.Tensor, scores: torch.Tensor) -> tuple[torch.Tensor, ...]:
        best, classes = scores.max(-1)
        kept = _suppress(boxes, best, limit, floor, most, classes if per_class else None)
        some_boxes = boxes.new_zeros(most, 4)
        some_scores = scores.new_zeros(most, scores.shape[-1])
        places = torch.full((most,), -1, dtype=torch.int32)
        some_boxes[: len(kept)], some_scores[: len(kept)] = boxes[kept], scores[kept]
        places[: len(kept)] = torch.tensor(kept, dtype=torch.int32)
        return some_boxes, some_scores, places, torch.tensor(len(kept), dtype=torch.int32)

    def run(boxes: torch.Tensor, scores: torch.Tensor) -> tuple[torch.Tensor, ...]:
        rows = [one(b, s) for b, s in zip(boxes, scores, strict=True)]
        return tuple(torch.stack(part) for part in zip(*rows, strict=True))

    def run_ios17(boxes: torch.Tensor, scores: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = run(boxes.mT, scores.mT)
        return found[0].mT.contiguous(), found[1].mT.contiguous(), found[2]

    return run if bind.opset < 17 else run_ios17


@op("classify", "probabilities", Kind.RAW)
def classify(bind: Bind) -> Compute:
    """(most probable label, {label: probability}) of probabilities with one element per label."""
    found = bind.const("classes")
    if found is None:
        raise bind.fail("input 'classes' is missing")
    labels = [c[0] if isinstance(c, list) else c for c in found]

    def run(probabilities: torch.Tensor) -> tuple[Any, dict[Any, float]]:
        flat = probabilities.reshape(-1).tolist()
        table = dict(zip(labels, flat, strict=True))
        return labels[max(range(len(flat)), key=flat.__getitem__)], table

    return run
