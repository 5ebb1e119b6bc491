"""What a plan whose calls may rest by a tensor takes where they do as its maker expects."""

import json
from collections.abc import Iterator
from typing import Any

from entracte.clock.predict import predict
from entracte.declare.rests import EXPECTED
from entracte.ir import Plan
from entracte.program.workload import Workload


def expected(plan: Plan) -> tuple[float, float] | None:
    """The share of iterations in which they happen that the settings declare (of several the
    largest), and the predicted seconds; None where there is none."""
    if plan.forecast.resting_s is None:
        return None
    share = declared_share(plan.settings)
    if share is None:
        return None
    return share, predict(Workload.of(plan), plan.schedule, share=share).makespan_s


def declared_share(settings: str) -> float | None:
    """Of the settings of a plan or of a job; of several the largest."""
    return max(_shares(settings), default=None)


def _shares(settings: str) -> Iterator[float]:
    """A plan may be a stranger's: what is no share is none."""
    try:
        pipeline = json.loads(settings)["pipeline"]
    except (ValueError, LookupError, TypeError):
        return
    for places in (pipeline, _at(pipeline, "over")):
        stages = _at(places, "stages")
        for stage in stages.values() if isinstance(stages, dict) else ():
            share = _at(_at(_at(stage, "reuse"), "at"), EXPECTED)
            if isinstance(share, float) and 0 < share <= 1:
                yield share


def _at(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None
