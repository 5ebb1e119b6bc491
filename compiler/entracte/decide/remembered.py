"""Decisions of one compile: who asks again what was asked before is answered, not decided again.

What is chosen by predicted time (`auto.py`, `entracte.halves`) was decided to be chosen, and is the
very decision that is then converted.
"""

from collections.abc import Callable

from entracte.decide.decide import Decision, decide_job
from entracte.declare.read import Job
from entracte.ir import MeasuredPipeline

__all__ = ["Decide", "remembered"]

Decide = Callable[[Job, MeasuredPipeline], Decision]
"""`decide_job`, or the same with a memory. Raises `DoesNotFit`."""


def remembered() -> Decide:
    """`decide_job` with a memory of its own; refusals are found out anew."""
    made: list[tuple[object, Decision]] = []

    def decide(job: Job, source: MeasuredPipeline) -> Decision:
        asked = (source, job.target, job.policy, job.chunk_bytes, job.shares_graphs)
        for known, decision in made:
            if known == asked:
                return decision
        decision = decide_job(job, source)
        made.append((asked, decision))
        return decision

    return decide
