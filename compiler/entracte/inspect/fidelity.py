"""What options that compute less did to the demo, where they did harm: said of every plan that has
them. The figures are measured (docs/techniques.md has the tables and the commands)."""

from collections.abc import Iterator, Mapping
from typing import Any

MERGING = (
    "token merging hurts the demo: in 3 of its 30 steps 91.2 % of clips come out right, in 15 "
    "21.1 %, in all 22.8 %, in none 98.2 %"
)
LATE = (
    "guidance in late steps hurts the demo most: in 15 to 29 of 30 steps it leaves 26.2 dB, in 0 "
    "to 14 34.7 dB"
)
SHORT = (
    "a leap with guidance in the first 6 steps or fewer costs the demo right clips: 96.5 % of 72, "
    "plain 98.2 %"
)
ALL = (
    "a leap, guidance in an interval and resting blocks together cost the demo right clips: 214 of "
    "216 (blocks every second step, guidance in 8), 213 (a leap at 11 of 20 steps, guidance in 6), "
    "212 (blocks every third step), plain 215"
)
TESTED = (
    "a leap with a first-block test costs the demo right clips: 212 of 216 at change 0.1, 213 with "
    "guidance in 8 steps too, plain 215; at 0.2 80.7 % of those seen in training and 53.3 % of the "
    "others are right"
)
ELSEWHERE = "what another model loses was not measured"
_FEW = 6


def harm_of(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Sentences on the options of a plan's settings that cost the demo accuracy, or most of its
    likeness to plain clips; none where it has none of them."""
    told = tuple(_harm(settings))
    return (*told, ELSEWHERE) if told else ()


def _harm(settings: Mapping[str, Any]) -> Iterator[str]:
    sampler, guidance = _group(settings, "sampler"), _group(settings, "guidance")
    stages = _group(_group(settings, "pipeline"), "stages").values()
    staged = [s for s in stages if isinstance(s, Mapping)]
    if any(_group(s, "functions").get("merged") for s in staged):
        yield MERGING
    evaluations, steps = sampler.get("evaluations"), sampler.get("steps")
    leaps = bool(sampler.get("leap")) or (
        isinstance(evaluations, int) and isinstance(steps, int) and evaluations < steps
    )
    is_interval, end = guidance.get("name") == "interval", guidance.get("end")
    if is_interval and guidance.get("begin"):
        yield LATE
    at = [found for s in staged if (found := _group(s, "reuse").get("at"))]
    tests = [x for x in at if isinstance(x, Mapping) and x.get("change")]
    if leaps and tests:
        yield TESTED
    if not (leaps and is_interval):
        return
    if len(tests) < len(at):
        yield ALL
    elif isinstance(end, int) and end <= _FEW:
        yield SHORT


def _group(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Settings may be any text: what is no group is an empty one."""
    found = settings.get(name)
    return found if isinstance(found, Mapping) else {}
