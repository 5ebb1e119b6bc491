"""A target's sizes as its owner typed them: `24MiB` is shown as 24 MiB, `3.3GB` as 3.3 GB."""

import json

from entracte.declare.target import chosen_limit
from entracte.ir import Plan
from entracte.units import typed_bytes

_FIELDS = {"memory": "memory_bytes", "base_footprint": "base_footprint_bytes"}
"""Settings of a target whose figure has another name."""


def limit(plan: Plan, name: str) -> str:
    """`target.NAME` of the plan's settings (`memory`, `load_bandwidth`), spelled with a space.

    Plans may hold any text as settings: what is not there, or is not what the plan's target
    says, is told as other sizes are.
    """
    size = getattr(plan.target, _FIELDS.get(name, name))
    try:
        target = json.loads(plan.settings)["target"]
        typed = chosen_limit(target) if name == "memory" else target[name]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        typed = None
    return typed_bytes(typed, size)
