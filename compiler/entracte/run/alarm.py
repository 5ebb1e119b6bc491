"""Observed above proven: what a run took and the plan says that it cannot take.

Only what the device and the runner account for is judged, not the whole process
(`Run.anonymous_peak_bytes`), in which there is more than a plan speaks of.
"""

from dataclasses import dataclass

from entracte.ir import Plan, Run

_SHOWN = 8
_MEANING = (
    "The proof does not hold for this run: its packages need more than the plan says of them, or "
    "the plan is wrong. With other timings it may take more still, and a phone ends an app that "
    "does."
)
_REMEDY = (
    "Do not ship this build. Compile again and run plan verify; if the alarm stays, it is a fault "
    "of Entracte's: please report it with plan.json and run.json."
)
_FP32_MEANING = (
    "It was run in fp32 arithmetic, in which activations take more than in the packages' own: this "
    "does not say that the plan's claim is wrong."
)
_FP32_REMEDY = "Run it with --policy hybrid to try the claim."


@dataclass(frozen=True, slots=True)
class Over:
    """Bytes that were observed above those that the plan proves, or proves its peak with."""

    name: str
    claimed_bytes: int
    observed_bytes: int


@dataclass(frozen=True, slots=True)
class Alarm:
    """What is over, what that means, and what to do."""

    over: tuple[Over, ...]
    meaning: str
    remedy: str

    @property
    def shown(self) -> tuple[Over, ...]:
        """Those that a reader is told one by one; the peak comes first."""
        return self.over[:_SHOWN]


def alarm_of(plan: Plan, run: Run) -> Alarm | None:
    """What a run of this plan took above what is proven; None where it kept to it."""
    over = [Over("peak memory", plan.forecast.peak_bytes, run.peak_bytes)]
    if run.arithmetic != "fp32":
        claimed = {f.id: f.activation_bytes for f in plan.facts}
        over += [
            Over(f"activations of {c.chunk}", claimed[c.chunk], c.peak_activation_bytes)
            for c in run.chunks
        ]
    over = [x for x in over if x.observed_bytes > x.claimed_bytes]
    if not over:
        return None
    if run.arithmetic == "fp32":
        return Alarm(tuple(over), _FP32_MEANING, _FP32_REMEDY)
    return Alarm(tuple(over), _MEANING, _REMEDY)
