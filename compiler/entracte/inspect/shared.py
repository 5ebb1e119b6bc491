"""Stages with one set of weights: which did not become functions of the same packages."""

from collections.abc import Mapping
from typing import Any

from entracte.codec import parse_json
from entracte.ir import Plan

__all__ = ["apart"]


def apart(plan: Plan) -> list[str]:
    """A line for each stage with another's weights that has packages of its own all the same."""
    lines = []
    for name, stage in _stages(plan).items():
        other = stage.get("weights_of")
        own = [c for c in plan.chunks if c.graph == name and c.weight_bytes]
        if other and own:
            lines.append(
                f"{name}: packages of its own, with the weights of {other} once more: {_why(stage)}"
            )
    return lines


def _why(stage: Mapping[str, Any]) -> str:
    if stage.get("functions"):
        return "it switches functions itself"
    return "the two cannot be cut alike within the limits"


def _stages(plan: Plan) -> Mapping[str, Mapping[str, Any]]:
    """As the plan's settings, which are no more than data, say them."""
    try:
        stages = parse_json(plan.settings)["pipeline"]["stages"]
        return {str(name): dict(stage) for name, stage in stages.items()}
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}
